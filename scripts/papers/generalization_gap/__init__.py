"""The paper `generalization_gap`: what its figures have in common here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdscope.claims import TooLittle
from sgdscope.figure import Paper
from sgdscope.runs import Run

PAPER = Paper(
    about="a step on a batch opens a gap between test and training loss, which SGD regularizes by decorrelating its steps",
    sources=(
        "Daniel A. Roberts. SGD Implicitly Regularizes Generalization Error. NeurIPS Workshop on Integration of Deep "
        "Learning Theories, 2018; arXiv:2104.04874, 2021.",
    ),
    departures=(
        "The paper has formulas and no experiments. Pictures, networks, data and thresholds are ours.",
        "The claims and their borders were written before any result of their figure was seen, but for what is said below a figure's claims.",
        "Where steps are measured, networks have tanh in place of ReLU: its kinks are in no Hessian, which equation 12 needs.",
        "The paper averages over realizations of the training set. In `realizations`, and for gradient descent in `gap`, each "
        "seed draws its own. Elsewhere the batches drawn from one training set stand for them.",
    ),
    sizes={
        "quick": "a network with one hidden layer of 100 units in place of two of 500, the first 2,000 training examples (where not, "
        "the figures say so) in place of 60,000, and 2,000 steps in place of 6,000"
    },
)

# The results that were known when claims were mended: those of both sizes.
KNOWN = {"quick": range(1, 6), "full": range(1, 6)}


def measured_rows(run: Run, names: Sequence[str]) -> list[np.ndarray]:
    """The steps at which all of the columns were measured, and the columns there."""
    run.metrics.load(["step", *names])
    rows = np.all([np.isfinite(run.metrics[name]) for name in names], axis=0)
    if not rows.any():
        raise TooLittle(f"{run.folder.name} measures {names[0]} at no step")
    return [run.metrics[name][rows] for name in ("step", *names)]


def within(share: float) -> str:
    """The reason for a margin of so much around what is expected."""
    return f"off by {share:.0%} at most; the margin was chosen before any result was seen"
