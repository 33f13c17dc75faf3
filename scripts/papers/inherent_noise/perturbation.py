"""inherent_noise, section 2.2: the perturbation by the learning rate, and the distance from the start by the width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from sgdscope.claims import NONE, Claim, Late, Measurement, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.lines import batch_means
from sgdscope.plots.style import COLOURS, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.snapshots import theta_at

DELTA_LOSS = "taylor.updating.delta_loss"
BATCHES_OF_MEAN = 25  # of the running mean that stands for the training loss

Quantity = Callable[[Run, int], float]  # of a run's first so many steps


# ------------------------------------------------------------------------------------------- what is measured


def steps_to_common_loss(*runs: Run) -> list[int]:
    """After how many steps each run's loss has for the first time come down to the least that all of them reach, one or more."""
    losses = [batch_means(run, BATCHES_OF_MEAN).losses for run in runs]
    common = max(float(of_run.min()) for of_run in losses)
    return [max(1, int(np.argmax(of_run <= common))) for of_run in losses]


def perturbation(run: Run, steps: int) -> float:
    """The mean size of what all weights together do to the updating batch's loss in a step."""
    return float(np.abs(run.metrics[DELTA_LOSS][:steps]).mean())


def distance(run: Run, steps: int) -> float:
    """From the weights at the start to those after so many steps, between snapshots along a power of the steps.

    TooLittle where the steps are fewer than those of the first snapshot after the start.
    """
    start = theta_at(run.folder, 0)
    found = [(step, float(np.linalg.norm(theta_at(run.folder, step) - start))) for step in _snapshots(run) if step]
    if steps < found[0][0]:
        raise TooLittle(f"{run.folder.name} comes to the common loss after {steps} steps, before its first snapshot")
    logs = np.log(np.array(found))
    return float(np.exp(np.interp(math.log(steps), logs[:, 0], logs[:, 1])))


def _snapshots(run: Run) -> list[int]:
    (snapshot,) = [probe for probe in run.config["probes"] if probe["name"] == "snapshot"]
    return sorted(snapshot["steps"])


# ------------------------------------------------------------------------------------------- the picture

PANELS = (
    ("rates", "rate", "learning rate η", perturbation, "mean |ΔL(Bᵤ)| of a step"),
    ("widths", "units", "hidden units", distance, "‖w − w₀‖"),
)


def draw(results: Results) -> dict[str, Picture]:
    """The perturbation over the learning rate, and the distance over the width, up to equal loss; every seed a line."""
    results.need_some()
    figure = new_figure(8.6, 3.9)
    for axes, (curve, value, label, of, y_label) in zip(figure.subplots(1, 2), PANELS):
        settings = results.study.curve(curve)
        for seed in results.study.seeds:
            runs = {
                setting[value]: outcome.run
                for setting in settings
                for outcome in results.of(setting)
                if outcome.run and outcome.job.seed == seed
            }
            steps = steps_to_common_loss(*runs.values()) if runs else []
            points = [of(run, count) for run, count in zip(runs.values(), steps)]
            axes.plot(list(runs), points, color=COLOURS[0], marker="o", markersize=3, linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel=y_label)
    add_header(figure, None, [Stroke("each line is one seed", COLOURS[0])])
    return {"perturbation": figure}


# -------------------------------------------------------------------------------------------- the claims


def growth(of: Quantity, sign: int) -> Callable[[Run, Run], Sample]:
    """The binary logarithm, times `sign`, of how many times as large a number is for the second of two runs at equal loss."""

    def ratio(one: Run, other: Run) -> Sample:
        steps = steps_to_common_loss(one, other)
        return Sample(sign * math.log2(of(other, steps[1]) / of(one, steps[0])))

    return ratio


def claims(results: Results) -> list[Claim]:
    """Whether the perturbation grows with the learning rate, and larger networks stay nearer to their start."""

    def of_pairs(curve: str, value: str, words: str, of: Quantity, sign: int = 1) -> dict[str, Measurement]:
        return {
            words.format(larger[value], smaller[value]): results.measure(growth(of, sign), smaller.name, larger.name)
            for smaller, larger in itertools.pairwise(results.study.curve(curve))
        }

    until = "until the training loss has come down to the least that both reach"
    return [
        Claim(
            "A larger η produces a larger perturbation.", "section 2.2",
            f"log2 of the ratio of the mean |ΔL(Bᵤ)| of a step, {until}; each learning rate beside half of it (1 where steps are so "
            "small that training follows the same path)",
            of_pairs("rates", "rate", "η = {:g} beside {:g}", perturbation), 0.0, NONE,
            decided_after=Late("ΔL in place of the penalty, and that learning rates are compared until equal loss"),
        ),
        Claim(
            "Larger networks stay nearer to their start.", "section 2.2",
            f"minus log2 of the ratio of ‖w − w₀‖, {until}; each width beside the next smaller one",
            of_pairs("widths", "units", "{} units beside {}", distance, -1), 0.0, NONE,
            decided_after=Late("that widths are compared at equal loss"),
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="The perturbation by the learning rate, and the distance from the start by the width",
    did="Expects that a larger learning rate produces a larger perturbation, and says that larger models tend to stay closer to "
    "their initialization. It measures neither.",
    shows={
        "perturbation": "Left: by how much a step of the middle network changes the updating batch's loss. Right: how far the "
        "weights come, at learning rate 0.1. Both until the training loss has come down to the least that all networks of a line "
        "reach."
    },
    departures=(
        "All of it is ours. Quick networks have 64, 250 and 1000 units and 300 steps, the full ones 64, 2000 and 8000 units and "
        "6,000 steps; learning rates are those of the middle one.",
        "The perturbation of equation 9 is what a weight does not know of: the loss after the step less that after its own move "
        "alone. The latter is small, so that ΔL of the whole step stands for it. It grows with η to first order: with steps so small "
        "that training follows the same path, twice the η gives twice the ΔL, whatever the network. The claim could fail only "
        "with larger steps, and that it holds is little evidence.",
        "The training loss is the running mean of the batch losses over 25 steps. After as many steps networks would be at "
        "different stages. Distances between snapshots at each quarter of the steps are taken along a power of the steps.",
        "Distances are not compared in units of ‖w₀‖: weights that begin within ±1/√fan_in are the longer the more units there "
        "are, which alone would bring larger networks nearer.",
    ),
    draw=draw,
    claims=claims,
)
