"""Training with winsorized gradients: how figure 4 and beyond_convnet measure and draw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from papers.coherent_gradients import FIT, TEST, evaluated, from_step_1
from sgdscope.claims import Late, Sample
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import COLOURS, Axes, Stroke
from sgdscope.runs import Run

Quantity = Callable[[Run], float]

OVER = 0.01  # of training accuracy over the proper accuracy
OVER_SAID = Late("that the margin stands in the claim", {"quick": [1]})

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
    """The last value of a column."""
    return lambda run: float(evaluated(run, column).y[-1])


def mean_overfit(run: Run) -> float:
    """Over all steps: were the overfit to grow by the same at every step, its growth times half the steps."""
    line = evaluated(run, "overfit")
    area = np.sum(np.diff(line.x) * (line.y[1:] + line.y[:-1]) / 2)
    return float(area / (line.x[-1] - line.x[0]))


def mean_over_noise(quantity: Quantity) -> Callable[..., Sample]:
    """The mean of a quantity over the runs with one c and one seed, which differ in their noise."""
    return lambda *runs: Sample(float(np.mean([quantity(run) for run in runs])))


def drop(quantity: Quantity) -> Callable[..., Sample]:
    """The number of one c less that of a larger one, mean over shares of noise; first come all runs of the one c."""

    def measure(*runs: Run) -> Sample:
        half = len(runs) // 2
        return Sample(float(np.mean([quantity(one) - quantity(other) for one, other in zip(runs[:half], runs[half:])])))

    return measure


def margin(run: Run) -> Sample:
    """The proper accuracy less the highest training accuracy."""
    return Sample(proper(run) - float(evaluated(run, FIT).y.max()))
