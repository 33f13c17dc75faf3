"""Reads run folders: their configs, and of their CSV files the columns that are asked for."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sgdscope.errors import DATA, Error, suggestion

NOT_BEGUN = "the run has only just begun, or failed before its first row: manifest.json and log.txt beside it tell"

EVAL_PREFIX = "eval."
READ_BYTES = 1 << 20  # what is split at a time; larger is slower, because it leaves the cache


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
            raise Error(str(path), "has no rows, and no whole header yet", NOT_BEGUN, DATA)
        columns = next(csv.reader([header]), [])
        missing = [name for name in required if name not in columns]
        if missing:
            hint = "is it the file that `sgdscope run` wrote?"
            raise Error(
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
            raise Error(str(self.path), "has no rows yet", NOT_BEGUN, DATA)
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


def _bad_line(table: Table, rows: list[list[bytes]], first_line: int, indices: list[int]) -> Error:
    """The error for the first line of `rows` that cannot be read."""
    hint = "the file was altered or damaged: `sgdscope run ... --resume` cuts it back to the last checkpoint"
    for line, row in enumerate(rows, first_line):
        where = f"{table.path}, line {line}"
        if len(row) != len(table.columns):
            return Error(where, f"found {len(row)} cells, expected {len(table.columns)} as in the header", hint, DATA)
        for i in indices:
            try:
                float(row[i] or b"nan")
            except ValueError:
                found = row[i][:40].decode("utf-8", "replace")
                what = f"column {table.columns[i]}: found '{found}', expected a number or an empty cell"
                return Error(where, what, hint, DATA)
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
        raise Error(str(self.folder), f"no column '{column}'", suggestion(column, self.columns()))


def open_run(path: str) -> Run:
    """Opens a run folder; reads its config, and of its CSV files no more than the headers."""
    folder = Path(path)
    if not folder.is_dir():
        raise Error(path, "no such folder", _folder_hint(folder.parent, folder.name))
    missing = [name for name in ("config.json", "metrics.csv") if not (folder / name).is_file()]
    if missing:
        raise Error(path, f"is no run folder: it has no {' and no '.join(missing)}", _folder_hint(folder))
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        hint = "the folder needs the config.json that `sgdscope run` wrote there"
        raise Error(str(folder / "config.json"), f"is not JSON: {error}", hint, DATA) from None
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
            raise Error("--labels", f"{len(chosen)} labels for {len(runs)} runs", hint)
    else:
        candidates = (
            [str(run.config.get("name", "")) for run in runs],
            [run.folder.resolve().name for run in runs],
            [str(run.folder) for run in runs],
        )
        chosen = next((c for c in candidates if all(c) and len(set(c)) == len(c)), candidates[-1])
    for run, label in zip(runs, chosen):
        run.label = label


def hidden_units(run: Run) -> list[int]:
    """The widths of the hidden layers from the run's config; empty where the model has none."""
    model = run.config.get("model")
    hidden = model.get("hidden") if isinstance(model, dict) else None
    return hidden if isinstance(hidden, list) and all(isinstance(width, int) for width in hidden) else []
