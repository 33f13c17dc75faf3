"""One number of several seeds: their mean and standard deviation, of all of them or of the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sgdplot.errors import DATA, PlotError
from sgdplot.runs import Run


@dataclass(frozen=True)
class Best:
    """Take only `count` runs: those with the highest, or lowest, last value of a column."""

    count: int
    column: str  # as plot.py names them, e.g. eval.test_accuracy
    highest: bool = True


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation over the runs that were kept; of one run the deviation is NaN."""

    mean: float
    deviation: float
    kept: tuple[str, ...]
    dropped: tuple[str, ...] = ()


def aggregate(values: Mapping[str, float], dropped: Sequence[str] = ()) -> Summary:
    """Mean and sample standard deviation of the values, by label, that are not `dropped`."""
    kept = {label: value for label, value in values.items() if label not in dropped}
    if not kept:
        raise PlotError("aggregate", "there is no value to take the mean of", "keep at least one run", DATA)
    deviation = statistics.stdev(kept.values()) if len(kept) > 1 else math.nan
    return Summary(statistics.fmean(kept.values()), deviation, tuple(kept), tuple(dropped))


def dropped_by(best: Best, runs: Sequence[Run]) -> tuple[str, ...]:
    """The labels of the runs that are not among the best, worst first."""
    if not 1 <= best.count <= len(runs):
        raise PlotError("aggregate", f"the best {best.count} of {len(runs)} runs", "ask for at most all", DATA)
    sign = 1 if best.highest else -1
    worst_first = sorted(runs, key=lambda run: sign * last_value(run, best.column))
    return tuple(run.label for run in worst_first[: len(runs) - best.count])


def last_value(run: Run, column: str) -> float:
    """The last value of a column that was measured."""
    table, name = run.find(column)
    known = table[name][np.isfinite(table[name])]
    if not known.size:
        raise PlotError(str(run.folder), f"column {column} has no measured value", "choose another column", DATA)
    return float(known[-1])
