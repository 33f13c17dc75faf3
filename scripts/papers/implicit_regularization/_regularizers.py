"""Figures 1, 2, 5 and 6: what they draw and judge over the learning rates, and over lambda."""

from __future__ import annotations

import numpy as np

from papers.implicit_regularization._curves import (
    ACCURACY,
    FIT,
    Curve,
    Grid,
    Quantity,
    curve,
    fitted,
    highest_lead,
    part_of_the_way,
    unfitted,
)
from sgdscope.claims import Claim, Late
from sgdscope.plots.style import COLOURS, Stroke
from sgdscope.results import Results

OPEN = 0.25  # of a gap, where it is closed

RATE = Stroke("learning rate ε, λ = 0", COLOURS[0])
PENALTY = Stroke("λ, small ε", COLOURS[1])


def over_rates(results: Results, quantity: Quantity, of: str = "rates") -> Curve:
    """A quantity over the learning rates, without regularizer or with the chosen one."""
    return curve(results, results.study.curve(of), quantity)


def over_penalties(results: Results, quantity: Quantity) -> Curve:
    """A quantity over lambda."""
    return curve(results, results.study.curve("penalties"), quantity)


def rates(results: Results) -> np.ndarray:
    """The exponents of 2 of the learning rates."""
    return np.array([setting["rate"] for setting in results.study.curve("rates")])


def penalties(results: Results) -> np.ndarray:
    """The exponents of 2 of the lambdas, from the smallest on."""
    return np.array([setting["penalty"] for setting in results.study.curve("penalties")])


def without_penalty(results: Results, quantity: Quantity) -> Curve:
    """A quantity at the small learning rate, without regularizer."""
    return curve(results, results.study.curve("rates", rate=results.study.values["small"]), quantity)


def unfitted_small(results: Results) -> str:
    """That the small learning rate has not fitted the training set as larger ones have, in words; empty if it has."""
    fit = over_rates(results, FIT)
    return unfitted(fit, np.flatnonzero(rates(results) == results.study.values["small"]).tolist())


def claim_that_penalty_closes_the_gap(results: Results, says: str, place: str, late: Late) -> Claim:
    """That lambda makes up, at the small learning rate, for most of what it lacks in accuracy."""
    over_penalty: Grid = ("λ", penalties(results), over_penalties(results, ACCURACY))
    small, of_rate = without_penalty(results, ACCURACY), over_rates(results, ACCURACY)
    found = highest_lead(over_penalty, ("learning rate", rates(results), part_of_the_way(small, of_rate, 1 - OPEN)))
    return Claim(
        says, place,
        f"highest mean accuracy over λ less what is {1 - OPEN:.0%} of the way from that at the small learning rate to the "
        "highest over learning rates",
        fitted(found, unfitted_small(results)), 0.0, f"all but {OPEN:.0%} of the gap", decided_after=late,
    )  # fmt: skip
