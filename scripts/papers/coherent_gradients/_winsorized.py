"""Training with winsorized gradients: how figure 4 and beyond_convnet measure and draw it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from papers.coherent_gradients import FIT, PRISTINE, TEST, at_step, evaluated, from_step_1, steps_until
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample, TooLittle
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import COLOURS, Axes, Stroke
from sgdscope.results import in_end
from sgdscope.runs import Run

Quantity = Callable[[Run], float]
OfPairs = Callable[[Callable[[Run, Run], Sample]], Mapping[str, Measurement]]

OVER = 0.01  # of training accuracy over the proper accuracy
LEAST_OVERFIT = 0.02  # in the end: of less it is not told how fast it grows
SEED_1 = {"quick": [1]}  # its results were known
OVER_SAID = Late("that the margin stands in the claim", SEED_1)
EACH = "(with each share of noise)"
BY_ITSELF = "each share of noise by itself in place of their mean"

LOOKS = {
    FIT: Stroke("training accuracy (ta)", COLOURS[0]),
    TEST: Stroke("test accuracy (va)", COLOURS[2]),
    "overfit": Stroke("overfit: ta − [ε/10 + (1 − ε) va]", COLOURS[4]),
}
PROPER = Stroke("proper accuracy of the training set", "#777777", (0, (4, 2)), 0.9)


def draw_accuracies(axes: Axes, runs: Sequence[Run]) -> None:
    """Training and test accuracy and overfit over the steps, and the proper accuracy as a level."""
    for run in runs:
        axes.axhline(proper(run), color=PROPER.colour, linestyle=PROPER.dash, linewidth=PROPER.width, zorder=1)
        draw_lines(axes, [from_step_1(evaluated(run, column)) for column in LOOKS], list(LOOKS.values()))


def proper(run: Run) -> float:
    """The share of training examples whose labels the noise left as they were."""
    return float(evaluated(run, "proper_accuracy").y[-1])


def at_end(column: str) -> Quantity:
    """The mean of a column over the evaluations in the last fifth of the steps."""

    def measure(run: Run) -> float:
        line = evaluated(run, column)
        return float(line.y[in_end(line)].mean())

    return measure


def drop(quantity: Quantity) -> Callable[[Run, Run], Sample]:
    """The number of a run less that of one with a larger c."""
    return lambda run, clipped: Sample(quantity(run) - quantity(clipped))


def slower(run: Run, clipped: Run) -> Sample:
    """log2 of how many times as long the overfit takes with a larger c until it stays above half of the other run's end.

    Where it never does, it counts as if it did at the last step: it takes at least so long.
    """
    end = at_end("overfit")(run)
    if end < LEAST_OVERFIT:
        raise TooLittle(
            f"{run.folder.name} has an overfit of {end:.3f} in the end, of which it takes {LEAST_OVERFIT:g}"
        )
    first, second = (_steps_until_above(one, end / 2) for one in (run, clipped))
    return Sample(math.log2(second / first))


def _steps_until_above(run: Run, level: float) -> float:
    """The step from which on the overfit is above a level, or the last; between evaluations linear in log(1 + step)."""
    line = evaluated(run, "overfit")
    below = np.flatnonzero(line.y < level)
    if not below.size or below[-1] == line.x.size - 1:
        return float(line.x[-1] if below.size else line.x[0])
    around = slice(below[-1], below[-1] + 2)
    return float(np.expm1(np.interp(level, line.y[around], np.log1p(line.x[around]))))


def drop_at_equal_accuracy(run: Run, clipped: Run) -> Sample:
    """The overfit less that with a larger c, each when it first has the highest pristine accuracy that both come to."""
    level = min(evaluated(one, PRISTINE).y.max() for one in (run, clipped))
    first, second = (at_step(evaluated(one, "overfit"), steps_until(one, PRISTINE, level)) for one in (run, clipped))
    return Sample(first - second)


def margin(run: Run) -> Sample:
    """The proper accuracy less the highest training accuracy."""
    return Sample(proper(run) - float(evaluated(run, FIT).y.max()))


def excess(run: Run) -> Sample:
    """The highest training accuracy less the proper accuracy."""
    return Sample(-margin(run).value)


def claims_on_overfit(pairs: OfPairs, c: int, larger: int, of: str) -> list[Claim]:
    """Whether the overfit grows more slowly and comes to less with a larger c; `pairs` measures each share of noise.

    `of` is added to the places in the paper.
    """
    return [
        Claim(
            f"The overfit grows more slowly with c = {larger} than with c = {c}.",
            f"section 3.3, figure 4, second observation{of}",
            f"log2 of how many times as many steps it takes with c = {larger} until it stays above half of what it is in the end with "
            f"c = {c}, or of the last step if it does not {EACH}",
            pairs(slower), 0.0, NONE,
            decided_after=Late(f"steps in place of the mean overfit, which is nearly that of the end; {BY_ITSELF}", SEED_1),
        ),
        Claim(
            f"In the end there is less of it with c = {larger} than with c = {c}.",
            f"section 3.2, first prediction{of}",
            f"overfit in the last fifth of the steps with c = {c} less that with {larger} {EACH}",
            pairs(drop(at_end("overfit"))), 0.0, NONE,
            decided_after=Late(f"a mean of the end in place of the last evaluation; {BY_ITSELF}", SEED_1),
        ),
        Claim(
            f"There is less of it with c = {larger} than with c = {c} also where equally many pristine examples are learned.",
            f"ours: section 3.2, first prediction, allowing for slower training{of}",
            f"overfit with c = {c} less that with {larger}, each when it first has the highest accuracy on the pristine examples that "
            f"both come to {EACH}",
            pairs(drop_at_equal_accuracy), 0.0, NONE,
            decided_after=Late("the claim", SEED_1),
        ),
    ]  # fmt: skip
