"""The shares f_p and f_c: how figure 2 and beyond_convnet measure and draw them, of the whole training set or a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.coherent_gradients import CORRUPT, PRISTINE, evaluated, steps_until
from papers.coherent_gradients._worlds import LOOKS, column
from sgdscope.claims import TooLittle
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes
from sgdscope.runs import Run

OF = ("early.whole.", "late.whole.")  # the columns of the probes
SAMPLED = ("early.sample.", "late.sample.")  # the same of the paper's estimate
PARTS = ("f_p", "f_c")
FIRST = 10  # steps: the beginning of training
MIN_FIRST = 5  # of them, so many must be measured
SEEN = (-0.3, 1.3)  # of the shares: where the gradient is short they may lie far outside 0 to 1
LEARNING = (0.5, 0.9)  # of the corrupt examples: in between, they are being learned
FITTED = 0.99  # of the pristine examples: all of them, but for a few
PLACES = 1001  # on the axis of a picture, at which a line is read
SOMETIMES = 0.05  # of the axis of a picture, up to where the corrupt examples are learned


def share(run: Run, world: str, part: str, of: tuple[str, str] = OF) -> Line:
    """f_p or f_c at the measured steps."""
    early, late = (column(probe, world, part) for probe in of)
    run.metrics.load(["step", early, late])
    values = np.where(np.isfinite(run.metrics[early]), run.metrics[early], run.metrics[late])
    known = np.isfinite(values)
    return Line(run.metrics["step"][known], values[known])


def draw_shares(axes: Axes, runs: Sequence[Run], world: str, of: tuple[str, str] = OF) -> None:
    """Draws the shares of pristine and corrupt examples over the steps, counted from 1."""
    axes.axhline(0.5, color="#999999", linewidth=0.8, zorder=1)
    for part, look in zip(PARTS, LOOKS, strict=True):
        lines = [share(run, world, part, of) for run in runs]
        draw_lines(axes, [Line(line.x + 1, line.y) for line in lines], [look] * len(runs))


def lead(run: Run, world: str = "", of: tuple[str, str] = OF) -> Line:
    """f_p − f_c at the measured steps."""
    f_p, f_c = (share(run, world, part, of) for part in PARTS)
    return Line(f_p.x, f_p.y - f_c.y)


def lead_first(run: Run, world: str = "", of: tuple[str, str] = OF) -> float:
    """Mean of f_p − f_c over the measured ones of the first steps."""
    line = lead(run, world, of)
    first = line.y[line.x < FIRST]
    if first.size < MIN_FIRST:
        raise TooLittle(
            f"{run.folder.name} measures {first.size} of the first {FIRST} steps, of which it takes {MIN_FIRST}"
        )
    return float(first.mean())


def read(run: Run, line: Line, begin: float, end: float) -> np.ndarray:
    """A line at PLACES evenly spaced in log(1 + step) from one step to another, or to where it ends."""
    if begin >= line.x[-1]:
        raise TooLittle(f"{run.folder.name} measures no shares from step {begin:.0f} on")
    places = np.linspace(np.log1p(begin), np.log1p(min(end, line.x[-1])), PLACES)
    return np.interp(places, np.log1p(line.x), line.y)


def end_of_learning(run: Run) -> float:
    """The step at which nine tenths of the corrupt examples are learned; infinite if they are not."""
    most = LEARNING[1]
    return steps_until(run, CORRUPT, most) if evaluated(run, CORRUPT).y.max() >= most else np.inf


def lead_later(run: Run, world: str = "", of: tuple[str, str] = OF) -> float:
    """Median of f_p − f_c over log(1 + step) while the corrupt examples are learned; to the end, if they are not.

    It is above 0 just where f_p is the larger one for more than half of that time. A mean would be decided by the few
    steps at which the gradient is so short that the shares lie far outside 0 to 1.
    """
    learning = steps_until(run, CORRUPT, LEARNING[0]), end_of_learning(run)
    return float(np.median(read(run, lead(run, world, of), *learning)))


def least_lead(run: Run, world: str = "", sign: int = 1) -> float:
    """What sign · (f_p − f_c) exceeds in 95 of 100 parts of log(1 + step), until nine tenths of the corrupt are learned.

    It is above 0 just where the curves are on that side but for 5 of 100 parts.
    """
    return float(np.quantile(sign * read(run, lead(run, world), 0, end_of_learning(run)), SOMETIMES))


def noise_of_sample(run: Run) -> float:
    """The root mean square distance of the sampled f_p from the exact one, over the steps at which both are measured."""
    exact, sampled = (share(run, "", "f_p", of) for of in (OF, SAMPLED))
    return float(np.sqrt(np.mean((sampled.y - exact.y) ** 2)))


def opposite_in_sample(run: Run) -> float:
    """The share of steps at which the sample has the other kind of examples in the lead."""
    exact, sampled = (lead(run, "", of) for of in (OF, SAMPLED))
    return float(np.mean(np.sign(exact.y) != np.sign(sampled.y)))


def comes_together(run: Run) -> float:
    """Median of |f_p − f_c| over log(1 + step) while the corrupt examples are learned, less that thereafter."""
    line, end = lead(run), end_of_learning(run)
    gap = Line(line.x, abs(line.y))
    while_learned = read(run, gap, steps_until(run, CORRUPT, LEARNING[0]), end)
    return float(np.median(while_learned) - np.median(read(run, gap, end, np.inf)))


def crossing(run: Run) -> float:
    """The step that best tells f_p > f_c before it from f_p < f_c after it, until nine tenths of the corrupt are learned.

    Between measured steps both are linear in log(1 + step), of which as much as can be is on the right side. The curves
    touch sooner and part later by chance alone: they differ from step to step, and in the end they hardly differ.
    """
    line = lead(run)
    x, y = np.log1p(line.x), line.y
    turns = np.flatnonzero(y[:-1] * y[1:] < 0)
    zeros = x[turns] + (x[turns + 1] - x[turns]) * y[turns] / (y[turns] - y[turns + 1])
    places = np.unique([*x, *zeros])
    places = places[places <= np.log1p(end_of_learning(run))]
    signs = np.sign(np.interp((places[1:] + places[:-1]) / 2, x, y))
    gained = np.concatenate([[0.0], np.cumsum(signs * np.diff(places))])
    best = int(np.argmax(gained))
    if best in (0, gained.size - 1):
        raise TooLittle(f"{run.folder.name}: the curves do not cross")
    return float(np.expm1(places[best]))


def crossing_over_fitted(run: Run) -> float:
    """log2 of the step at which the curves cross over that at which the pristine examples are fitted."""
    return float(np.log2(crossing(run) / steps_until(run, PRISTINE, FITTED)))
