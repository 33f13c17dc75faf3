"""edge_of_stability: with small batches the largest eigenvalue stays below 2/η, the more the smaller they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from papers.edge_of_stability import BATCH, TOP, late, late_share, share_of_threshold
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import RED, Picture, new_figure, strokes
from sgdscope.results import Results
from sgdscope.runs import Run

NEAR = 0.2  # of the threshold
AT_REST = Late("that it is not decided where the batch sharpness still rises", {"quick": range(11, 16)})
LARGE = 128  # examples of a batch: with so many SGD comes near to gradient descent
COLUMNS = {TOP: "largest eigenvalue / (2/η)", BATCH: "batch sharpness / (2/η)"}


def draw(results: Results) -> dict[str, Picture]:
    """Both sharpnesses over the threshold along training, a colour for each batch size."""
    results.need_some()
    figure = new_figure(9.0, 3.8)
    for axes, (column, label) in zip(figure.subplots(1, 2), COLUMNS.items()):
        axes.axhline(1, color=RED, linewidth=1.0)
        settings = results.study.curve("batches")
        for setting, look in zip(settings, strokes([f"batches of {setting['batch']}" for setting in settings])):
            for outcome in results.of(setting):
                if outcome.run:
                    x, y = share_of_threshold(outcome.run, column)
                    axes.plot(x, y, color=look.colour, linestyle=look.dash, linewidth=0.6)
            axes.plot([], [], color=look.colour, linestyle=look.dash, label=look.label)
        axes.set(ylabel=label, xlabel="step", ylim=(0, 1.5))
        axes.legend(fontsize=8, loc="lower right")
    return {"mini_batches": figure}


# -------------------------------------------------------------------------------------------- the claims


def short_of(run: Run) -> Sample:
    """By how much the largest eigenvalue is below the threshold, as a share of it."""
    return Sample(1 - late_share(TOP)(run).value)


def more(one: Run, other: Run) -> Sample:
    """The eigenvalue's share of the threshold less that of another run."""
    return Sample(late_share(TOP)(one).value - late_share(TOP)(other).value)


def still_rising(run: Run) -> Sample:
    """The batch sharpness over the threshold, last third of training less the middle one."""
    shares = share_of_threshold(run, BATCH)[1]
    third = len(late(shares))
    return Sample(float(shares[-third:].mean() - shares[-2 * third : -third].mean()))


def at_rest(results: Results, of: Callable[..., Sample], *names: str) -> Measurement:
    """`of` the runs of settings; censored where a batch sharpness is below the threshold and had not ceased to rise in the end."""
    found = results.measure(of, *names)
    for name in names:
        sharpness, rises = (results.measure(one, name) for one in (late_share(BATCH), still_rising))
        if sharpness.samples and np.mean(sharpness.values) < 1 - NEAR and np.mean(rises.values) > 0:
            return replace(found, censored=f"{name} ends while its batch sharpness still rises: take more steps")
    return found


def claims(results: Results) -> list[Claim]:
    """Whether the largest eigenvalue stays below 2/η, by the batch size, and batch sharpness comes to it."""
    names = {setting["batch"]: setting.name for setting in results.study.curve("batches")}
    small = {f"batches of {batch}": name for batch, name in names.items() if batch < LARGE}
    place = "Andreyev and Beneventano 2024"
    found = [
        Claim(
            "The largest eigenvalue of the whole set's Hessian stays below 2/η.", place,
            "share of 2/η by which it is below, mean over the last third of training",
            {words: at_rest(results, short_of, name) for words, name in small.items()}, 0.0, "0: the threshold",
            decided_after=AT_REST,
        ),
        Claim(
            "The smaller the batches, the farther below.", place,
            "share of 2/η that it has, less that with batches a quarter as large; last third of training",
            {
                f"batches of {larger} beside {smaller}": at_rest(results, more, names[larger], names[smaller])
                for smaller, larger in itertools.pairwise(names)
            },
            0.0, NONE, decided_after=AT_REST,
        ),
        Claim(
            "It is the batch sharpness that comes to 2/η.", place, "batch sharpness over 2/η, mean over the last third of training",
            {words: at_rest(results, late_share(BATCH), name) for words, name in small.items()}, NEAR, "a fifth of the threshold", about=1.0,
        ),
    ]  # fmt: skip
    return [claim for claim in found if claim.parts]  # of one batch size there is nothing to compare


FIGURE = Figure(
    title="Small batches: the largest eigenvalue and the batch sharpness over 2/η",
    did="Trains by SGD and sees that what comes to 2/η is not the largest eigenvalue of the whole set's Hessian, which stays below it, "
    "the more the smaller the batches, but the batch sharpness: the mean over batches of the curvature along the batch's own gradient.",
    shows={
        "mini_batches": "Each line is a seed. Left: the largest eigenvalue over 2/η. Right: the batch sharpness, the mean over 20 fresh "
        "batches, over 2/η."
    },
    departures=(
        "The first and the last claim are about batches of 8 and 32 examples. With 128 of 1,000 examples (full variant: 8,192) SGD comes "
        "near to gradient descent.",
        "The full variant has ReLU and a fifth of the quick one's rate: with tanh and rate 1 it diverges on CIFAR-10.",
        "Where the batch sharpness is below 2/η and still rises when a run ends, nothing is decided: nor that the largest eigenvalue stays "
        "below 2/η, which may be owed to time.",
    ),
    draw=draw,
    claims=claims,
    unjudged={"one_seed": "one run does not tell how much seeds differ"},
)
