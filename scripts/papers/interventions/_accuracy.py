"""Accuracies of a run's evaluations, and its overfit at a training accuracy."""

from __future__ import annotations

import numpy as np

from sgdscope.claims import Sample, TooLittle
from sgdscope.runs import Run


def evaluated(run: Run, name: str) -> np.ndarray:
    """A column of eval.csv."""
    table, column = run.find(f"eval.{name}")
    return table[column]


def overfit_at(run: Run, level: float) -> Sample:
    """The overfit where the training accuracy first reaches a level, between evaluations linear."""
    fit, over = evaluated(run, "train_accuracy"), evaluated(run, "overfit")
    reached = np.flatnonzero(fit >= level)
    if not reached.size or reached[0] == 0:
        raise TooLittle(f"{run.folder.name}: the training accuracy does not come up to {level:g}")
    around = slice(reached[0] - 1, reached[0] + 1)
    return Sample(float(np.interp(level, fit[around], over[around])))
