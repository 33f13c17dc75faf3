"""Makes lines of rows: what is drawn over steps, epochs or the reduction in training loss so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sgdscope.errors import DATA, Error, note
from sgdscope.runs import Run, Table

X_AXES = ("step", "epoch", "loss_reduction")
MIN_EVALUATIONS = 10  # fewer are too coarse for the x axis `loss_reduction`
EARLY_BATCHES = 25  # averaged where the loss falls steeply
COARSE_SHARE = 0.25  # of the whole reduction between two evaluations: worth a warning
PIXEL_COLUMNS = 1500  # more than any panel has


def smooth(values: np.ndarray, rows: int) -> np.ndarray:
    """The mean over `rows` rows around each; at the two ends over those of them that exist."""
    index = np.arange(values.size)
    return _window_mean(values, index - rows // 2, index + (rows + 1) // 2)


def _window_mean(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The mean of values[begin:end] for each pair, cut off at the ends of `values`."""
    begin, end = np.clip(begin, 0, values.size), np.clip(end, 0, values.size)
    return _window_sums(values, begin, end - 1) / (end - begin)


def _window_sums(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The sum of values[first] ... values[last] for each pair, from no others: a large one would leave its rounding behind.

    Cut into blocks of 2^k values, one k for each i < j, i and j lie in two halves of one block, and the sum of the values from i to j
    is that from i to its middle and that from there to j. Over all k that takes n log n additions.
    """
    sums = values[first]
    sizes = np.frexp(first ^ last)[1]  # k of each pair: of the bits up to the highest one in which i and j differ
    for k in np.unique(sizes[sizes > 0]):
        blocks = np.pad(values, (0, -values.size % 2**k)).reshape(-1, 2, 2 ** (k - 1))
        before, after = np.cumsum(blocks[:, 0, ::-1], axis=1)[:, ::-1], np.cumsum(blocks[:, 1], axis=1)
        to_middle = np.stack([before, after], axis=1).ravel()
        of_size = sizes == k
        sums[of_size] = to_middle[first[of_size]] + to_middle[last[of_size]]
    return sums


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
        raise Error(str(table.path), "all rows are of one epoch, whose length is not known yet", "use --x step", DATA)
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


def evaluations(run: Run) -> LossCurve | None:
    """The train_loss of eval.csv, if there is a row of it."""
    table = run.evaluations
    if table is None or "train_loss" not in table.columns:
        return None
    try:
        table.load(["step", "train_loss"])
    except Error:
        return None  # no rows yet
    known = np.isfinite(table["train_loss"])
    return LossCurve(table["step"][known], table["train_loss"][known], "loss on the training set, eval.csv")


def evaluated_loss(run: Run) -> LossCurve | None:
    """The evaluations, if there are enough of them."""
    curve = evaluations(run)
    return curve if curve is not None and curve.steps.size >= MIN_EVALUATIONS else None


def refined_loss(run: Run) -> LossCurve:
    """The evaluations, and between the first two the mean of up to 25 batches: there the loss falls steeply.

    Later, where it falls slowly, a straight line between evaluations is nearer to it than any mean of few batches.
    """
    curve, means = evaluations(run), batch_means(run, EARLY_BATCHES)
    if curve is None or curve.steps.size < 2:
        return batch_loss(run)
    early = (means.steps > curve.steps[0]) & (means.steps < curve.steps[1])
    steps = np.concatenate([curve.steps[:1], means.steps[early], curve.steps[1:]])
    losses = np.concatenate([curve.losses[:1], means.losses[early], curve.losses[1:]])
    return LossCurve(steps, losses, f"loss on the training set; before step {curve.steps[1]:.0f}: {means.source}")


def batch_loss(run: Run) -> LossCurve:
    """The running mean of the batch loss over one epoch or 1/50 of the run, whichever is shorter."""
    run.metrics.load(["step", "epoch", "loss"])
    steps = run.metrics["step"][np.isfinite(run.metrics["loss"])]
    rows = steps.size // 50
    length = steps_per_epoch(run)
    if length is not None and steps.size > 1:
        rows = min(rows, round(length * (steps.size - 1) / (steps[-1] - steps[0])))
    return batch_means(run, rows)


def batch_means(run: Run, rows: int) -> LossCurve:
    """The running mean of the batch loss over so many rows.

    The window is centred, so that the mean does not lag, and narrower before that, from half to one and
    a half of t: there the loss falls fastest. Near the last step the window's second half is cut off.
    """
    run.metrics.load(["step", "loss"])
    known = np.isfinite(run.metrics["loss"])
    steps, losses = run.metrics["step"][known], run.metrics["loss"][known]
    if not losses.size:
        raise Error(str(run.metrics.path), "no row has a loss", "use --x step", DATA)
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
            'a smaller "eval": {"every": N} makes it finer'
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
            raise Error(", ".join(empty), f"column {column} has no measured value", hint, DATA)
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
    """The points of a line that can be seen."""
    seen = visible(line.x, line.y, pixel_columns)
    return Line(line.x[seen], line.y[seen])


def visible(x: np.ndarray, y: np.ndarray, pixel_columns: int) -> np.ndarray:
    """Which points can be seen: the first, last, lowest and highest of each pass through a column of pixels."""
    if x.size <= 4 * pixel_columns:
        return np.arange(x.size)
    width = np.ptp(x) / pixel_columns or 1.0
    column = ((x - x.min()) / width).astype(np.int64)
    begin = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    end = np.append(begin[1:], x.size)
    keep = [begin, end - 1]
    for extreme in (np.minimum, np.maximum):
        hits = np.flatnonzero(y == np.repeat(extreme.reduceat(y, begin), end - begin))
        _, first = np.unique(np.searchsorted(begin, hits, side="right"), return_index=True)
        keep.append(hits[first])
    return np.unique(np.concatenate(keep))
