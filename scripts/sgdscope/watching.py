"""Follows runs that may be at work: their status, and of any column what is new, thinned to what a screen can show.

A file is read in blocks of whole lines, from where the last block ended, and only the columns that were asked for. A run
that was cut back by --resume or begun anew by --overwrite is read anew: what has been read is told by a generation, which
then changes.
"""

from __future__ import annotations

import csv
import glob
import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sgdscope.errors import Error
from sgdscope.plots.lines import visible
from sgdscope.runs import EVAL_PREFIX, READ_BYTES, Table, is_pattern, parse, read_manifest

X_AXES = ("step", "epoch", "loss")
PLACES = ("step", "epoch")  # columns that say where a row is, and are not drawn
GENERATIONS = itertools.count(1)
NO_FILE = (0, 0, 0)  # in place of a file's number, size and time
MARK_BYTES = 256  # the last of what was read, by which a file that was written anew is known
DEPTH = 4  # of folders in which runs are looked for
POLL_SECONDS = 0.4  # spent at most on reading before what there is is answered


class Growing:
    """An array to which values are appended."""

    def __init__(self) -> None:
        self._room = np.empty(1024)
        self.size = 0

    def append(self, values: np.ndarray) -> None:
        size = self.size + values.size
        if size > self._room.size:
            room = np.empty(max(size, self._room.size * 3 // 2))
            room[: self.size] = self.values
            self._room = room
        self._room[self.size : size] = values
        self.size = size

    @property
    def values(self) -> np.ndarray:
        return self._room[: self.size]


@dataclass
class Column:
    """What has been read of a column: up to `offset` in the file, where the line `line` begins."""

    offset: int
    line: int = 2
    read: Growing = field(default_factory=Growing)


class Follower:
    """A CSV file of a run, and what has been read of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stat = NO_FILE
        self._begin_anew(b"")

    def _begin_anew(self, header: bytes) -> None:
        self.generation = next(GENERATIONS)
        self._header = header
        self._mark = (len(header), b"")  # where the furthest block ended, and its last bytes
        self._read: dict[str, Column] = {}
        self.problem = ""
        self.table = Table(self.path, next(csv.reader([header.decode("utf-8", "replace")]), []))

    @property
    def columns(self) -> list[str]:
        return self.table.columns

    @property
    def written(self) -> float:
        """When the file was written last; 0 if there is none."""
        return self._stat[2] / 1e9

    def refresh(self) -> None:
        """Finds out whether the file still begins with what has been read of it; if not, nothing has been read."""
        try:
            with self.path.open("rb") as file:
                stat = os.fstat(file.fileno())
                seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if seen == self._stat:
                    return
                header = file.readline()
                end, mark = self._mark
                file.seek(end - len(mark))
                same = file.read(len(mark)) == mark
        except (FileNotFoundError, NotADirectoryError):
            seen, header, same = NO_FILE, b"", True
        self._stat, self.problem = seen, ""
        header = header if header.endswith(b"\n") else b""
        if header != self._header or not same:
            self._begin_anew(header)

    def read_on(self, names: Iterable[str], deadline: float) -> bool:
        """Reads the columns up to the last whole line, at least one block; whether the deadline came before."""
        columns = {name: self._read.setdefault(name, Column(len(self._header))) for name in names}
        while not self.problem:
            offset = min(column.offset for column in columns.values())
            behind = [name for name, column in columns.items() if column.offset == offset]
            ahead = [column.offset for column in columns.values() if column.offset > offset]
            end = min(ahead, default=self._stat[1])
            if offset >= end or not self._read_block(offset, end, behind):
                return False
            if time.monotonic() > deadline:
                return True
        return False

    def _read_block(self, begin: int, end: int, names: Sequence[str]) -> bool:
        """Reads a block of whole lines of the columns `names`; whether there was one."""
        text = self._whole_lines(begin, end)
        if not text:
            return False
        line = self._read[names[0]].line
        try:
            values = parse(self.table, text[:-1], line, [self.columns.index(name) for name in names])
        except Error as error:
            self.problem = str(error)
            return False
        lines, end = text.count(b"\n"), begin + len(text)
        for name, of_name in zip(names, values):
            column = self._read[name]
            column.offset, column.line = end, line + lines
            column.read.append(of_name)
        if end > self._mark[0]:
            self._mark = (end, text[-MARK_BYTES:])
        return True

    def _whole_lines(self, begin: int, end: int) -> bytes:
        """A block of whole lines from `begin` on; empty if no line ends before `end`."""
        with self.path.open("rb") as file:
            file.seek(begin)
            text, size = b"", READ_BYTES
            while more := file.read(min(size, end - begin - len(text))):
                text += more
                if newline := text.rfind(b"\n") + 1:
                    return text[:newline]
                size = len(text)
        return b""

    def values(self, names: Sequence[str]) -> list[np.ndarray]:
        """What has been read of the columns, equally many rows of each."""
        found = [self._read[name].read.values if name in self._read else np.empty(0) for name in names]
        rows = min(values.size for values in found)
        return [values[:rows] for values in found]


class WatchedRun:
    """A run folder: its status, and its two files."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self.metrics, self.evaluations = Follower(folder / "metrics.csv"), Follower(folder / "eval.csv")
        self._manifest: dict[str, Any] = {}
        self._manifest_written = 0
        self._problem = ""

    def refresh(self) -> None:
        """Looks for what has changed on the disk, and reads no rows."""
        try:
            self._problem = ""
            self.metrics.refresh()
            self.evaluations.refresh()
            path = self.folder / "manifest.json"
            written = path.stat().st_mtime_ns if path.is_file() else 0
            if written != self._manifest_written:
                self._manifest, self._manifest_written = read_manifest(self.folder), written
        except Error as error:
            self._problem = str(error)
        except OSError as error:
            self._problem = f"{error.filename}: {error.strerror}"

    def status(self) -> dict[str, Any]:
        """What the manifest tells, with the steps of the rows that have been read where these are more."""
        manifest = self._manifest
        status = str(manifest.get("status", "not begun")) if (self.folder / "config.json").is_file() else "gone"
        steps, seconds = _number(manifest.get("steps_done")), _number(manifest.get("wall_seconds"))
        told, silent = self._manifest_written / 1e9, 0.0
        if status == "running":  # it writes its manifest seldom
            row = max(self.metrics.written, told)
            seconds, silent = seconds + row - told, max(0.0, time.time() - row)
            (rows,) = self.metrics.values(["step"])
            steps = max(steps, float(rows[-1]) + 1 if rows.size else 0.0)
        return {
            "run": self.number,
            "status": status,
            "reason": self._problem or self.metrics.problem or self.evaluations.problem or manifest.get("reason", ""),
            "steps": int(steps),
            "seconds": round(seconds),
            "silent": round(silent),
        }

    def find(self, column: str) -> tuple[Follower, str] | None:
        """The file that has the column, and its name there; None if this run has none."""
        name = column.removeprefix(EVAL_PREFIX)
        follower = self.metrics if name == column else self.evaluations
        return (follower, name) if name in follower.columns else None

    def read_on(self, columns: Sequence[str], x: str, deadline: float) -> bool:
        """Reads what is needed to draw the columns; whether there is more to read than could be until the deadline."""
        wanted: dict[Follower, list[str]] = {}
        for follower, name in filter(None, map(self.find, columns)):
            wanted.setdefault(follower, [name for name in PLACES if name in follower.columns]).append(name)
        if x == "loss" and "train_loss" in self.evaluations.columns:
            wanted.setdefault(self.evaluations, []).extend(["step", "train_loss"])
        try:
            return any([follower.read_on(dict.fromkeys(names), deadline) for follower, names in wanted.items()])
        except OSError as error:  # gone since it was looked for
            self._problem = f"{error.filename}: {error.strerror}"
            return False

    def rows(self, column: str, x: str) -> tuple[str, np.ndarray, np.ndarray] | None:
        """The generation of what has been read, and its positions and values; None where there are no such."""
        found = self.find(column)
        if found is None:
            return None
        follower, name = found
        if x != "loss":
            positions, values = follower.values([x, name])
            return str(follower.generation), positions, values
        if "train_loss" not in self.evaluations.columns:
            return None
        steps, values = follower.values(["step", name])
        at, losses = self.evaluations.values(["step", "train_loss"])
        known = np.isfinite(losses)
        at, losses = at[known], losses[known]
        if not at.size:
            return None
        count = int(np.searchsorted(steps, at[-1], side="right"))  # later rows wait for the next evaluation
        positions = losses[0] - np.interp(steps[:count], at, losses, left=np.nan)
        return f"{follower.generation}.{self.evaluations.generation}", positions, values[:count]


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


@dataclass(frozen=True)
class View:
    """What a page shows: columns over an x axis, between two positions, on so many columns of pixels."""

    columns: Sequence[str]
    x: str
    log_x: bool
    pixels: int
    window: tuple[float, float] | None

    @staticmethod
    def of(request: Mapping[str, Any]) -> View:
        """The view that a request tells; ValueError if it is none."""
        columns, x, pixels, window = (request.get(key) for key in ("columns", "x", "pixels", "window"))
        if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
            raise ValueError("columns: expected a list of names")
        if x not in X_AXES:
            raise ValueError(f"x: expected one of {', '.join(X_AXES)}")
        if not isinstance(pixels, int) or not 1 <= pixels <= 4000:
            raise ValueError("pixels: expected 1 to 4000")
        if window is not None and not (isinstance(window, list) and len(window) == 2):
            raise ValueError("window: expected null or two numbers")
        return View(
            columns, x, bool(request.get("log_x")), pixels, (float(window[0]), float(window[1])) if window else None
        )

    def curve(self, run: WatchedRun, column: str, have: Sequence[Any]) -> dict[str, Any] | None:
        """What is new of a curve to a page that `have`, which is a generation and how many of its rows; None if nothing.

        New rows come on as many columns of pixels as is their share of all rows. Where they are more than those before,
        all are sent, thinned anew; a page that has too many points in the end asks for that.
        """
        found = run.rows(column, self.x)
        if found is None:
            return None
        generation, x, y = found
        rows = y.size
        known = int(have[1]) if have and have[0] == generation else 0
        if known == rows and have and have[0] == generation:
            return None
        begin = known if 2 * known > rows else 0
        share = (rows - begin) / max(rows, 1)
        x, y = self._seen(x[begin:], y[begin:], max(1, round(self.pixels * share)))
        told = {"run": run.number, "column": column, "generation": generation, "from": begin, "rows": rows}
        return {**told, "x": x.tolist(), "y": y.tolist()}

    def _seen(self, x: np.ndarray, y: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """The measured points in the window, thinned."""
        measured = np.isfinite(x) & np.isfinite(y)
        if self.window:
            measured &= (x >= self.window[0]) & (x <= self.window[1])
        if self.log_x:
            measured &= x > 0
        x, y = x[measured], y[measured]
        seen = visible(np.log(x) if self.log_x else x, y, pixels)
        return x[seen], y[seen]


class Watch:
    """The runs in some folders, also those that come later."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = patterns
        self.runs: dict[Path, WatchedRun] = {}

    def poll(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """All that is new to a page: the runs' status, which columns there are, and rows; `more` if there are more."""
        view, have, hidden = View.of(request), request.get("have") or {}, request.get("hidden") or []
        self.look()
        shown = [run for run in self.runs.values() if run.number not in hidden]
        more, curves = False, []
        for run in shown:
            deadline = time.monotonic() + POLL_SECONDS / len(shown)
            more |= run.read_on(view.columns, view.x, deadline)
            of_run = have.get(str(run.number), {})
            curves += [view.curve(run, column, of_run.get(column, [])) for column in view.columns]
        labels = labels_of(self.runs)
        return {
            "runs": [{"label": label, **run.status()} for label, run in zip(labels, self.runs.values())],
            "columns": self.columns(),
            "curves": [curve for curve in curves if curve],
            "more": more,
        }

    def look(self) -> None:
        """Finds new runs, and what has changed of those that are known, in the order of their names."""
        for folder in sorted({*folders_of(self.patterns)} - self.runs.keys()):
            self.runs[folder] = WatchedRun(folder, len(self.runs))
        self.runs = dict(sorted(self.runs.items(), key=lambda item: natural(str(item[0]))))
        for run in self.runs.values():
            run.refresh()

    def columns(self) -> list[str]:
        """The columns that can be drawn, of any run."""
        metrics = (name for run in self.runs.values() for name in run.metrics.columns if name not in PLACES)
        evaluations = (name for run in self.runs.values() for name in run.evaluations.columns if name not in PLACES)
        return list(dict.fromkeys([*metrics, *(EVAL_PREFIX + name for name in evaluations)]))


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def labels_of(folders: Iterable[Path]) -> list[str]:
    """The folders from where they part on."""
    paths = [os.path.abspath(folder) for folder in folders]
    common = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [os.path.relpath(path, common) for path in paths]


def folders_of(patterns: Sequence[str]) -> Iterator[Path]:
    """The run folders that match a pattern, are given by name, or lie in a folder that does or is."""
    for pattern in patterns:
        for found in glob.glob(pattern, recursive=True) if is_pattern(pattern) else [pattern]:
            yield from _runs_in(Path(os.path.abspath(found)), DEPTH)


def _runs_in(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "config.json").is_file():
        yield folder
    elif depth:
        try:
            inner = [entry.path for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
        except OSError:  # a file, or gone
            return
        for path in inner:
            yield from _runs_in(Path(path), depth - 1)
