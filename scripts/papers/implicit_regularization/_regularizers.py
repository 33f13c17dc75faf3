"""Figures 1, 2, 5 and 6: what they draw and judge over the learning rates, and over lambda."""

from __future__ import annotations

import numpy as np

from papers.implicit_regularization._curves import Curve, Quantity, curve
from sgdscope.plots.style import COLOURS, Stroke
from sgdscope.results import Results

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
