"""Figures 1, 2, 3 and 5: the settings on CIFAR-10 that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.implicit_regularization import Setting
from papers.implicit_regularization._curves import Curve, Quantity, curve, is_quick
from sgdscope.plots.style import COLOURS, Stroke
from sgdscope.results import Results

NAME = "cifar10"
BATCH = {True: 16, False: 32}  # quick, full
SMALL = {True: -7, False: -9}  # log2 of the learning rate with explicit regularizers
CHOSEN = {True: -3, False: -6}  # log2 of the lambda of figures 1(a) and 2(b)
RATES = {True: range(-9, -3), False: range(-12, -3)}
PENALTIES = {True: range(-6, 1), False: range(-11, -2)}

RATE = Stroke("learning rate ε, λ = 0", COLOURS[0])
PENALTY = Stroke("λ, small ε", COLOURS[1])


def rates(quick: bool, penalty: int | None = None) -> list[Setting]:
    """All learning rates with one lambda."""
    return [Setting(NAME, rate, penalty) for rate in RATES[quick]]


def penalties(quick: bool) -> list[Setting]:
    """All lambda at the small learning rate."""
    return [Setting(NAME, SMALL[quick], penalty) for penalty in PENALTIES[quick]]


def over_rates(results: Results, quantity: Quantity, penalty: int | None = None) -> Curve:
    """A quantity over the learning rates."""
    return curve(results, rates(is_quick(results), penalty), quantity)


def over_penalties(results: Results, quantity: Quantity) -> Curve:
    """A quantity over lambda."""
    return curve(results, penalties(is_quick(results)), quantity)


def exponents(of: dict[bool, Sequence[int]], results: Results) -> np.ndarray:
    """RATES or PENALTIES of the variant."""
    return np.array(of[is_quick(results)])
