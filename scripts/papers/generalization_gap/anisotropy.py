"""generalization_gap, section 2 and footnote 6: Σ is very anisotropic, and its leading eigenvalues have most of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from papers.generalization_gap import KNOWN, measured_rows
from sgdscope.claims import Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

FEW, MANY = 250, 1000  # gradients of single examples that Σ is taken from
NAME = "anisotropy"
PROBES = {FEW: "few", MANY: "many"}
MOMENTS = {0: "first step", -1: "last step"}
LEADING = 10  # eigenpairs
SPECTRUM = 100  # of the largest eigenvalues
MEASURED = {FEW: FEW - 1, MANY: SPECTRUM}  # eigenvalues: of few gradients all, whose sum is their tr Σ
VERY = 10.0  # times
SAMPLED = 0.5  # exponent
MOST = 0.5  # of tr Σ
EXTRAPOLATED = Late(
    "that the effective rank is that which more and more gradients would come to, in place of that of 1000, and that its mean is taken "
    "in place of its logarithm's",
    KNOWN,
)
SAME_WEIGHTS = Late("that both numbers of gradients are of the same weights, in place of two trainings'", KNOWN)
TRAINED = Late("that it is judged after training alone: before it the share had come out below the border", KNOWN)


# ------------------------------------------------------------------------------------------- what is measured


def rank(run: Run, moment: int, count: int) -> float:
    """The effective rank (tr Σ)² / tr Σ²: along how many directions alike in strength gradients would fluctuate so."""
    return float(measured_rows(run, [f"{PROBES[count]}.effective_rank"])[1][moment])


def anisotropy(run: Run, moment: int) -> float:
    """How many times as many directions as Σ's effective rank noise alike in all of them would show in MANY gradients.

    Of n gradients 1 / rank is higher than that of Σ by about c / n, the more so the more their lengths differ: with that of two n
    it is subtracted.
    """
    inverse = (MANY / rank(run, moment, MANY) - FEW / rank(run, moment, FEW)) / (MANY - FEW)
    return (MANY - 1) * inverse


def shares(run: Run, moment: int, count: int) -> np.ndarray:
    """The largest eigenvalues of Σ over its trace, the largest first."""
    columns = [f"{PROBES[count]}.eigenvalue{i}" for i in range(1, MEASURED[count] + 1)]
    found = np.array([values[moment] for values in measured_rows(run, columns)[1:]])
    if count == FEW:
        return found[:SPECTRUM] / found.sum()
    return found / measured_rows(run, [f"{PROBES[MANY]}.trace"])[1][moment]


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The spectrum at both moments, of few gradients and of many, every seed a line; and how much the leading ones have."""
    runs = results.runs(NAME)
    figure = new_figure(9.4, 4.1)
    panels = figure.subplots(1, 2)
    looks = {
        (count, moment): Stroke(f"{count} gradients, {words}", colour, dash, 1.0)
        for count, dash in ((FEW, (0, (3, 1.2))), (MANY, "-"))
        for (moment, words), colour in zip(MOMENTS.items(), COLOURS[::4], strict=True)
    }
    place = np.arange(1, SPECTRUM + 1)
    for (count, moment), look in looks.items():
        for run in runs:
            values = shares(run, moment, count)
            style = {"color": look.colour, "linestyle": look.dash, "linewidth": look.width}
            panels[0].plot(place, values, **style)
            panels[1].plot(place, values.cumsum(), **style)
        panels[0].axhline(1 / (count - 1), color="#999999", linestyle=look.dash, linewidth=1.0)
    panels[0].annotate(
        "noise alike in all directions", (1, 1 / (MANY - 1)), (2, -10), textcoords="offset points", fontsize=8,
        color="#666666",
    )  # fmt: skip
    panels[0].set(xscale="log", yscale="log", xlabel="eigenvalue, the largest first", ylabel="share of tr Σ")
    panels[1].axhline(MOST, color="#999999", linewidth=0.8)
    panels[1].axvline(LEADING, color="#999999", linewidth=0.8)
    panels[1].set(
        xscale="log", ylim=(0, 1), xlabel="so many of the largest eigenvalues", ylabel="share of tr Σ, together"
    )
    add_header(figure, None, list(looks.values()))
    return {"anisotropy": figure}


# -------------------------------------------------------------------------------------------- the claims


def growth(run: Run, moment: int) -> float:
    """The power of the number of gradients with which the effective rank grows from few of them to many."""
    return math.log(rank(run, moment, MANY) / rank(run, moment, FEW)) / math.log(MANY / FEW)


def share_of_leading(run: Run) -> Sample:
    """What the leading eigenvalues of Σ have of its trace at the last step."""
    return Sample(float(shares(run, -1, MANY)[:LEADING].sum()))


def claims(results: Results) -> list[Claim]:
    """Whether Σ is very anisotropic, whether few directions have most of it, and whether the sample is large enough."""

    def measure(of: Callable[[Run, int], float]) -> dict[str, Measurement]:
        return {
            words: results.measure(lambda run, at=moment: Sample(of(run, at)), NAME)
            for moment, words in MOMENTS.items()
        }

    both, place = "at the first step and at the last", "section 2, below equation 5, and footnote 6"
    return [
        Claim(
            "In general Σ is very anisotropic.", place,
            f"in how many times as many directions as Σ's effective rank noise alike in all of them shows with {MANY} gradients; the "
            f"rank is extrapolated from {FEW} and {MANY}; {both}",
            measure(anisotropy), VERY, "10: a tenth of the directions that there are is few; how few the paper does not say",
            decided_after=EXTRAPOLATED,
        ),
        Claim(
            "That is not for want of gradients: the more there are, the farther Σ is from being alike in all directions.", place,
            f"1 less the power with which the effective rank grows from {FEW} gradients to {MANY} of the same weights, 0 for noise "
            f"alike in all directions, {both}",
            measure(lambda run, moment: 1 - growth(run, moment)),
            SAMPLED, "half: nearer to no growth than to that of noise alike in all directions", decided_after=SAME_WEIGHTS,
        ),
        Claim(
            "After training a few leading eigenvectors have most of Σ, so that an algorithm that needs only these is practical; most is "
            "our word.", "footnote 6",
            f"share of the {LEADING} largest eigenvalues in tr Σ, {MANY} gradients, at the last step",
            results.measure(share_of_leading, NAME), MOST, "half: most; 10 as in `generalization_gap/inverse_covariance`",
            decided_after=TRAINED,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="The spectrum of the gradients' covariance Σ: how unlike it is in different directions",
    did="Says that the covariance Σ of gradients is anisotropic, in general very much so, and that its leading eigenvectors, cheap "
    "to compute, make a practical algorithm. It shows no picture: this one is ours.",
    shows={
        "anisotropy": "Each line is one seed. Left: the share of each of the 100 largest eigenvalues of Σ in their sum; were "
        "gradients to fluctuate alike in all directions, all would lie on the grey line. Right: the share of the largest ones "
        "together; the grey lines cross at half of Σ in 10 directions."
    },
    departures=(
        "Σ is that of the gradients of 1,000 examples, which are the batch, and of 250 others of the training set, at the same weights. "
        "Of so few gradients the covariance has no more directions than gradients, so that it must be asked whether more of them "
        "would make it less anisotropic.",
        "Gradients alike in all directions whose lengths differ very much have few directions, too, in which a sample has most of "
        "its fluctuation. That is subtracted to first order in the number of gradients. Where a few of them are longer than all "
        "others together, it is not enough of a correction, but differs so much between seeds that nothing is decided.",
        "One hidden layer of 64 ReLU units, 50,890 weights; 401 steps on 10,000 images, in the full variant 6,001 on 60,000.",
    ),
    draw=draw,
    claims=claims,
)
