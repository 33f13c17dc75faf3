"""Figures 4 and 7: n steps of gradient descent on each batch, at many learning rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from figures.implicit_regularization._curves import Curve, draw_curve
from sgdplot.style import Stroke, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CurveOf = Callable[[int], Curve]  # of n, over the learning rates


def looks(ns: Sequence[int]) -> list[Stroke]:
    """A stroke for each n."""
    return [Stroke(f"n = {n}", colour) for n, colour in zip(ns, shades(len(ns)))]


def draw_rates(axes: Axes, ns: Sequence[int], exponents: Sequence[int], curve_of: CurveOf) -> None:
    """Test accuracy over the learning rate of each move."""
    for n, look in zip(ns, looks(ns)):
        draw_curve(axes, exponents, curve_of(n), look)
    axes.set_xlabel("learning rate of each move, α")


def draw_budgets(axes: Axes, ns: Sequence[int], budgets: Sequence[int], best: Mapping[int, Sequence[float]]) -> None:
    """Test accuracy at the best learning rate over the number of epochs."""
    for n, look in zip(ns, looks(ns)):
        axes.plot(budgets, best[n], color=look.colour, marker="o", markersize=3.2, label=look.label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("epochs")


def finish(panels: np.ndarray) -> None:
    """Letters, legends and the common axis."""
    for letter, axes in zip("abc", panels):
        axes.set_title(f"({letter})", loc="left")
        axes.legend(fontsize=8)
    panels[0].set_ylabel("highest test accuracy")
