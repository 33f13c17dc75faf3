"""The real data and the null worlds of the probe `coherence`, which figures 2 and 3 draw in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from papers.coherent_gradients import MIXED, NULLS, noise_name
from sgdscope.plots.style import COLOURS, Axes, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

WORLDS = ("", *(f"{null}." for null in NULLS))
LOOKS = (Stroke("pristine", COLOURS[0], "-", 1.1), Stroke("corrupt", COLOURS[4], "-", 1.1))


def column(of: str, world: str, part: str) -> str:
    """The name of a column of metrics.csv; `of` is how the columns of a probe begin."""
    return f"{of}{world}{part}"


def draw_worlds(
    results: Results,
    draw_panel: Callable[[Axes, Sequence[Run], str], None],  # given the runs and the world
    share_y: bool | str,
    x_label: str,
    y_label: str,
) -> tuple[Picture, np.ndarray]:
    """The real data and the null worlds (rows) for each share of noise (columns): the picture and its axes."""
    figure = new_figure(8.4, 7.6)
    grid = figure.subplots(len(WORLDS), len(MIXED), sharex=True, sharey=share_y)
    for percent, panels in zip(MIXED, grid.T):
        runs = results.runs(noise_name(percent))
        panels[0].set_title(f"{percent} % noise")
        for world, axes in zip(WORLDS, panels):
            draw_panel(axes, runs, world)
    for row, axes in enumerate(grid[:, 0]):
        axes.set_ylabel("real data" if row == 0 else f"null world {row}")
    figure.supxlabel(x_label, fontsize=9.5)
    figure.supylabel(y_label, fontsize=11)
    add_header(figure, None, list(LOOKS))
    return figure, grid
