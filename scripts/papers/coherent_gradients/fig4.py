"""coherent_gradients, figure 4: training with winsorized gradients, in which each weight's extreme ones are clipped."""

from __future__ import annotations

import itertools

import numpy as np

from papers.coherent_gradients import FIT, NOISE, TEST, evaluated
from papers.coherent_gradients._winsorized import (
    LOOKS,
    OVER,
    OVER_SAID,
    PROPER,
    at_end,
    draw_accuracies,
    drop,
    margin,
    mean_over_noise,
    mean_overfit,
)
from sgdscope.claims import NONE, Claim, Late, Measurement
from sgdscope.figure import Figure
from sgdscope.plots.style import STYLE, Picture, add_header, new_figure
from sgdscope.results import PARTS, Results
from sgdscope.runs import Run

PERCENTILES = (0, 1, 2, 4, 8)  # c
AFTER = Late("parts of training in place of single evaluations", {"quick": [1]})
STRONG = PERCENTILES[2:]  # c > 1
NAMES = {c: tuple(f"noise{percent}_c{c}" for percent in NOISE) for c in PERCENTILES}
OVER_CHANCE = 0.02  # in place of OVER where noise is all


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The paper's grid: shares of noise (columns) by c (rows)."""
    figure = new_figure(9.6, 8.6)
    grid = figure.subplots(len(PERCENTILES), len(NOISE), sharex=True, sharey=True)
    for row, c in zip(grid, PERCENTILES):
        for axes, percent, name in zip(row, NOISE, NAMES[c]):
            draw_accuracies(axes, results.runs(name))
            if c == 0:
                axes.set_title(f"{percent} % noise")
        row[0].set_ylabel(f"c = {c}")
    for axes in grid.flat:
        axes.set_xscale("log")
    grid[0, 0].set_ylim(-0.06, 1.04)
    figure.supxlabel("step", fontsize=STYLE["axes.labelsize"])
    add_header(figure, None, [*LOOKS.values(), PROPER])
    return {"fig4": figure}


# -------------------------------------------------------------------------------------------- the claims


def overfit_gained(run: Run) -> float:
    """The overfit at the end less that at the tenth part of the steps."""
    line = evaluated(run, "overfit")
    return float(line.y[-1] - np.interp(line.x[-1] / 10, line.x, line.y))


def by_noise(c: int) -> dict[str, str]:
    """The settings with a c, by their shares of noise in words."""
    return {f"{percent} % noise": name for percent, name in zip(NOISE, NAMES[c], strict=True)}


def claims(results: Results) -> list[Claim]:
    """Whether clipping keeps the network from learning the noise, and what it costs."""
    measure, place, judged = results.measure, "section 3.3, figure 4", "(mean over shares of noise)"
    found = []
    for c in STRONG:
        found += [
            Claim(
                f"With c = {c} the training accuracy exceeds the proper accuracy by no more than {OVER:.0%} (25, 50 and 75 % noise).",
                f"{place}, first observation",
                "proper accuracy less the highest training accuracy, with each share of noise",
                {words: measure(margin, name) for words, name in list(by_noise(c).items())[1:-1]}, -OVER,
                f"'does not exceed', with a margin of {OVER:.0%} for the highest of many evaluations",
                decided_after=OVER_SAID,
            ),
            Claim(
                f"With c = {c} it exceeds it by no more than {OVER_CHANCE:.0%} (100 % noise).",
                f"{place}, first observation",
                "proper accuracy less the highest training accuracy",
                measure(margin, NAMES[c][-1]), -OVER_CHANCE,
                "'does not exceed': who says always the most frequent digit is 1.2 % above it already",
                decided_after=OVER_SAID,
            ),
        ]  # fmt: skip
    for c, larger in itertools.pairwise(PERCENTILES):
        pair = (*NAMES[c], *NAMES[larger])
        found += [
            Claim(
                f"The overfit grows more slowly with c = {larger} than with c = {c}.",
                f"{place}, second observation",
                f"mean overfit over all steps with c = {c} less that with {larger} {judged}",
                measure(drop(mean_overfit), *pair), 0.0, NONE,
            ),
            Claim(
                f"In the end there is less of it with c = {larger} than with c = {c}.",
                "section 3.2, first prediction",
                f"overfit at the end with c = {c} less that with {larger} {judged}",
                measure(drop(at_end("overfit")), *pair), 0.0, NONE,
            ),
            Claim(
                f"The training set is fitted less well with c = {larger} than with c = {c}.",
                "section 3.2, second prediction",
                f"training accuracy at the end with c = {c} less that with {larger} {judged}",
                measure(drop(at_end(FIT)), *pair), 0.0, NONE,
            ),
        ]  # fmt: skip
    small, large = PERCENTILES[1], PERCENTILES[-1]

    def above_last(column: str) -> dict[str, Measurement]:
        settings = by_noise(large).items()
        return {words: results.above_last(lambda run: evaluated(run, column).y, name) for words, name in settings}

    found += [
        Claim(
            f"A small c = {small} does not keep the network from overfitting in the course of time.",
            "section 3.2, third prediction",
            "overfit at the end less that at the tenth part of the steps (mean over shares of noise from 25 %)",
            measure(mean_over_noise(overfit_gained), *NAMES[small][1:]), 0.0, NONE,
        ),
        Claim(
            f"With much clipping, c = {large}, the test accuracy reaches a maximum and then goes down.",
            "section 3.3, last paragraph",
            f"mean test accuracy of the best of {PARTS} parts of training less that of the last, with each share of noise",
            above_last(TEST), 0.0, NONE,
            decided_after=AFTER,
        ),
        Claim(
            f"So does the training accuracy, c = {large}.",
            "section 3.3, last paragraph",
            f"mean training accuracy of the best of {PARTS} parts of training less that of the last, with each share of noise",
            above_last(FIT), 0.0, NONE,
            decided_after=AFTER,
        ),
    ]  # fmt: skip
    return found


FIGURE = Figure(
    title="Training and test accuracy and overfit, for winsorized gradients and noisy labels",
    did="Trains a network with three hidden layers of 256 units on MNIST with 0, 25, 50, 75 and 100 % noise in the training "
    "labels, and in every step and for every weight clips the examples' gradients at their c-th and (100 − c)-th "
    "percentile. What few examples want is so suppressed; what many want is not.",
    shows={
        "fig4": "Each line is one seed. Above the dashed line the training labels are fitted by more than those that the noise left as "
        "they were: noise is being learned. ε is the share of noise."
    },
    departures=(
        "There are five seeds in place of the paper's one; in the quick variant one, which decides nothing.",
        "With c = 0 it is plain SGD, by the same code path as in the other figures.",
    ),
    draw=draw,
    claims=claims,
    unjudged={"quick": "there is one seed"},
)
