#!/usr/bin/env python3
"""Draws any columns of any runs, and the papers' figures.

    scripts/plot.py runs/fc64 runs/fc2000 --columns loss,taylor.updating.penalty --smooth 50
    scripts/plot.py runs/fc64 --columns eval.train_loss,eval.test_loss --overlay --x epoch --out loss.pdf
    scripts/plot.py --figure inherent_noise/fig3 runs/fc64 runs/fc2000 runs/fc8000

A RUN is a folder that `sgdscope run` wrote. Columns are those of its metrics.csv, and those of its
eval.csv with `eval.` in front. An empty cell is a value that was not measured; a line joins the values
that were. Exit status: 0 drawn, 2 wrong usage, 3 unusable data, 5 no library or no place to write.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import difflib
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

HOW_TO_INSTALL = ("run scripts/setup.sh, which installs it, or: {python} -m pip install numpy matplotlib").format(
    python=sys.executable or "python3"
)

try:
    import numpy as np
except ImportError:
    print(f"error: numpy: this Python has none\n  {HOW_TO_INSTALL}", file=sys.stderr)
    sys.exit(5)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_BEGUN = "the run has only just begun, or failed before its first row: manifest.json and log.txt beside it tell"

USAGE, DATA, RESOURCE = 2, 3, 5  # exit statuses, as the executable's (DESIGN.md, section 5)

EVAL_PREFIX = "eval."
X_AXES = ("step", "epoch", "loss_reduction")
FORMATS = (".png", ".pdf")
MIN_EVALUATIONS = 10  # fewer are too coarse for the x axis `loss_reduction`
COARSE_SHARE = 0.25  # of the whole reduction between two evaluations: worth a warning
READ_BYTES = 1 << 20  # what is split at a time; larger is slower, because it leaves the cache
PIXEL_COLUMNS = 1500  # more than any panel has

# Okabe and Ito's colours, which stay apart for the colour-blind, then again with another dash.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "figure.titlesize": 11,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "mathtext.fontset": "cm",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 5),
    "axes.xmargin": 0.02,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.3,
    "lines.solid_joinstyle": "round",
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "path.simplify": True,
    "agg.path.chunksize": 20000,
}


class PlotError(Exception):
    """Where, what was wrong and what is allowed, what to do next, and the exit status for it."""

    def __init__(self, where: str, what: str, hint: str, status: int = USAGE) -> None:
        super().__init__(f"{where}: {what}\n  {hint}")
        self.status = status


def note(text: str) -> None:
    """Tells the reader something about the picture that is no error."""
    print(f"note: {text}", file=sys.stderr)


# --------------------------------------------------------------------------------------- reading runs


@dataclass
class Table:
    """A CSV file of numbers with one header line, of which only the columns asked for are read."""

    path: Path
    columns: list[str]
    values: dict[str, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def open(path: Path, required: Sequence[str]) -> Table:
        """Reads the header, which must name the `required` columns."""
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            header = file.readline()
        if not header.endswith("\n"):
            raise PlotError(str(path), "has no rows, and no whole header yet", NOT_BEGUN, DATA)
        columns = next(csv.reader([header]), [])
        missing = [name for name in required if name not in columns]
        if missing:
            hint = "is it the file that `sgdscope run` wrote?"
            raise PlotError(
                f"{path}, line 1", f"found no column {', '.join(missing)} in '{header.strip()[:80]}'", hint, DATA
            )
        return Table(path, columns)

    def load(self, names: Sequence[str]) -> None:
        """Reads, in one pass, those of `names` that have not been read yet."""
        wanted = [name for name in dict.fromkeys(names) if name not in self.values]
        if not wanted:
            return
        indices = [self.columns.index(name) for name in wanted]
        parts = [_parse(self, text, line, indices) for text, line in _whole_lines(self.path)]
        if not parts:
            raise PlotError(str(self.path), "has no rows yet", NOT_BEGUN, DATA)
        self.values |= dict(zip(wanted, np.concatenate(parts, axis=1)))

    def __getitem__(self, name: str) -> np.ndarray:
        self.load([name])
        return self.values[name]


def _whole_lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines below the header, each with the number of its first line.

    A last line without its newline is one that the run is still writing: it is left out.
    """
    line, rest = 2, b""
    with path.open("rb") as file:
        file.readline()
        while block := file.read(READ_BYTES):
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                yield rest + head, line
                line += head.count(b"\n") + rest.count(b"\n") + 1
                rest = tail
            else:
                rest += block


def _parse(table: Table, text: bytes, first_line: int, indices: list[int]) -> np.ndarray:
    """The columns `indices` of some lines as [columns, rows] in double; an empty cell becomes NaN.

    bytes.split and float are C loops: a million rows of 30 columns (0.5 GB) take about 5 s, less than
    np.loadtxt (7 s, with its empty cells filled in before) or np.genfromtxt (minutes).
    """
    rows = [line.split(b",") for line in text.split(b"\n")]
    try:
        if {len(row) for row in rows} != {len(table.columns)}:
            raise ValueError
        return np.array([[float(row[i] or b"nan") for row in rows] for i in indices])
    except ValueError:
        raise _bad_line(table, rows, first_line, indices) from None


def _bad_line(table: Table, rows: list[list[bytes]], first_line: int, indices: list[int]) -> PlotError:
    """The error for the first line of `rows` that cannot be read."""
    hint = "the file was altered or damaged: `sgdscope run ... --resume` cuts it back to the last checkpoint"
    for line, row in enumerate(rows, first_line):
        where = f"{table.path}, line {line}"
        if len(row) != len(table.columns):
            return PlotError(
                where, f"found {len(row)} cells, expected {len(table.columns)} as in the header", hint, DATA
            )
        for i in indices:
            try:
                float(row[i] or b"nan")
            except ValueError:
                found = row[i][:40].decode("utf-8", "replace")
                what = f"column {table.columns[i]}: found '{found}', expected a number or an empty cell"
                return PlotError(where, what, hint, DATA)
    raise AssertionError("a block without a bad line was reported as bad")


@dataclass
class Run:
    """A run folder: its resolved config, its rows of metrics and its rows of evaluations."""

    folder: Path
    config: dict[str, Any]
    metrics: Table
    evaluations: Table | None
    label: str = ""

    def columns(self) -> list[str]:
        """Every name that --columns accepts for this run."""
        evaluated = self.evaluations.columns if self.evaluations else []
        return self.metrics.columns + [EVAL_PREFIX + name for name in evaluated]

    def find(self, column: str) -> tuple[Table, str]:
        """The table that holds `column`, and the column's name in there."""
        if column in self.metrics.columns:
            return self.metrics, column
        name = column.removeprefix(EVAL_PREFIX)
        if self.evaluations and name != column and name in self.evaluations.columns:
            return self.evaluations, name
        raise PlotError(str(self.folder), f"no column '{column}'", _suggestion(column, self.columns()))


def _suggestion(name: str, known: Sequence[str]) -> str:
    """The names nearest to `name`, or all of them where none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    near += [other for other in known if name in other and other not in near][: 6 - len(near)]
    return f"did you mean {' or '.join(near)}?" if near else f"known names: {', '.join(known)}"


def open_run(path: str) -> Run:
    """Opens a run folder; reads its config, and of its CSV files no more than the headers."""
    folder = Path(path)
    if not folder.is_dir():
        raise PlotError(path, "no such folder", _folder_hint(folder.parent, folder.name))
    missing = [name for name in ("config.json", "metrics.csv") if not (folder / name).is_file()]
    if missing:
        raise PlotError(path, f"is no run folder: it has no {' and no '.join(missing)}", _folder_hint(folder))
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        hint = "the folder needs the config.json that `sgdscope run` wrote there"
        raise PlotError(str(folder / "config.json"), f"is not JSON: {error}", hint, DATA) from None
    evaluations = folder / "eval.csv"
    return Run(
        folder,
        config if isinstance(config, dict) else {},
        Table.open(folder / "metrics.csv", ["step", "epoch", "loss"]),
        Table.open(evaluations, ["step", "epoch"]) if evaluations.is_file() else None,
    )


def _folder_hint(parent: Path, name: str = "") -> str:
    """Which run folders there are in `parent`."""
    known = sorted(str(file.parent) for file in parent.glob("*/metrics.csv"))
    near = difflib.get_close_matches(str(parent / name), known, n=3) if name else []
    if known:
        return "run folders nearby: " + ", ".join(near or known[:10])
    return 'give the folder that `sgdscope run` wrote: "output" in its config'


def label_runs(runs: Sequence[Run], labels: str | None) -> None:
    """Names the runs: as told, or by the configs' names, the folders' names or the paths, whichever differ."""
    if labels is not None:
        chosen = [label.strip() for label in labels.split(",")]
        if len(chosen) != len(runs):
            hint = "give one for each run, in the same order, with commas between"
            raise PlotError("--labels", f"{len(chosen)} labels for {len(runs)} runs", hint)
    else:
        candidates = (
            [str(run.config.get("name", "")) for run in runs],
            [run.folder.resolve().name for run in runs],
            [str(run.folder) for run in runs],
        )
        chosen = next((c for c in candidates if all(c) and len(set(c)) == len(c)), candidates[-1])
    for run, label in zip(runs, chosen):
        run.label = label


# --------------------------------------------------------------------------------- from rows to lines


def smooth(values: np.ndarray, rows: int) -> np.ndarray:
    """The mean over `rows` rows around each; at the two ends over those of them that exist."""
    index = np.arange(values.size)
    return _window_mean(values, index - rows // 2, index + (rows + 1) // 2)


def _window_mean(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The mean of values[begin:end] for each pair, cut off at the ends of `values`."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    begin, end = np.clip(begin, 0, values.size), np.clip(end, 0, values.size)
    return (sums[end] - sums[begin]) / (end - begin)


def steps_per_epoch(run: Run) -> float | None:
    """From the rows of metrics.csv; None as long as they all are of the first epoch."""
    run.metrics.load(["step", "epoch"])
    later = run.metrics["epoch"] >= 1
    if not later.any():
        return None
    return float(np.min(run.metrics["step"][later] / np.floor(run.metrics["epoch"][later])))


def epochs(run: Run, table: Table) -> np.ndarray:
    """Epochs as a continuous quantity: where the column holds whole numbers, step / steps per epoch."""
    table.load(["step", "epoch"])
    whole = bool(np.all(run.metrics["epoch"] == np.floor(run.metrics["epoch"])))
    if not whole or np.all(np.diff(table["epoch"]) > 0):
        return table["epoch"]
    length = steps_per_epoch(run)
    if length is None:
        raise PlotError(
            str(table.path), "all rows are of one epoch, whose length is not known yet", "use --x step", DATA
        )
    return table["step"] / length


@dataclass
class LossCurve:
    """The training loss over the steps of a run, and in words where it comes from."""

    steps: np.ndarray
    losses: np.ndarray
    source: str

    def reduction(self, steps: np.ndarray) -> np.ndarray:
        """L(first) − L(t), linear in between; NaN before the first and after the last known loss."""
        return self.losses[0] - np.interp(steps, self.steps, self.losses, left=np.nan, right=np.nan)


def evaluated_loss(run: Run) -> LossCurve | None:
    """The train_loss of eval.csv, if there are enough evaluations."""
    table = run.evaluations
    if table is None or "train_loss" not in table.columns:
        return None
    try:
        table.load(["step", "train_loss"])
    except PlotError:
        return None  # no rows yet
    known = np.isfinite(table["train_loss"])
    if np.count_nonzero(known) < MIN_EVALUATIONS:
        return None
    return LossCurve(table["step"][known], table["train_loss"][known], "loss on the training set, eval.csv")


def batch_loss(run: Run) -> LossCurve:
    """The running mean of the batch loss over one epoch or 1/50 of the run, whichever is shorter.

    The window is centred, so that the mean does not lag, and narrower before that, from half to one and
    a half of t: there the loss falls fastest. Near the last step the window's second half is cut off.
    """
    run.metrics.load(["step", "epoch", "loss"])
    known = np.isfinite(run.metrics["loss"])
    steps, losses = run.metrics["step"][known], run.metrics["loss"][known]
    if not losses.size:
        raise PlotError(str(run.metrics.path), "no row has a loss", "use --x step", DATA)
    rows = losses.size // 50
    length = steps_per_epoch(run)
    if length is not None and losses.size > 1:
        rows = min(rows, round(length * (losses.size - 1) / (steps[-1] - steps[0])))
    index = np.arange(losses.size)
    half = np.minimum(max(rows, 1) // 2, index // 2)
    mean = _window_mean(losses, index - half, index + half + 1)
    return LossCurve(steps, mean, f"running mean of the batch loss over {2 * half[-1] + 1} rows")


def loss_curves(runs: Sequence[Run]) -> list[LossCurve]:
    """One for each run, all from the same source, so that the runs can be compared."""
    evaluated = [evaluated_loss(run) for run in runs]
    curves = [curve for curve in evaluated if curve is not None]
    if len(curves) < len(runs):
        return [batch_loss(run) for run in runs]
    for run, curve in zip(runs, curves):
        _warn_if_coarse(run, curve)
    return curves


def _warn_if_coarse(run: Run, curve: LossCurve) -> None:
    falls = -np.diff(curve.losses)
    share = falls.max() / max(np.ptp(curve.losses), 1e-300)
    if share > COARSE_SHARE:
        at = int(falls.argmax())
        note(
            f"{run.folder}: {share:.0%} of the reduction in loss lies between the evaluations at steps "
            f"{curve.steps[at]:.0f} and {curve.steps[at + 1]:.0f}, where the x axis is interpolated linearly; "
            'with "eval": {"at": "log"} it would be finer'
        )


def _source_in_words(curves: Sequence[LossCurve]) -> str:
    sources = list(dict.fromkeys(curve.source for curve in curves))
    return sources[0] if len(sources) == 1 else "running mean of the batch loss over 1/50 of each run"


@dataclass
class XAxis:
    """What the x axis says, and a function from a run's index and one of its tables to positions."""

    label: str
    at: Callable[[int, Table], np.ndarray]


def make_x_axis(runs: Sequence[Run], kind: str) -> XAxis:
    """The x axis `kind` of X_AXES for these runs."""
    for run in runs:
        run.metrics.load(["step", "epoch", "loss"])
    if kind == "step":
        return XAxis("step", lambda _, table: table["step"])
    if kind == "epoch":
        return XAxis("epoch", lambda i, table: epochs(runs[i], table))
    curves = loss_curves(runs)
    label = f"reduction in training loss so far\n({_source_in_words(curves)})"
    return XAxis(label, lambda i, table: curves[i].reduction(table["step"]))


@dataclass
class Line:
    """The measured points of one column of one run, in the order of the steps."""

    x: np.ndarray
    y: np.ndarray


def make_lines(runs: Sequence[Run], columns: Sequence[str], x_axis: XAxis, smooth_rows: int = 1) -> list[list[Line]]:
    """A line for every column and every run: lines[column][run]."""
    for run in runs:
        _load_all(run, columns)
    lines = [[_make_line(run, i, column, x_axis, smooth_rows) for i, run in enumerate(runs)] for column in columns]
    for column, of_runs in zip(columns, lines):
        empty = [str(run.folder) for run, line in zip(runs, of_runs) if not line.x.size]
        if len(empty) == len(runs):
            hint = "its probe may not have been due yet; wait, or choose another column"
            raise PlotError(", ".join(empty), f"column {column} has no measured value", hint, DATA)
        if empty:
            note(f"{column} has no measured value in {', '.join(empty)}")
    return lines


def _load_all(run: Run, columns: Sequence[str]) -> None:
    """Reads what `columns` need from each file of the run in one pass."""
    wanted: dict[int, tuple[Table, list[str]]] = {}
    for column in columns:
        table, name = run.find(column)
        wanted.setdefault(id(table), (table, ["step"]))[1].append(name)
    for table, names in wanted.values():
        table.load(names)


def _make_line(run: Run, index: int, column: str, x_axis: XAxis, smooth_rows: int) -> Line:
    table, name = run.find(column)
    x, y = x_axis.at(index, table), table[name]
    measured = np.isfinite(x) & np.isfinite(y)
    x, y = x[measured], y[measured]
    return Line(x, smooth(y, smooth_rows) if smooth_rows > 1 else y)


def thin_out(line: Line, pixel_columns: int = PIXEL_COLUMNS) -> Line:
    """The points that can be seen: the first, last, lowest and highest of each pass through a column of pixels."""
    if line.x.size <= 4 * pixel_columns:
        return line
    width = np.ptp(line.x) / pixel_columns or 1.0
    column = ((line.x - line.x.min()) / width).astype(np.int64)
    begin = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    end = np.append(begin[1:], line.x.size)
    keep = [begin, end - 1]
    for extreme in (np.minimum, np.maximum):
        hits = np.flatnonzero(line.y == np.repeat(extreme.reduceat(line.y, begin), end - begin))
        _, first = np.unique(np.searchsorted(begin, hits, side="right"), return_index=True)
        keep.append(hits[first])
    chosen = np.unique(np.concatenate(keep))
    return Line(line.x[chosen], line.y[chosen])


# -------------------------------------------------------------------------------------------- drawing


@dataclass
class Stroke:
    """How a line looks and what the legend calls it."""

    label: str
    colour: str
    dash: Any = "-"


def strokes(labels: Sequence[str]) -> list[Stroke]:
    """A colour for each label; when the colours run out they return with another dash."""
    return [
        Stroke(label, COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, label in enumerate(labels)
    ]


def draw_lines(axes: Axes, lines: Sequence[Line], looks: Sequence[Stroke]) -> None:
    """Draws lines into a panel; a line of one point becomes a dot."""
    for line, look in zip(lines, looks):
        seen = thin_out(line)
        marker = "o" if line.x.size == 1 else ""
        axes.plot(seen.x, seen.y, color=look.colour, linestyle=look.dash, marker=marker, markersize=3)
    axes.locator_params(nbins=6)


def use_log_scale(axes: Axes, lines: Sequence[Line], name: str) -> None:
    """A logarithmic y axis; says how many values it cannot show."""
    from matplotlib.ticker import LogLocator

    hidden = sum(int(np.count_nonzero(line.y <= 0)) for line in lines)
    total = sum(line.y.size for line in lines)
    if hidden == total:
        raise PlotError("--log-y", f"{name} has no value above 0", "leave out --log-y for it", DATA)
    if hidden:
        note(f"{name}: {hidden} of {total} values are not above 0 and cannot be seen with --log-y")
    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    if high < 100 * low:  # too few powers of ten to read values from
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")


def add_header(figure: Figure, title: str | None, looks: Sequence[Stroke]) -> None:
    """Title and legend above the panels, which then share what room is left."""
    from matplotlib.lines import Line2D

    inch_down = 0.06
    if title:
        figure.text(0.5, 1 - inch_down / figure.get_figheight(), title, ha="center", va="top", fontsize=11)
        inch_down += 0.26
    if len(looks) > 1:
        handles = [Line2D([], [], color=look.colour, linestyle=look.dash, linewidth=2) for look in looks]
        names = [look.label for look in looks]
        for columns in range(len(looks), 0, -1):
            legend = figure.legend(
                handles, names, ncol=columns, loc="upper center", borderaxespad=0, borderpad=0.2, handlelength=2.2,
                columnspacing=1.8, bbox_to_anchor=(0.5, 1 - inch_down / figure.get_figheight()),
            )  # fmt: skip
            box = legend.get_window_extent(figure.canvas.get_renderer())
            if box.width <= figure.bbox.width or columns == 1:
                break
            legend.remove()
        inch_down += box.height / figure.dpi
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - inch_down / figure.get_figheight()))


def new_figure(width: float, height: float) -> Figure:
    """A figure that lays itself out, without a window system. Size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.06)
    FigureCanvasAgg(figure)
    return figure


def draw_columns(
    runs: Sequence[Run], columns: Sequence[str], x_axis: XAxis, smooth_rows: int, log_y: bool, title: str | None
) -> Figure:
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
    figure.supxlabel(_with_smoothing(x_axis, smooth_rows), fontsize=STYLE["axes.labelsize"])
    figure.align_ylabels()
    add_header(figure, title or (runs[0].label if len(runs) == 1 else None), looks)
    return figure


def draw_overlay(
    runs: Sequence[Run], columns: Sequence[str], x_axis: XAxis, smooth_rows: int, log_y: bool, title: str | None
) -> Figure:
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
    axes.set_xlabel(_with_smoothing(x_axis, smooth_rows))
    if log_y:
        use_log_scale(axes, flat, ", ".join(columns))
    add_header(figure, title or (runs[0].label if len(runs) == 1 else None), looks)
    return figure


def _with_smoothing(x_axis: XAxis, rows: int) -> str:
    return x_axis.label if rows == 1 else f"{x_axis.label}\n(each line is the mean over {rows} rows)"


# -------------------------------------------------------------------------- inherent_noise, figure 3

# Rows and columns of the grid: column stem and heading, as on page 7 of the paper.
FIG3_BATCHES = (
    ("long_ago", "a", "long-ago batch"),
    ("recent", "r", "recent batch"),
    ("updating", "u", "updating batch"),
)
FIG3_VALUES = (
    ("cum_dot", r"$\sum\,\eta\nabla B_{X}\cdot\nabla B_u$", "first order"),
    ("cum_delta_loss", r"$\sum\,\Delta L_{X}$", "reduction in loss"),
    ("cum_penalty", r"$\sum\,(\Delta L_{X}-\eta\nabla B_{X}\cdot\nabla B_u)$", "higher orders: the penalty"),
)
FIG3_COLUMNS = tuple(f"taylor.{batch}.{value}" for batch, _, _ in FIG3_BATCHES for value, _, _ in FIG3_VALUES)


def hidden_units(run: Run) -> list[int]:
    """The widths of the hidden layers from the run's config; empty where the model has none."""
    model = run.config.get("model")
    hidden = model.get("hidden") if isinstance(model, dict) else None
    return hidden if isinstance(hidden, list) and all(isinstance(width, int) for width in hidden) else []


def label_by_units(runs: Sequence[Run]) -> None:
    """Names runs by their number of units, where that tells them apart."""
    names = ["-".join(map(str, hidden_units(run))) for run in runs]
    if all(names) and len(set(names)) == len(names):
        for run, name in zip(runs, names):
            run.label = f"{name} units"


def draw_fig3(runs: Sequence[Run], x_axis: XAxis, smooth_rows: int, title: str | None) -> Figure:
    """Sums of first order, change in loss and penalty (columns) on three batches (rows) for several networks."""
    lines = make_lines(runs, FIG3_COLUMNS, x_axis, smooth_rows)
    # The paper's colours: blue for the largest network, then orange, then green.
    by_size = sorted(range(len(runs)), key=lambda i: hidden_units(runs[i]), reverse=True)
    looks = strokes([""] * len(runs))
    looks = [
        Stroke(run.label, looks[by_size.index(i)].colour, looks[by_size.index(i)].dash) for i, run in enumerate(runs)
    ]
    figure = new_figure(9.6, 7.6)
    grid = figure.subplots(3, 3, sharex=True)
    for row, (_, letter, batch) in enumerate(FIG3_BATCHES):
        for column, (_, symbol, heading) in enumerate(FIG3_VALUES):
            axes = grid[row, column]
            axes.axhline(0, color="#999999", linewidth=0.8, zorder=1)
            draw_lines(axes, lines[3 * row + column], looks)
            axes.set_ylabel(symbol.replace("{X}", letter), fontsize=11)
            if row == 0:
                axes.set_title(heading)
        axes.text(1.03, 0.5, f"{batch} $B_{letter}$", transform=axes.transAxes, rotation=270, va="center", fontsize=9.5)
    figure.supxlabel(_with_smoothing(x_axis, smooth_rows), fontsize=STYLE["axes.labelsize"])
    figure.align_ylabels()
    add_header(figure, title, looks)
    return figure


FIGURES = {"inherent_noise/fig3": draw_fig3}


# --------------------------------------------------------------------------------------- command line


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, checked as far as it can be without the runs."""
    parser = argparse.ArgumentParser(
        prog="plot.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--columns", metavar="A,B,...", help="what to draw: names from metrics.csv, or eval.NAME from eval.csv"
    )
    parser.add_argument("--figure", metavar="NAME", help=f"a figure of a paper instead: {', '.join(FIGURES)}")
    parser.add_argument("--x", choices=X_AXES, help="the x axis (default: step; for a figure that of the paper)")
    parser.add_argument("--out", nargs="+", action="extend", metavar="FILE", help="where to write, .png or .pdf, "
                        "several allowed (default: plots/COLUMNS.png in the first run's folder)")  # fmt: skip
    parser.add_argument("--smooth", type=int, default=1, metavar="N", help="draw the mean over N rows around each")
    parser.add_argument("--log-y", action="store_true", help="logarithmic y axis")
    parser.add_argument("--overlay", action="store_true", help="all columns in one panel instead of one panel each")
    parser.add_argument("--labels", metavar="A,B,...", help="what the legend calls the runs")
    parser.add_argument("--title", help="a title above the panels")
    options = parser.parse_args(arguments)
    check_options(options)
    return options


def check_options(options: argparse.Namespace) -> None:
    """Refuses options that contradict one another or cannot be met."""
    if options.figure is not None:
        if options.figure not in FIGURES:
            raise PlotError("--figure", f"no figure '{options.figure}'", _suggestion(options.figure, list(FIGURES)))
        if options.columns or options.overlay or options.log_y:
            hint = "leave out --columns, --overlay and --log-y"
            raise PlotError("--figure", f"{options.figure} has its own columns and scales", hint)
    if options.smooth < 1:
        raise PlotError("--smooth", f"found {options.smooth}, expected 1 row or more", "1 draws the values as they are")
    for name in options.out or []:
        if Path(name).suffix.lower() not in FORMATS:
            hint = f"end the name in {' or '.join(FORMATS)}; runs go in front of --out"
            raise PlotError("--out", f"'{name}' is neither a PNG nor a PDF file", hint)


def split_columns(text: str | None, runs: Sequence[Run]) -> list[str]:
    """The names in --columns, each of which every run has."""
    columns = list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    if not columns:
        known = ", ".join(runs[0].columns())
        raise PlotError("--columns", "nothing to draw", f"give --columns or --figure; {runs[0].folder} has: {known}")
    for column in columns:
        for run in runs:
            run.find(column)
    return columns


def default_output(run: Run, columns: Sequence[str], figure: str | None) -> Path:
    """plots/COLUMNS.png in the run's folder; long lists of columns are cut short."""
    name = figure.replace("/", "_") if figure else "+".join(columns)
    if len(name) > 120:
        name = f"{name[:100]}+and_more_{len(columns)}_columns"
    return run.folder / "plots" / f"{name}.png"


def write(figure: Figure, path: Path) -> None:
    """Writes the picture under a temporary name and renames it: no reader sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    metadata = {"CreationDate": None} if path.suffix.lower() == ".pdf" else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(temporary, format=path.suffix[1:].lower(), metadata=metadata)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise PlotError(
            str(path), f"cannot be written: {error.strerror}", "choose another place with --out", RESOURCE
        ) from None


def draw(options: argparse.Namespace) -> list[Path]:
    """Draws what the options ask for; the files written."""
    try:
        import matplotlib

        logging.getLogger("fontTools").setLevel(logging.ERROR)  # chats about fonts put into a PDF
    except ImportError:
        raise PlotError("matplotlib", "this Python has none", HOW_TO_INSTALL, RESOURCE) from None
    runs = [open_run(path) for path in options.runs]
    label_runs(runs, options.labels)
    if options.figure and options.labels is None:
        label_by_units(runs)
    columns = list(FIG3_COLUMNS) if options.figure else split_columns(options.columns, runs)
    x_axis = make_x_axis(runs, options.x or ("loss_reduction" if options.figure else "step"))
    with matplotlib.rc_context(STYLE):
        if options.figure:
            figure = FIGURES[options.figure](runs, x_axis, options.smooth, options.title)
        else:
            draw_any = draw_overlay if options.overlay else draw_columns
            figure = draw_any(runs, columns, x_axis, options.smooth, options.log_y, options.title)
        files = [Path(name) for name in options.out or []] or [default_output(runs[0], columns, options.figure)]
        for file in files:
            write(figure, file)
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws and prints the files written; the exit status."""
    try:
        for file in draw(parse_arguments(sys.argv[1:] if arguments is None else arguments)):
            print(file)
    except PlotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}\n  make the file readable", file=sys.stderr)
        return DATA
    return 0


if __name__ == "__main__":
    sys.exit(main())
