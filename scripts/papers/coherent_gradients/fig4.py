"""coherent_gradients, figure 4: training with winsorized gradients, in which each weight's extreme ones are clipped."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from papers.coherent_gradients import FIT, MIXED, NOISE, TEST, evaluated
from papers.coherent_gradients._winsorized import (
    BY_ITSELF,
    EACH,
    LOOKS,
    OVER,
    OVER_SAID,
    PROPER,
    SEED_1,
    OfPairs,
    at_end,
    claims_on_overfit,
    draw_accuracies,
    drop,
    excess,
    margin,
)
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import STYLE, Picture, add_header, new_figure
from sgdscope.results import PARTS, Results
from sgdscope.runs import Run

PERCENTILES = (0, 1, 2, 4, 8)  # c
AFTER = Late("parts of training in place of single evaluations, which parts, and that 100 % noise is left out", SEED_1)
TAUGHT = NOISE[:-1]  # there are labels that a network with much clipping can come to know
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


def overfit_gained(run: Run) -> Sample:
    """The overfit at the end less that at the tenth part of the steps."""
    line = evaluated(run, "overfit")
    return Sample(at_end("overfit")(run) - float(np.interp(line.x[-1] / 10, line.x, line.y)))


def claims(results: Results) -> list[Claim]:
    """Whether clipping keeps the network from learning the noise, and what it costs."""
    measure, place = results.measure, "section 3.3, figure 4"

    def with_each(of: Callable[..., Sample], percents: Sequence[int], *clipped: int) -> dict[str, Measurement]:
        names = {percent: [NAMES[c][NOISE.index(percent)] for c in clipped] for percent in percents}
        return {f"{percent} % noise": measure(of, *names[percent]) for percent in percents}

    def compare(c: int, larger: int) -> OfPairs:
        return lambda of: with_each(of, MIXED, c, larger)

    found = [
        Claim(
            f"Without clipping the training accuracy exceeds the proper accuracy by more than {OVER:.0%} (25, 50 and 75 % noise).",
            f"{place}, row c = 0",
            f"highest training accuracy less the proper accuracy {EACH}",
            with_each(excess, MIXED, 0), OVER, f"more than {OVER:.0%}: what clipping is to prevent",
            decided_after=Late("the claim", SEED_1),
        )
    ]  # fmt: skip
    for c in STRONG:
        found += [
            Claim(
                f"With c = {c} the training accuracy exceeds the proper accuracy by no more than {OVER:.0%} (25, 50 and 75 % noise).",
                f"{place}, first observation",
                "proper accuracy less the highest training accuracy, with each share of noise",
                with_each(margin, MIXED, c), -OVER,
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
        found += claims_on_overfit(compare(c, larger), c, larger, "")
        found.append(
            Claim(
                f"The training set is fitted less well with c = {larger} than with c = {c}.",
                "section 3.2, second prediction",
                f"training accuracy in the last fifth of the steps with c = {c} less that with {larger} {EACH}",
                with_each(drop(at_end(FIT)), TAUGHT, c, larger), 0.0, NONE,
                decided_after=Late(f"a mean of the end in place of the last evaluation; {BY_ITSELF}", SEED_1),
            )
        )  # fmt: skip
    small, large = PERCENTILES[1], PERCENTILES[-1]

    def above_end(column: str) -> dict[str, Measurement]:
        return {
            f"{percent} % noise": results.above_end(lambda run: evaluated(run, column), name)
            for percent, name in zip(TAUGHT, NAMES[large])
        }

    parts = f"in the best of {PARTS} parts of training, evenly on the axis of the picture, less that in the last fifth of the steps, "
    parts += "before which these parts are"
    found += [
        Claim(
            f"A small c = {small} does not keep the network from overfitting in the course of time.",
            "section 3.2, third prediction",
            f"overfit in the last fifth of the steps less that at the tenth part of them {EACH}",
            with_each(overfit_gained, NOISE[1:], small), 0.0, NONE,
            decided_after=Late(f"a mean of the end in place of the last evaluation; {BY_ITSELF}", SEED_1),
        ),
        Claim(
            f"With much clipping, c = {large}, the test accuracy reaches a maximum and then goes down.",
            "section 3.3, last paragraph",
            f"mean test accuracy {parts} {EACH}",
            above_end(TEST), 0.0, NONE,
            decided_after=AFTER,
        ),
        Claim(
            f"So does the training accuracy, c = {large}.",
            "section 3.3, last paragraph",
            f"mean training accuracy {parts} {EACH}",
            above_end(FIT), 0.0, NONE,
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
        "Claims on the overfit are about 25, 50 and 75 % noise: without any there is hardly an overfit, and with all of it a network "
        "that is clipped learns nothing. For this reason 100 % noise is left out, too, where a claim says that something is learned.",
        "A network that is trained more slowly has less overfit after equally many steps, whatever slows it. So the overfit is "
        "also compared where equally many pristine examples are learned, which the paper does not do.",
    ),
    draw=draw,
    claims=claims,
    unjudged={"quick": "there is one seed"},
)
