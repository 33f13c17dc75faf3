"""Training with winsorized gradients: how figure 4 and beyond_convnet measure and draw it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from papers.coherent_gradients import FIT, TEST, evaluated, from_step_1
from sgdscope.claims import Sample
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import COLOURS, Axes, Stroke
from sgdscope.runs import Run

Quantity = Callable[[Run], float]

OVER = 0.01  # of training accuracy over the proper accuracy: no more than chance gives

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


def over_noise(values: Sequence[float]) -> Sample:
    """The mean of a number of each share of noise; its standard error from their spread."""
    return Sample(float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values)))


def mean_over_noise(quantity: Quantity) -> Callable[..., Sample]:
    """The mean of a quantity over the runs with one c, which differ in their noise."""
    return lambda *runs: over_noise([quantity(run) for run in runs])


def drop(quantity: Quantity) -> Callable[..., Sample]:
    """The number of one c less that of a larger one, mean over shares of noise; first come all runs of the one c."""

    def measure(*runs: Run) -> Sample:
        half = len(runs) // 2
        return over_noise([quantity(one) - quantity(other) for one, other in zip(runs[:half], runs[half:])])

    return measure


def margin(run: Run) -> Sample:
    """The proper accuracy less the highest training accuracy; its error is that of a share."""
    highest = float(evaluated(run, FIT).y.max())
    return Sample(proper(run) - highest, math.sqrt(highest * (1 - highest) / examples(run)))


def least_margin(*runs: Run) -> Sample:
    """The margin of the run that has the least one."""
    return min((margin(run) for run in runs), key=lambda sample: sample.value)


def examples(run: Run) -> float:
    """The number of examples in a run's training set."""
    epoch = evaluated(run, "epoch")
    return float(run.config["batch_size"] * epoch.x[-1] / epoch.y[-1])
