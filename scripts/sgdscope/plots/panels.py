"""Draws lines into panels: one for each column, or all in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sgdscope.errors import DATA, Error, note
from sgdscope.plots.lines import Line, XAxis, make_lines, thin_out
from sgdscope.plots.style import (
    COLOURS,
    DASHES,
    RED,
    STYLE,
    Axes,
    Picture,
    Stroke,
    add_header,
    new_figure,
    shades,
    strokes,
)
from sgdscope.runs import Run

POINTS = {"s": 7, "alpha": 0.6, "linewidths": 0}
OUTERMOST = 0.002  # the share of a cloud's values, at each end, that do not set its scale


def draw_lines(axes: Axes, lines: Sequence[Line], looks: Sequence[Stroke]) -> None:
    """Draws lines into a panel, each with its look; a line of one point becomes a dot. ValueError if a look is missing."""
    for line, look in zip(lines, looks, strict=True):
        seen = thin_out(line)
        marker = "o" if line.x.size == 1 else ""
        axes.plot(
            seen.x, seen.y, color=look.colour, linestyle=look.dash, linewidth=look.width, marker=marker, markersize=3
        )
    axes.locator_params(nbins=6)


def use_log_scale(axes: Axes, lines: Sequence[Line], name: str) -> None:
    """A logarithmic y axis; says how many values it cannot show."""
    from matplotlib.ticker import LogLocator

    hidden = sum(int(np.count_nonzero(line.y <= 0)) for line in lines)
    total = sum(line.y.size for line in lines)
    if hidden == total:
        raise Error("--log-y", f"{name} has no value above 0", "leave out --log-y for it", DATA)
    if hidden:
        note(f"{name}: {hidden} of {total} values are not above 0 and cannot be seen with --log-y")
    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    if high < 100 * low:  # too few powers of ten to read values from
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def use_falling_scale(axes: Axes) -> None:
    """An x axis for a quantity that falls: logarithmic, where it falls by more than a factor of 3."""
    from matplotlib.ticker import LogLocator

    low, high = axes.get_xlim()
    axes.xaxis.set_inverted(True)
    if high < 3 * low:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


@dataclass(frozen=True)
class Cloud:
    """Points of two quantities of the same kind, in the order of training."""

    x: np.ndarray
    y: np.ndarray
    steps: np.ndarray
    x_label: str
    y_label: str


def draw_clouds(clouds: Sequence[Cloud]) -> Picture:
    """Beside one another, each with the line y = x and in a scale that holds all but its outermost points."""
    from matplotlib.colors import ListedColormap, PowerNorm

    figure = new_figure(4.1 * len(clouds) + 0.7, 4.3)
    figure.set_layout_engine("compressed")  # closes the gaps that panels of equal scales leave
    norm = PowerNorm(0.5, min(cloud.steps.min() for cloud in clouds), max(cloud.steps.max() for cloud in clouds))
    colours = ListedColormap(shades(256))
    grid = figure.subplots(1, len(clouds), squeeze=False)[0]
    for axes, cloud in zip(grid, clouds):
        low, high = _limits(np.concatenate([cloud.x, cloud.y]))
        points = axes.scatter(cloud.x, cloud.y, c=cloud.steps, norm=norm, cmap=colours, rasterized=True, **POINTS)
        axes.axline((0, 0), slope=1, color=RED, linewidth=1.2)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", title=_counts(cloud, low, high))
        axes.set_xlabel(cloud.x_label, fontsize=12)
        axes.set_ylabel(cloud.y_label, fontsize=12)
        axes.locator_params(nbins=5)
    figure.colorbar(points, ax=grid, label="step", pad=0.02, aspect=30).solids.set(alpha=1)
    return figure


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Zero and all but the outermost of the values on each side, and a margin."""
    low, high = np.quantile(values, [OUTERMOST, 1 - OUTERMOST])
    margin = 0.04 * (max(high, 0.0) - min(low, 0.0))
    return min(low, 0.0) - margin, max(high, 0.0) + margin


def _counts(cloud: Cloud, low: float, high: float) -> str:
    """How many points there are, how many of them below the line, and how many out of sight."""
    hidden = np.count_nonzero((np.minimum(cloud.x, cloud.y) < low) | (np.maximum(cloud.x, cloud.y) > high))
    words = f"{cloud.x.size} steps, {np.mean(cloud.y < cloud.x):.1%} below the line"
    return words + (f"\n({hidden} outside the frame)" if hidden else "\n")


def draw_columns(
    runs: Sequence[Run], columns: Sequence[str], x_axis: XAxis, smooth_rows: int, log_y: bool, title: str | None
) -> Picture:
    """One panel a column, one line a run."""
    lines = make_lines(runs, columns, x_axis, smooth_rows)
    looks = strokes([run.label for run in runs])
    wide = len(columns) if len(columns) <= 3 else math.ceil(math.sqrt(len(columns)))
    high = math.ceil(len(columns) / wide)
    figure = new_figure(5.6 if wide == 1 else 3.7 * wide, 3.6 if wide == 1 else 2.6 * high + 0.5)
    first = None
    for i, (column, of_runs) in enumerate(zip(columns, lines)):
        axes = figure.add_subplot(high, wide, i + 1, sharex=first)
        first = first or axes
        axes.tick_params(labelbottom=i + wide >= len(columns))
        draw_lines(axes, of_runs, looks)
        axes.set_ylabel(column)
        if log_y:
            use_log_scale(axes, of_runs, column)
    figure.supxlabel(with_smoothing(x_axis, smooth_rows), fontsize=STYLE["axes.labelsize"])
    figure.align_ylabels()
    add_header(figure, title or (runs[0].label if len(runs) == 1 else None), looks)
    return figure


def draw_overlay(
    runs: Sequence[Run], columns: Sequence[str], x_axis: XAxis, smooth_rows: int, log_y: bool, title: str | None
) -> Picture:
    """All columns of all runs in one panel: a colour for each run and a dash for each column, if several of both."""
    lines = make_lines(runs, columns, x_axis, smooth_rows)
    if len(runs) == 1 or len(columns) == 1:
        looks = strokes(list(columns) if len(runs) == 1 else [run.label for run in runs])
    else:
        looks = [
            Stroke(f"{run.label}: {column}", COLOURS[i % len(COLOURS)], DASHES[j % len(DASHES)])
            for j, column in enumerate(columns)
            for i, run in enumerate(runs)
        ]
    flat = [line for of_runs in lines for line in of_runs]
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    draw_lines(axes, flat, looks)
    axes.set_ylabel(columns[0] if len(columns) == 1 else "")
    axes.set_xlabel(with_smoothing(x_axis, smooth_rows))
    if log_y:
        use_log_scale(axes, flat, ", ".join(columns))
    add_header(figure, title or (runs[0].label if len(runs) == 1 else None), looks)
    return figure


def with_smoothing(x_axis: XAxis, rows: int) -> str:
    """What the x axis says where lines are means over so many rows."""
    return x_axis.label if rows == 1 else f"{x_axis.label}\n(each line is the mean over {rows} rows)"
