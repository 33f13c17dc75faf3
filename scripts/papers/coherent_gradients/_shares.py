"""The shares f_p and f_c: how figure 2 and beyond_convnet measure and draw them, of the whole training set or a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.coherent_gradients import CORRUPT, PRISTINE, at_step, evaluated, steps_until
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


def mean_lead(run: Run, world: str, begin: float, end: float, of: tuple[str, str] = OF) -> float:
    """Mean of f_p − f_c over log(1 + step) from one step to another."""
    line = lead(run, world, of)
    if begin >= line.x[-1]:
        raise TooLittle(f"{run.folder.name} measures no shares from step {begin:.0f} on")
    end = min(end, line.x[-1])
    steps = np.concatenate([[begin], line.x[(line.x > begin) & (line.x < end)], [end]])
    x, y = np.log1p(steps), np.array([at_step(line, step) for step in steps])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / (x[-1] - x[0]))


def lead_later(run: Run, world: str = "", of: tuple[str, str] = OF) -> float:
    """Mean of f_p − f_c while the corrupt examples are learned; to the end, if they are not."""
    half, most = LEARNING
    learned = evaluated(run, CORRUPT).y.max() >= most
    end = steps_until(run, CORRUPT, most) if learned else np.inf
    return mean_lead(run, world, steps_until(run, CORRUPT, half), end, of)


def noise_of_sample(run: Run) -> float:
    """The root mean square distance of the sampled f_p from the exact one, over the steps at which both are measured."""
    exact, sampled = (share(run, "", "f_p", of) for of in (OF, SAMPLED))
    return float(np.sqrt(np.mean((sampled.y - exact.y) ** 2)))


def opposite_in_sample(run: Run) -> float:
    """The share of steps at which the sample has the other kind of examples in the lead."""
    exact, sampled = (lead(run, "", of) for of in (OF, SAMPLED))
    return float(np.mean(np.sign(exact.y) != np.sign(sampled.y)))


def lead_last(run: Run) -> float:
    """Mean of f_p − f_c from then on."""
    return mean_lead(run, "", steps_until(run, CORRUPT, LEARNING[1]), np.inf)


def crossing(run: Run) -> float:
    """The step at which f_p − f_c first falls to 0; between measured steps linear in log(1 + step)."""
    line = lead(run)
    below = np.flatnonzero(line.y <= 0)
    if not below.size:
        raise TooLittle(f"{run.folder.name}: the curves do not cross")
    after = int(below[0])
    if after == 0:
        return float(line.x[0])
    (x0, x1), (y0, y1) = np.log1p(line.x[after - 1 : after + 1]), line.y[after - 1 : after + 1]
    return float(np.expm1(x0 + (x1 - x0) * y0 / (y0 - y1)))


def fitted_at_crossing(run: Run) -> float:
    """The accuracy on pristine examples at the step at which the curves cross."""
    return at_step(evaluated(run, PRISTINE), crossing(run))
