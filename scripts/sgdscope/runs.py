"""Reads run folders: their configs and manifests, and of their CSV files the columns that are asked for."""

from __future__ import annotations

import csv
import difflib
import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sgdscope import program, snapshots
from sgdscope.errors import DATA, Error, suggestion
from sgdscope.optional import need

NOT_BEGUN = "the run has only just begun, or failed before its first row: manifest.json and log.txt beside it tell"

EVAL_PREFIX = "eval."
READ_BYTES = 1 << 20  # what is split at a time; larger is slower, because it leaves the cache
SMALL = 1 << 20  # bytes of a file of which all columns are read at once: most of the time goes into splitting its lines
LARGE = 1 << 24  # bytes of a file that the program reads, if it is here: its start takes as long as a smaller one


class NotBegun(Error):
    """A run that has no rows, and not even a whole header of them."""


@dataclass
class Table:
    """A CSV file of numbers with one header line, of which only the columns asked for are read.

    All of them have the rows that were there when the first ones were read: the run may go on meanwhile.
    """

    path: Path
    columns: list[str]
    begin: int = 0  # where the first row begins in the file
    end: int = 0  # where the last whole row ended when the first column was read; 0 before
    values: dict[str, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def open(path: Path, required: Sequence[str]) -> Table:
        """Reads the header, which must name the `required` columns."""
        with path.open("rb") as file:
            line = file.readline()
        if not line.endswith(b"\n"):
            raise NotBegun(str(path), "has no rows, and no whole header yet", NOT_BEGUN, DATA)
        header = line.decode("utf-8", "replace")
        columns = next(csv.reader([header]), [])
        missing = [name for name in required if name not in columns]
        if missing:
            hint = "is it the file that `sgdscope run` wrote?"
            raise Error(
                f"{path}, line 1", f"found no column {', '.join(missing)} in '{header.strip()[:80]}'", hint, DATA
            )
        return Table(path, columns, begin=len(line))

    def load(self, names: Sequence[str]) -> None:
        """Reads, in one pass, those of `names` that have not been read yet."""
        for name in names:
            if name not in self.columns:
                raise Error(str(self.path), f"no column '{name}'", suggestion(name, self.columns))
        wanted = [name for name in dict.fromkeys(names) if name not in self.values]
        if not wanted:
            return
        if not self.has_rows():
            raise NotBegun(str(self.path), "has no rows yet", NOT_BEGUN, DATA)
        if self.end >= LARGE and (columns := _by_program(self, wanted)) is not None:
            self.values |= columns
            return
        if not self.values and self.end < SMALL:
            try:
                return self._read(self.columns)
            except Error:
                pass  # only what is asked for needs to be sound
        self._read(wanted)

    def _read(self, names: Sequence[str]) -> None:
        """Reads these columns from the lines of the file."""
        indices = [self.columns.index(name) for name in names]
        parts = [parse(self, text, line, indices) for text, line in _lines(self)]
        self.values |= dict(zip(names, np.concatenate(parts, axis=1)))

    def has_rows(self) -> bool:
        """Whether there is a whole row below the header; from then on the rows are those that there are now."""
        if self.end <= self.begin:
            self.end = _size_of_whole_lines(self.path)
        return self.end > self.begin

    def __getitem__(self, name: str) -> np.ndarray:
        self.load([name])
        return self.values[name]


def _by_program(table: Table, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The columns as `sgdscope columns` reads them; None if it is not here, or finds a fault, which the slow way tells."""
    with os.fdopen(os.memfd_create("columns"), "rb") as file:
        selection = (f"--columns={','.join(names)}", f"--end={table.end}")
        if not program.call("columns", str(table.path), *selection, output=file.fileno()):
            return None
        return dict(zip(names, np.load(f"/proc/self/fd/{file.fileno()}", mmap_mode="c")))


def _size_of_whole_lines(path: Path) -> int:
    """The bytes of a file up to its last newline: a line without one is still being written, or was torn by a crash."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        while end:
            begin = max(0, end - READ_BYTES)
            file.seek(begin)
            if (newline := file.read(end - begin).rfind(b"\n")) >= 0:
                return begin + newline + 1
            end = begin
    return 0


def _lines(table: Table) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines below the header, each with the number of its first line."""
    line, rest = 2, b""
    with table.path.open("rb") as file:
        file.seek(table.begin)
        while block := file.read(min(READ_BYTES, table.end - file.tell())):
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                yield rest + head, line
                line += head.count(b"\n") + rest.count(b"\n") + 1
                rest = tail
            else:
                rest += block


def parse(table: Table, text: bytes, first_line: int, indices: list[int]) -> np.ndarray:
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

    def manifest(self) -> dict[str, Any]:
        """Status, reason, steps, time, versions, checksums, as the run has written them last."""
        return read_manifest(self.folder)

    def snapshot_steps(self, label: str = "") -> list[int]:
        """The steps of which there is a snapshot."""
        return list(snapshots.files_in(self.folder / "snapshots", label))

    def snapshot(self, step: int, label: str = "") -> snapshots.Tensors:
        """theta and whatever else the probe `snapshot` has kept of a step. `label`: the probe's, if it has its own."""
        return snapshots.tensors_at(self.folder / "snapshots", step, label)

    def checkpoint(self, step: int | None = None) -> snapshots.Tensors:
        """theta and the states of rule, schedule and probes, of the last checkpoint or that of a step."""
        return snapshots.tensors_at(self.folder / "checkpoints", step)

    def module(self, step: int | None = None) -> Any:
        """The network as a `torch.nn.Module`, with theta of the snapshot of a step or of the last checkpoint.

        Its `state_dict()` is what PyTorch keeps. Batch normalization's running statistics, which `eval()` needs, are in
        checkpoints only.
        """
        twin = need("sgdscope.twin", "a network in PyTorch", "torch")
        path = self.folder / "network.json"
        if not path.is_file():
            hint = "`sgdscope run ... --resume` writes it for a run of an earlier version"
            raise Error(str(path), "no such file, and it tells the network's layers", hint, DATA)
        arrays = (self.checkpoint() if step is None else self.snapshot(step)).arrays
        return twin.module_of(json.loads(path.read_text(encoding="utf-8")), arrays)

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


def read_manifest(folder: Path) -> dict[str, Any]:
    """A run folder's manifest; empty if the run has not begun."""
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        hint = "make the run again, in another folder"
        raise Error(str(path), f"is not JSON: {error}", hint, DATA) from None
    return found if isinstance(found, dict) else {}


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


def is_pattern(name: str) -> bool:
    """Whether a name stands for any that match it; a folder of that very name comes first."""
    return glob.has_magic(name) and not os.path.isdir(name)


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
