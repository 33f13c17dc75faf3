"""generalization_gap, equations 12 and 13: two steps of SGD on half-batches against two of gradient descent on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from papers.generalization_gap import measured_rows, within
from sgdscope.claims import Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import RED, Axes, Picture, new_figure, shades
from sgdscope.results import Results
from sgdscope.runs import Run

NAME = "sgd_gd"
RATES = (0.1, 0.025, 0.00625, 0.0015625, 0.000390625)  # η of equation 12, the last one small enough for its order
CUTS = (10, 40, 160)  # random ways to cut the batch into halves, over which equation 13's average is taken
EXACT = 2  # the order of the error of equation 12


def by_label(run: Run, labels: Sequence[str], value: str) -> tuple[np.ndarray, np.ndarray]:
    """The measured steps, and a column of several probes there, [moments, probes]."""
    step, *columns = measured_rows(run, [f"{label}.{value}" for label in labels])
    return step, np.array(columns).T


def of_rates(run: Run, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one number of the probe, for each learning rate."""
    return by_label(run, [f"rate{i}" for i in range(len(RATES))], value)


def of_cuts(run: Run, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one number of the probe's average, for each number of cuts."""
    return by_label(run, [f"cuts{cuts}" for cuts in CUTS], f"average.{value}")


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Equation 12 over the learning rate, and equation 13 over the number of cuts."""
    from matplotlib.ticker import LogLocator

    run = results.runs(NAME)[0]
    figure = new_figure(9.0, 3.9)
    left, right = figure.subplots(1, 2)
    step, distance = of_rates(run, "distance")
    _draw_moments(left, RATES, step, distance)
    rates = np.array(RATES)
    _draw_guide(left, rates, distance.max() * rates / rates[0], "slope 1")
    left.set(xlabel="learning rate η", ylabel="|δg − equation 12| / |equation 12|")
    step, distance = of_cuts(run, "distance")
    _draw_moments(right, CUTS, step, distance)
    expected = of_cuts(run, "error")[1].mean(axis=0)
    right.plot(CUTS, expected, color=RED, linewidth=1.2, linestyle="--", label="standard error, mean of moments")
    right.set(xlabel="cuts into halves", ylabel="|mean δg − equation 13| / |equation 13|")
    right.set_xticks(CUTS, [str(cuts) for cuts in CUTS])
    right.set_xticks([], minor=True)
    right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("")
    right.legend(fontsize=8)
    return {"sgd_gd": figure}


def _draw_moments(axes: Axes, x: Sequence[float], step: np.ndarray, y: np.ndarray) -> None:
    for at, values, colour in zip(step, y, shades(step.size)):
        axes.plot(x, values, color=colour, marker="o", markersize=3, label=f"step {at:.0f}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")


def _draw_guide(axes: Axes, x: np.ndarray, y: np.ndarray, label: str) -> None:
    axes.plot(x, 2 * y, color="#999999", linewidth=0.8, linestyle="--")
    axes.annotate(label, (x[1], 2 * y[1]), (-34, 4), textcoords="offset points", fontsize=7.5, color="#666666")


# -------------------------------------------------------------------------------------------- the claims


def order(run: Run) -> Sample:
    """Of the error of equation 12 at the smallest learning rate, mean over the moments."""
    return Sample(float(of_rates(run, "order")[1][:, -1].mean()))


def distance(run: Run) -> Sample:
    """The largest relative error of equation 12 at the smallest learning rate."""
    return Sample(float(of_rates(run, "distance")[1][:, -1].max()))


def over_error(run: Run) -> Sample:
    """The distance from equation 13 in its standard errors, most cuts, mean over the moments."""
    ratio = of_cuts(run, "distance")[1] / of_cuts(run, "error")[1]
    return Sample(float(ratio[:, -1].mean()))


def error(run: Run) -> Sample:
    """That standard error, mean over the moments."""
    return Sample(float(of_cuts(run, "error")[1][:, -1].mean()))


def fall(run: Run) -> Sample:
    """Of the distance from equation 13 with the number of cuts: its power, mean over the moments."""
    slopes = np.polyfit(np.log(CUTS), np.log(of_cuts(run, "distance")[1].T), 1)[0]
    return Sample(float(slopes.mean()))


def claims(results: Results) -> list[Claim]:
    """Whether the difference is that of the equations, one by one and on average."""

    def claim(
        says: str, place: str, quantity: str, of: Callable[..., Sample], border: float, about: float, why: str = ""
    ) -> Claim:
        return Claim(says, place, quantity, results.measure(of, NAME), border, why or within(border), about)

    return [
        claim("SGD on two half-batches differs from gradient descent on both as equation 12 says.", "equation 12",
              f"largest relative distance of all moments at η = {RATES[-1]:.2g}", distance, 0.02, 0.0),
        claim("What it leaves out is of the next order in η.", "equation 12",
              f"order of the error, mean of moments, at η = {RATES[-1]:.2g}", order, 0.1, EXACT,
              "off by a tenth of an order at most"),
        claim("On average over the cuts the difference is minus half the derivative of the change of the gap.", "equation 13",
              f"its distance in standard errors, mean of moments, {CUTS[-1]} cuts", over_error, 1.5, 0.0,
              "one and a half standard errors; in the mean it is one"),
        claim("The standard error is small enough for that to say something.", "equation 13",
              f"its ratio to what is expected, mean of moments, {CUTS[-1]} cuts", error, 0.5, 0.0,
              "half of what is expected"),
        claim("More cuts come nearer to it, as a mean does.", "equation 13",
              f"power with which the distance falls, {CUTS[0]} to {CUTS[-1]} cuts", fall, 0.1, -0.5,
              "a fifth of the expected power"),
    ]  # fmt: skip


FIGURE = Figure(
    title="Two steps of SGD on half-batches against two of gradient descent on both",
    did="Expands both in the learning rate: their gradients differ by equation 12, and on average by minus half the derivative "
    "of the change of the generalization gap, equation 13, its main result. It shows no picture: this one is ours.",
    shows={
        "sgd_gd": "One seed, at moments of its training. Left: each batch of 100 is cut once. Right: the mean over random cuts "
        "of each batch, at η = 0.001; the distance is due to the number of cuts, as the dashed line says."
    },
    departures=(
        "The steps are tried in double precision, without being made.",
        "The quick variant has the first 10,000 training examples and 1,100 steps.",
        "The average is over the ways to cut one batch into halves, both orders each. Over all of them equation 13 is exact "
        "to its order with the unbiased tr Σ of the batch's own examples.",
    ),
    draw=draw,
    claims=claims,
)
