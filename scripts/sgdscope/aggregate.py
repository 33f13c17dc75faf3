"""One number of several seeds: their mean and standard deviation, of all of them or of the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sgdscope.errors import DATA, Error
from sgdscope.runs import Run
from sgdscope.statistics import spread


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
        raise Error("aggregate", "there is no value to take the mean of", "keep at least one run", DATA)
    numbers = list(kept.values())
    return Summary(float(np.mean(numbers)), spread(numbers), tuple(kept), tuple(dropped))


def dropped_by(count: int, worth: Mapping[str, float]) -> tuple[str, ...]:
    """The labels that are not among the `count` of the highest worth, the lowest first; of equal ones the first stay."""
    if not 1 <= count <= len(worth):
        raise Error("aggregate", f"the best {count} of {len(worth)} runs", "ask for at most all", DATA)
    best_first = sorted(worth, key=lambda label: -worth[label])
    return tuple(reversed(best_first[count:]))


def measured_values(run: Run, column: str) -> np.ndarray:
    """The values of a column where it was measured, at least one."""
    table, name = run.find(column)
    known = table[name][np.isfinite(table[name])]
    if not known.size:
        raise Error(str(run.folder), f"column {column} has no measured value", "choose another column", DATA)
    return known
