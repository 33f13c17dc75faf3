"""Figures 4 and 7: n steps of gradient descent on each batch, at many learning rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from papers.implicit_regularization._curves import Curve, draw_curve, finish
from sgdscope.plots.style import Axes, Picture, Stroke, new_figure, shades

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


def draw_panels(
    ns: Sequence[int],
    exponents: Sequence[int],
    curves_of: Sequence[CurveOf],
    budgets: Sequence[int],
    best: Mapping[int, Sequence[float]],
) -> Picture:
    """The papers' three panels: test accuracy over the learning rate, in two ways to compare n, and over the budgets."""
    figure = new_figure(10.5, 3.6)
    panels = figure.subplots(1, 3, sharey=True)
    for axes, curve_of in zip(panels, curves_of):
        draw_rates(axes, ns, exponents, curve_of)
    draw_budgets(panels[2], ns, budgets, best)
    finish(panels)
    panels[0].set_ylabel("highest test accuracy")
    return figure
