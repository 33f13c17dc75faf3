"""generalization_gap, section 2: for large batches the gradient estimator is Gaussian."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from papers.generalization_gap import measured_rows
from sgdscope.claims import NONE, Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

KURTOSIS = "gradient_noise.sgd.kurtosis"
MOMENTS = {0: "first step", -1: "last step"}
NEAR = 0.25  # of excess kurtosis


def kurtosis(moment: int) -> Callable[[Run], float]:
    """The excess kurtosis of the gradient noise along random directions at the first (0) or the last (−1) measured step."""
    return lambda run: float(measured_rows(run, [KURTOSIS])[1][moment])


def draw(results: Results) -> dict[str, Picture]:
    """The excess kurtosis over the batch size at both moments, every seed a point."""
    results.need_some()
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    axes.axhline(0, color=RED, linewidth=1.0)
    for (moment, words), colour, shift in zip(MOMENTS.items(), COLOURS[:2], (0.95, 1.05), strict=True):
        for setting in results.study.curve("batches"):
            values = [kurtosis(moment)(outcome.run) for outcome in results.of(setting) if outcome.run]
            places = np.full(len(values), shift * setting["batch"])
            axes.plot(places, values, "o", color=colour, markersize=3.5)
        axes.plot([], [], "o", color=colour, markersize=3.5, label=words)
    sizes = [setting["batch"] for setting in results.study.curve("batches")]
    axes.set(xscale="log", xlabel="examples of a batch", ylabel="excess kurtosis of its gradient")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.legend(fontsize=8)
    return {"gaussian": figure}


# -------------------------------------------------------------------------------------------- the claims


def fall(one: Run, other: Run) -> Sample:
    """The excess kurtosis at the first step less that of another run."""
    return Sample(kurtosis(0)(one) - kurtosis(0)(other))


def claims(results: Results) -> list[Claim]:
    """Whether the kurtosis falls with the batch size, and is that of Gaussian noise in the end."""
    sizes = results.study.curve("batches")
    largest = sizes[-1]
    place = "section 2, above equation 4"
    return [
        Claim(
            "The larger the batch, the nearer its gradient is to a Gaussian.", place,
            "difference in excess kurtosis at the first step, where all have the same weights; each size beside four times it",
            {
                f"batches of {one['batch']} beside {other['batch']}": results.measure(fall, one.name, other.name)
                for one, other in itertools.pairwise(sizes)
            },
            0.0, NONE,
        ),
        Claim(
            "For large enough batches the gradient estimator is Gaussian.", place,
            f"excess kurtosis with batches of {largest['batch']}, at the first step and at the last",
            {
                words: results.measure(lambda run, at=moment: Sample(kurtosis(at)(run)), largest.name)
                for moment, words in MOMENTS.items()
            },
            NEAR, "a quarter; a Laplace distribution has 3", about=0.0,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="How far from Gaussian the gradient of a batch is, by its size",
    did="Takes the distribution of a batch's gradient to be Gaussian, by the central limit theorem, for batches large enough. It "
    "shows no picture: this one is ours.",
    shows={
        "gaussian": "Each point is a seed: the excess kurtosis of 1,000 drawn gradients along 8 random directions, 0 for Gaussian "
        "noise. At the last step every batch size has come to weights of its own."
    },
    departures=(
        "Batches are drawn without replacement from the training set, 9,600 images (full variant: 57,600); the network has one "
        "hidden layer of 64 units.",
        "A Gaussian has excess kurtosis 0 along every direction; more is not looked at.",
    ),
    draw=draw,
    claims=claims,
)
