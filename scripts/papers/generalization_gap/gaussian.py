"""generalization_gap, section 2: for large batches the gradient estimator is Gaussian."""

from __future__ import annotations

import numpy as np

from papers.generalization_gap import KNOWN, measured_rows
from sgdscope.claims import Claim, Late, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

NAME = "gaussian"
SIZES = (5, 20, 80, 320)  # batches
MOMENTS = {0: "first step", -1: "last step"}
NEAR = 0.25  # of excess kurtosis
FALLS = 0.5  # power
POWER = Late(
    "that it is the power with which the kurtosis falls, at the last step, in place of differences at the first one, of which the one "
    "between 80 and 320 examples is within its error; and the border",
    KNOWN,
)
SAME_WEIGHTS = Late(
    "that it is taken at the weights of a training with batches of 80, as for all sizes, in place of one with 320",
    KNOWN,
)


def kurtosis(run: Run, size: int, moment: int) -> float:
    """The excess kurtosis of gradients of such batches along random directions at the first (0) or last (−1) measured step."""
    return float(measured_rows(run, [f"batch{size}.sgd.kurtosis"])[1][moment])


def draw(results: Results) -> dict[str, Picture]:
    """The excess kurtosis over the batch size at both moments, every seed a point."""
    runs = results.runs(NAME)
    figure = new_figure(5.6, 3.8)
    axes = figure.subplots()
    axes.axhline(0, color=RED, linewidth=1.0)
    for (moment, words), colour, shift in zip(MOMENTS.items(), COLOURS[:2], (0.95, 1.05), strict=True):
        for size in SIZES:
            values = [kurtosis(run, size, moment) for run in runs]
            axes.plot(np.full(len(values), shift * size), values, "o", color=colour, markersize=3.5)
        axes.plot([], [], "o", color=colour, markersize=3.5, label=words)
    axes.set(xscale="log", xlabel="examples of a batch", ylabel="excess kurtosis of its gradient")
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.set_xticks([], minor=True)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.legend(fontsize=8)
    return {"gaussian": figure}


# -------------------------------------------------------------------------------------------- the claims


def fall(run: Run) -> Sample:
    """The power of the batch size with which the excess kurtosis at the last step falls, all sizes but the largest."""
    sizes = SIZES[:-1]
    values = [kurtosis(run, size, -1) for size in sizes]
    if min(values) <= 0:
        raise TooLittle(
            f"{run.folder.name} has an excess kurtosis of {min(values):.2g}, of which there is no logarithm"
        )
    return Sample(-float(np.polyfit(np.log(sizes), np.log(values), 1)[0]))


def claims(results: Results) -> list[Claim]:
    """Whether the kurtosis falls with the batch size, and is that of Gaussian noise in the end."""
    place, largest = "section 2, above equation 4", SIZES[-1]
    return [
        Claim(
            "The larger the batch, the nearer its gradient is to a Gaussian.", place,
            f"power of the batch size, {SIZES[0]} to {SIZES[-2]}, with which the excess kurtosis falls, at the last step",
            results.measure(fall, NAME), FALLS, "half: nearer to 1, which follows for independent examples, than to none",
            decided_after=POWER,
        ),
        Claim(
            "For large enough batches the gradient estimator is Gaussian.", place,
            f"excess kurtosis with batches of {largest}, at the first step and at the last",
            {
                words: results.measure(lambda run, at=moment: Sample(kurtosis(run, largest, at)), NAME)
                for moment, words in MOMENTS.items()
            },
            NEAR, "a quarter; a Laplace distribution has 3", about=0.0, decided_after=SAME_WEIGHTS,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="How far from Gaussian the gradient of a batch is, by its size",
    did="Takes the distribution of a batch's gradient to be Gaussian, by the central limit theorem, for batches large enough. It "
    "shows no picture: this one is ours.",
    shows={
        "gaussian": "Each point is a seed: the excess kurtosis of 1,000 drawn gradients along 8 random directions, 0 for Gaussian "
        "noise. At each of the two moments all batch sizes have the same weights."
    },
    departures=(
        "Batches are drawn without replacement from the training set, 9,600 images (full variant: 57,600); the network has one "
        "hidden layer of 64 units, and is trained with batches of 80.",
        "Of a mean of independent examples the excess kurtosis falls as 1 over their number, whatever the network: the first claim "
        "checks whether 1,000 drawn batches show it, and says nothing of networks. How many examples are enough is the finding. "
        "With 320 the kurtosis is often within its error, and has no logarithm.",
        "A Gaussian has excess kurtosis 0 along every direction; more is not looked at.",
    ),
    draw=draw,
    claims=claims,
)
