"""Runs as data frames, and means over their seeds: what `sgdscope.read` gives.

Frames are pandas', or with `library="polars"` polars'. An empty cell of a CSV file is NaN: it was not measured. Runs that are
still at work, or have crashed, are read up to their last whole row.
"""

from __future__ import annotations

import fnmatch
import glob
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, overload

import numpy as np

from sgdscope.errors import DATA, Error, suggestion
from sgdscope.optional import need
from sgdscope.runs import NotBegun, Run, Table, is_pattern, open_run
from sgdscope.statistics import half_width, standard_errors

LIBRARIES = ("pandas", "polars")
NAMES = ("seed", "name", "output")  # what tells runs of one setting apart
NO_SETTING = (*NAMES, "threads")  # fields in which they may differ, unless one asks for them


@dataclass(frozen=True)
class Repeated:
    """A column in which each of some values stands in so many rows, one after the other."""

    values: Sequence[Any]
    counts: Sequence[int]


Column = np.ndarray | Repeated | list[Any]


def frame(columns: Mapping[str, Column], library: str = "pandas") -> Any:
    """A data frame of these columns."""
    if library not in LIBRARIES:
        raise Error("library", f"found '{library}'", suggestion(library, LIBRARIES))
    frames = need(library, f"a {library} frame")
    if library == "polars":
        return frames.DataFrame({name: _in_polars(frames, column) for name, column in columns.items()})
    return frames.DataFrame({name: _in_pandas(frames, column) for name, column in columns.items()}, copy=False)


def _in_pandas(pandas: Any, column: Column) -> Any:
    if not isinstance(column, Repeated):
        return column
    words = all(isinstance(value, str) for value in column.values)
    return pandas.Series(list(column.values), dtype="category" if words else None).repeat(column.counts).array


def _in_polars(polars: Any, column: Column) -> Any:
    if isinstance(column, np.ndarray):
        return polars.Series(column)
    if isinstance(column, list):
        return polars.Series(column, strict=False)
    rows = np.repeat(np.arange(len(column.values)), column.counts)
    return polars.Series(list(column.values), strict=False).gather(rows)


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config with its keys joined by dots; a list as the text that JSON has for it."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return flat


@dataclass(frozen=True)
class Runs(Sequence[Run]):
    """Some runs, in the order of their folders. Columns are named as in the CSV files; * stands for any letters."""

    runs: tuple[Run, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)  # folders whose run has no row yet, and why

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: int | slice) -> Run | Runs:
        return Runs(self.runs[index], self.left_out) if isinstance(index, slice) else self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __repr__(self) -> str:
        counts = Counter(str(run.manifest().get("status", "no manifest")) for run in self)
        told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        return f"<{len(self)} runs: {told or 'none'}; left out: {len(self.left_out)}>"

    def configs(self, library: str = "pandas") -> Any:
        """A row a run: folder, status, reason, steps, seconds, and each field of its config, its keys joined by dots."""
        manifests, configs = [run.manifest() for run in self], [flattened(run.config) for run in self]
        columns: dict[str, Column] = {"run": [str(run.folder) for run in self]}
        for key in ("status", "reason", "steps_done", "wall_seconds"):
            columns[key] = [manifest.get(key) for manifest in manifests]
        for key in dict.fromkeys(key for config in configs for key in config):
            columns[f"config.{key}" if key in columns else key] = [config.get(key) for config in configs]
        return frame(columns, library)

    def metrics(self, *columns: str, library: str = "pandas") -> Any:
        """The rows of metrics.csv of all runs: run, seed, step, epoch, and the columns asked for, by default all."""
        return self._rows([(run, run.metrics) for run in self], columns, library)

    def evaluations(self, *columns: str, library: str = "pandas") -> Any:
        """The same of eval.csv, of the runs that have one."""
        return self._rows([(run, run.evaluations) for run in self if run.evaluations], columns, library)

    @staticmethod
    def _rows(tables: Sequence[tuple[Run, Table]], wanted: Sequence[str], library: str) -> Any:
        known = list(dict.fromkeys(name for _, table in tables for name in table.columns))
        names = list(dict.fromkeys(["step", "epoch", *_matching(wanted or ["*"], known)])) if known else []
        values = [_loaded(table, [name for name in names if name in table.columns]) for _, table in tables]
        counts = [len(of_run["step"]) for of_run in values]
        columns: dict[str, Column] = {
            "run": Repeated([str(run.folder) for run, _ in tables], counts),
            "seed": Repeated([run.config.get("seed") for run, _ in tables], counts),
        }
        for name in names:
            parts = [of_run.get(name, np.full(count, np.nan)) for of_run, count in zip(values, counts)]
            joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
            columns[name] = joined.astype(np.int64) if name == "step" else joined
        return frame(columns, library)

    def settings(self, by: Sequence[str] | None = None) -> dict[tuple[Any, ...], list[Run]]:
        """The runs by their values of the config's fields `by`: of those in which they differ, seed, names, threads apart."""
        flat = [flattened(run.config) for run in self]
        keys = self.differing() if by is None else by
        for key in keys:
            if not any(key in config for config in flat):
                raise Error(
                    "by", f"no config has the field '{key}'", suggestion(key, sorted({k for c in flat for k in c}))
                )
        found: dict[tuple[Any, ...], list[Run]] = {}
        for run, config in zip(self, flat):
            found.setdefault(tuple(config.get(key) for key in keys), []).append(run)
        return found

    def differing(self) -> list[str]:
        """The fields in which the configs differ, but for seed, names and threads."""
        flat = [flattened(run.config) for run in self]
        keys = dict.fromkeys(key for config in flat for key in config if key not in NO_SETTING)
        return [key for key in keys if len({config.get(key) for config in flat}) > 1]

    def over_seeds(self, *columns: str, by: Sequence[str] | None = None, library: str = "pandas") -> Any:
        """Means over the seeds of each setting, with their standard errors and 95 % intervals by Student's t.

        Columns are those of metrics.csv, and those of eval.csv with `eval.` in front. A row is a setting, a column and a
        step at which all seeds of the setting have measured it; `by` as in `settings`.
        """
        if not columns:
            raise Error("over_seeds", "no column is named", "name some, say 'eval.test_accuracy'")
        keys = self.differing() if by is None else list(by)
        rows: list[Means] = []
        for setting, runs in self.settings(keys).items():
            check_seeds(keys, setting, runs)
            rows += [means_of(setting, runs, name) for name in _matching(columns, runs[0].columns())]
        counts = [len(row.steps) for row in rows]
        table: dict[str, Column] = {
            key: Repeated([row.setting[i] for row in rows], counts) for i, key in enumerate(keys)
        }
        table["column"] = Repeated([row.column for row in rows], counts)
        table["step"] = np.concatenate([row.steps for row in rows]).astype(np.int64)
        table["seeds"] = Repeated([row.seeds for row in rows], counts)
        mean, error, half = (np.concatenate([getattr(row, name) for row in rows]) for name in ("mean", "error", "half"))
        return frame({**table, "mean": mean, "error": error, "low": mean - half, "high": mean + half}, library)


@dataclass(frozen=True)
class Means:
    """Means of a column over the seeds of a setting, at the steps at which all of them have measured it."""

    setting: tuple[Any, ...]
    column: str
    seeds: int
    steps: np.ndarray
    mean: np.ndarray
    error: np.ndarray  # standard error of the mean; NaN of one seed
    half: np.ndarray  # half the width of the interval


def means_of(setting: tuple[Any, ...], runs: Sequence[Run], column: str) -> Means:
    """The means of a column over these runs, one for each seed."""
    steps, values = _aligned(runs, column)
    error = standard_errors(values)
    return Means(setting, column, len(runs), steps, values.mean(axis=0), error, half_width(len(runs)) * error)


def _loaded(table: Table, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of a table, which may have no rows yet."""
    if not table.has_rows():
        return {name: np.empty(0) for name in names}
    table.load(names)
    return table.values


def check_seeds(keys: Sequence[str], setting: tuple[Any, ...], runs: Sequence[Run]) -> None:
    """Refuses two runs of one setting and seed: they would count twice, and the error would be too small."""
    by_seed: dict[Any, Run] = {}
    for run in runs:
        first = by_seed.setdefault(run.config.get("seed"), run)
        if first is not run:
            alike = ", ".join(f"{key} {value}" for key, value in zip(keys, setting)) or "no field that differs"
            what = f"is of the seed {run.config.get('seed')} and the setting ({alike}), as {first.folder} is"
            one, other = flattened(run.config), flattened(first.config)
            apart = [key for key in one | other if key not in NAMES and one.get(key) != other.get(key)]
            hint = f", or tell settings apart `by` {', '.join([*keys, *apart])}" if apart else ""
            raise Error(str(run.folder), f"{what}: it would count twice", f"leave one of them out{hint}", DATA)


def _aligned(runs: Sequence[Run], column: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which all of the runs have a value of the column, and the values [runs, steps]."""
    known = []
    for run in runs:
        table, name = run.find(column)
        table.load(["step", name])
        measured = ~np.isnan(table[name])
        known.append((table["step"][measured], table[name][measured]))
    steps = known[0][0]
    for others, _ in known[1:]:
        steps = np.intersect1d(steps, others, assume_unique=True)
    return steps, np.array([values[np.searchsorted(at, steps)] for at, values in known])


def _matching(patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The known names that match one of the patterns, in the order of these; each pattern must match some."""
    found: dict[str, None] = {}
    for pattern in patterns:
        names = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not names:
            raise Error("columns", f"no column '{pattern}'", suggestion(pattern, known))
        found |= dict.fromkeys(names)
    return list(found)


def _begun(folders: Sequence[str]) -> list[str]:
    return [folder for folder in folders if (Path(folder) / "config.json").is_file()]


def _folders(pattern: str, left_out: dict[str, str]) -> list[str]:
    """The run folders that the pattern matches, or those of a sweep if it is the sweep's folder, x.sweep."""
    if is_pattern(pattern):
        return _begun(sorted(glob.glob(pattern, recursive=True)))
    jobs = Path(pattern) / "jobs.jsonl"
    if not jobs.is_file():
        return [pattern]
    try:
        found = [json.loads(line)["output"] for line in jobs.read_text(encoding="utf-8").split("\n") if line]
        if not found:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        hint = "call scripts/sweep.sh with its job file again, which writes it anew"
        raise Error(str(jobs), "is not what scripts/sweep.sh wrote", hint, DATA) from None
    begun = _begun(found)
    if not begun:
        what = f"none of its {len(found)} runs is here, say {found[0]}"
        raise Error(pattern, what, "call this from where the sweep was called, once its runs have begun", DATA)
    left_out |= {folder: f"{folder}: this run of {pattern} has not begun" for folder in found if folder not in begun}
    return begun


def read_runs(*patterns: str | PathLike[str]) -> Runs:
    """The runs in the folders that match the patterns, each once; folders that hold no run are passed over.

    The folder of a sweep, x.sweep, stands for those of all its runs.
    """
    runs: dict[str, Run] = {}
    left_out: dict[str, str] = {}
    for pattern in [fspath(pattern) for pattern in patterns]:
        for folder in _folders(pattern, left_out):
            if (Path(folder) / "config.json").is_file() and not (Path(folder) / "metrics.csv").is_file():
                left_out[folder] = f"{folder}: it has no metrics.csv yet"
                continue
            try:
                runs[folder] = open_run(folder)
            except NotBegun as error:
                left_out[folder] = str(error)
    if not runs and not left_out:
        raise Error(
            ", ".join([fspath(pattern) for pattern in patterns]),
            "there is no run folder",
            "give folders that `sgdscope run` wrote",
        )
    return Runs(tuple(runs.values()), left_out)
