"""Means over seeds with their intervals, a row for each setting: what several figures draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdscope.claims import Measurement
from sgdscope.plots.style import COLOURS, Axes

Row = tuple[str, Measurement]


def with_interval(measured: Measurement, form: str) -> str:
    """The mean over seeds and its 95 % interval, as text; a dash of fewer than two seeds."""
    if measured.seeds < 2:
        return "–"
    low, high = measured.interval
    return f"{measured.summary.mean:{form}} ({low:{form}} … {high:{form}})"


def draw_means(axes: Axes, rows: Sequence[Row], colour: str = COLOURS[0], shift: float = 0.0) -> None:
    """The seeds as dots and their mean with its 95 % interval, from top to bottom; rows without a seed stay empty."""
    for place, (_, measured) in enumerate(rows):
        values = measured.values
        if not values:
            continue
        axes.plot(
            values, [place + shift] * len(values), linestyle="", marker=".", markersize=3, color=colour, alpha=0.5
        )
        centre = float(np.mean(values))  # as the interval has it, which is of no width where seeds are equal
        low, high = measured.interval if len(values) > 1 else (centre, centre)
        axes.errorbar(
            [centre], [place + shift], xerr=[[centre - low], [high - centre]], color=colour, marker="o", markersize=4,
            capsize=2,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [words for words, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
