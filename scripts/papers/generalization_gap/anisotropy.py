"""generalization_gap, section 2 and footnote 6: Σ is very anisotropic, and its leading eigenvalues have most of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from papers.generalization_gap import measured_rows
from sgdscope.claims import Claim, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

FEW, MANY = 250, 1000  # gradients of single examples that Σ is taken from
NAMES = {count: f"anisotropy_batch{count}" for count in (FEW, MANY)}
MOMENTS = {0: "first step", -1: "last step"}
LEADING = 10  # eigenpairs
SPECTRUM = 100  # of the largest eigenvalues
VERY = 1.0  # decimal logarithm
SAMPLED = 0.5  # exponent
MOST = 0.5  # of tr Σ


# ------------------------------------------------------------------------------------------- what is measured


def rank(run: Run, moment: int) -> float:
    """The effective rank (tr Σ)² / tr Σ²: along how many directions alike in strength gradients would fluctuate so."""
    return float(measured_rows(run, ["covariance.effective_rank"])[1][moment])


def anisotropy(run: Run, moment: int) -> float:
    """The decimal logarithm of how many times as many directions noise alike in all of them would have."""
    return math.log10((run.config["batch_size"] - 1) / rank(run, moment))


def shares(run: Run, moment: int) -> np.ndarray:
    """The largest eigenvalues of Σ over its trace, the largest first."""
    columns = [f"covariance.eigenvalue{i}" for i in range(1, SPECTRUM + 1)]
    _, trace, *values = measured_rows(run, ["covariance.trace", *columns])
    return np.array([value[moment] for value in values]) / trace[moment]


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The spectrum at both moments, of few gradients and of many, every seed a line; and how much the leading ones have."""
    runs = {count: results.runs(name) for count, name in NAMES.items()}
    figure = new_figure(9.4, 4.1)
    panels = figure.subplots(1, 2)
    looks = {
        (count, moment): Stroke(f"{count} gradients, {words}", colour, dash, 1.0)
        for count, dash in ((FEW, (0, (3, 1.2))), (MANY, "-"))
        for (moment, words), colour in zip(MOMENTS.items(), COLOURS[::4], strict=True)
    }
    place = np.arange(1, SPECTRUM + 1)
    for (count, moment), look in looks.items():
        for run in runs[count]:
            values = shares(run, moment)
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


def growth(moment: int) -> Callable[[Run, Run], Sample]:
    """The power of the number of gradients with which the effective rank grows from few of them to many."""
    return lambda few, many: Sample(math.log(rank(many, moment) / rank(few, moment)) / math.log(MANY / FEW))


def claims(results: Results) -> list[Claim]:
    """Whether Σ is very anisotropic, whether few directions have most of it, and whether the sample is large enough."""

    def measure(of: Callable[[Run, int], float]) -> dict[str, Measurement]:
        return {
            words: results.measure(lambda run, at=moment: Sample(of(run, at)), NAMES[MANY])
            for moment, words in MOMENTS.items()
        }

    both, footnote = "at the first step and at the last", "footnote 6"
    return [
        Claim(
            "In general Σ is very anisotropic.", f"section 2, below equation 5, and {footnote}",
            f"decimal logarithm of how many times the effective rank of {MANY} gradients noise alike in all directions has, {both}",
            measure(anisotropy), VERY, "1: a tenth of the directions that there are is few",
        ),
        Claim(
            "That is not for want of gradients: the more there are, the farther Σ is from being alike in all directions.",
            f"section 2, below equation 5, and {footnote}",
            f"1 less the power with which the effective rank grows from {FEW} gradients to {MANY}, 0 for noise alike in all "
            f"directions, {both}",
            {
                words: results.measure(lambda few, many, of=growth(moment): Sample(1 - of(few, many).value), *NAMES.values())
                for moment, words in MOMENTS.items()
            },
            SAMPLED, "half: nearer to no growth than to that of noise alike in all directions",
        ),
        Claim(
            "A few leading eigenvectors have most of Σ, so that an algorithm that needs only these is practical.", footnote,
            f"share of the {LEADING} largest eigenvalues in tr Σ, {MANY} gradients, {both}",
            measure(lambda run, moment: float(shares(run, moment)[:LEADING].sum())), MOST,
            "half: most; 10 as in `generalization_gap/inverse_covariance`",
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
        "Σ is that of the gradients of 250 or 1,000 examples, which are the batch. Of so few gradients the covariance has no more "
        "directions than gradients, so that it must be asked whether more of them would make it less anisotropic.",
        "One hidden layer of 64 ReLU units, 50,890 weights; 401 steps on 10,000 images, in the full variant 6,001 on 60,000.",
    ),
    draw=draw,
    claims=claims,
)
