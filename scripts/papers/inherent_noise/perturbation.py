"""inherent_noise, section 2.2: the perturbation by the learning rate, and the distance from the start by the width."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from sgdscope.claims import NONE, Claim, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.snapshots import theta_at

PENALTY = "taylor.updating.penalty"

Quantity = Callable[[Run], float]


# ------------------------------------------------------------------------------------------- what is measured


def at_first(run: Run) -> float:
    """The magnitude of the penalty at step 0, where all learning rates have the same weights and batch."""
    return abs(float(run.metrics[PENALTY][0]))


def over_training(run: Run) -> float:
    """Its mean over all steps."""
    return float(np.abs(run.metrics[PENALTY]).mean())


def distance(run: Run) -> float:
    """From the weights at the start to those before the last step."""
    return float(np.linalg.norm(theta_at(run.folder, _last(run)) - theta_at(run.folder, 0)))


def relative_distance(run: Run) -> float:
    """The same in units of the length of the weights at the start."""
    return distance(run) / float(np.linalg.norm(theta_at(run.folder, 0)))


def _last(run: Run) -> int:
    (snapshot,) = [probe for probe in run.config["probes"] if probe["name"] == "snapshot"]
    return int(max(snapshot["steps"]))


# ------------------------------------------------------------------------------------------- the picture

PANELS = (
    ("rates", "rate", "learning rate η", (("at step 0", at_first), ("mean over training", over_training)), "|−L̂ʰ(Bᵤ)|"),
    ("widths", "units", "hidden units", (("‖w − w₀‖", distance), ("‖w − w₀‖ / ‖w₀‖", relative_distance)), "distance"),
)  # fmt: skip


def draw(results: Results) -> dict[str, Picture]:
    """The penalties over the learning rate, and the distances over the width; every seed a line."""
    results.need_some()
    figure = new_figure(8.6, 3.9)
    for axes, (curve, value, label, quantities, y_label) in zip(figure.subplots(1, 2), PANELS):
        settings = results.study.curve(curve)
        for colour, (words, of) in zip(itertools.cycle(COLOURS[::2]), quantities):
            for seed in results.study.seeds:
                points = [
                    (setting[value], of(outcome.run))
                    for setting in settings
                    for outcome in results.of(setting)
                    if outcome.run and outcome.job.seed == seed
                ]
                if points:
                    axes.plot(*zip(*points), color=colour, marker="o", markersize=3, linewidth=0.8)
            axes.plot([], [], color=colour, label=words)
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel=y_label)
        axes.legend(fontsize=8)
    add_header(figure, None, [Stroke("each line is one seed", "#444444")])
    return {"perturbation": figure}


# -------------------------------------------------------------------------------------------- the claims


def growth(of: Quantity, sign: int) -> Callable[[Run, Run], Sample]:
    """The binary logarithm, times `sign`, of how many times as large a number is for the second of two runs."""
    return lambda one, other: Sample(sign * math.log2(of(other) / of(one)))


def claims(results: Results) -> list[Claim]:
    """Whether the penalty grows with the learning rate, and larger networks stay nearer to their start."""

    def of_pairs(curve: str, value: str, words: str, of: Quantity, sign: int = 1) -> dict[str, Measurement]:
        return {
            words.format(larger[value], smaller[value]): results.measure(growth(of, sign), smaller.name, larger.name)
            for smaller, larger in itertools.pairwise(results.study.curve(curve))
        }

    rates, widths = ("rates", "rate", "η = {:g} beside {:g}"), ("widths", "units", "{} units beside {}")
    steps, units = "each learning rate beside half of it", "each width beside the next smaller one"
    nearer = "Larger networks stay nearer to their start"
    return [
        Claim(
            "A larger η produces a larger perturbation.", "section 2.2",
            f"log2 of the ratio of |−L̂ʰ(Bᵤ)| at step 0, from equal weights; {steps}",
            of_pairs(*rates, at_first), 0.0, NONE,
        ),
        Claim(
            "So it does in the course of training.", "section 2.2",
            f"log2 of the ratio of the mean |−L̂ʰ(Bᵤ)| over training; {steps}",
            of_pairs(*rates, over_training), 0.0, NONE,
        ),
        Claim(
            f"{nearer}.", "section 2.2", f"minus log2 of the ratio of ‖w − w₀‖ after as many steps; {units}",
            of_pairs(*widths, distance, -1), 0.0, NONE,
        ),
        Claim(
            f"{nearer}, in units of its length.", "section 2.2",
            f"minus log2 of the ratio of ‖w − w₀‖ / ‖w₀‖ after as many steps; {units}",
            of_pairs(*widths, relative_distance, -1), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="The penalty by the learning rate, and the distance from the start by the width",
    did="Expects that a larger learning rate produces a larger perturbation, and says that larger models tend to stay closer to "
    "their initialization. It measures neither.",
    shows={
        "perturbation": "Left: the penalty on the updating batch of the middle network. Right: how far the weights come in all "
        "steps, at learning rate 0.1."
    },
    departures=(
        "All of it is ours. Quick networks have 64, 250 and 1000 units and 300 steps, the full ones 64, 2000 and 8000 units and "
        "6,000 steps; learning rates are those of the middle one.",
    ),
    draw=draw,
    claims=claims,
)
