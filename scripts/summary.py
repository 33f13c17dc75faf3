#!/usr/bin/env python3
"""Says which setting of some runs is the best, and which ones are not told from it.

    scripts/summary.py runs/mine* [--column eval.test_accuracy] [--lowest] [--by FIELD...]
    scripts/summary.py mine.sweep ...

The folder of a sweep, mine.sweep, stands for all its runs. A setting is what the configs of its runs have in common, seed, names
and threads left aside; --by names the fields that tell settings apart instead. What counts of a run is its last value of the column.
Runs that are not done are counted and left out. A setting is `behind` the best where Student's t over the seeds that both have says
so, with 95 % certainty for all pairs of settings together (Bonferroni), as any of them might have come out as the best. Numbers that
are equal with all seeds, as accuracies of few examples may be, have no spread to judge by: an interval of them is told from 6 seeds
on, and a lead that is equal with all seeds takes 6, and more where there are more than two settings. Exit status: 0 said, 2 wrong
usage, 3 unusable data, 5 no library, or standard output cannot be written.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sgdscope.libraries import numpy, scipy  # noqa: F401

# isort: split
import numpy as np

import sgdscope
from sgdscope.errors import DATA, Error, exit_status_of, note
from sgdscope.reader import check_seeds
from sgdscope.runs import Run
from sgdscope.statistics import LEVEL, ROUNDING, are_equal, fewest_equal, interval, standard_error


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="summary.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder, or the folder of a sweep")
    parser.add_argument(
        "--column", default="eval.test_accuracy", help="a column; those of eval.csv with eval. in front"
    )
    parser.add_argument("--lowest", action="store_true", help="the lowest value is the best")
    parser.add_argument("--by", nargs="+", metavar="FIELD", help="fields of the config, say update.learning_rate")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Result:
    """What the runs of a setting came to: the last value by seed, and how many runs have none, by status."""

    setting: tuple[Any, ...]
    values: dict[Any, float]
    others: Counter[str]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))

    def cells(self) -> list[str]:
        """Mean, error and interval, and the seeds that they are of."""
        values = list(self.values.values())
        others = "".join(f", {count} {status}" for status, count in sorted(self.others.items()))
        if not values:
            return ["-", "", f"0 seeds{others}"]
        if len(values) == 1:
            return [f"{values[0]:.6g}", "", f"1 seed{others}"]
        low, high = interval(values)
        error = 0 if are_equal(values) else standard_error(values)
        told = "" if are_equal(values) and len(values) < fewest_equal() else f"{low:.6g} … {high:.6g}"
        return [f"{self.mean:.6g} ± {error:.2g}", told, f"{len(values)} seeds{others}"]


def result_of(keys: Sequence[str], setting: tuple[Any, ...], runs: Sequence[Run], column: str) -> Result:
    """The last values of the runs that are done."""
    counted: list[tuple[Run, float]] = []
    others: Counter[str] = Counter()
    for run in runs:
        status = str(run.manifest().get("status", "without a manifest"))
        if status != "done":
            others[status] += 1
            continue
        table, name = run.find(column)
        measured = table[name][~np.isnan(table[name])]
        if len(measured):
            counted.append((run, float(measured[-1])))
        else:
            others["without a value"] += 1
    check_seeds(keys, setting, [run for run, _ in counted])
    return Result(setting, {run.config.get("seed"): value for run, value in counted}, others)


def compared(best: Result, other: Result, sign: int, pairs: int) -> str:
    """Whether `other` is behind the best, as one of so many pairs; with the sign -1 the lowest value is the best."""
    seeds = [seed for seed in best.values if seed in other.values]
    if len(seeds) < 2:
        return "not decided: fewer than 2 seeds in common"
    leads, level = [sign * (best.values[seed] - other.values[seed]) for seed in seeds], LEVEL / pairs
    if not interval(leads, level)[0] > ROUNDING:
        return "not told from it"
    if are_equal(leads) and len(leads) < fewest_equal(level):
        return f"not told from it: a lead that is equal with all seeds takes {fewest_equal(level)}"
    return "behind"


def table_of(keys: Sequence[str], results: Sequence[Result], column: str, sign: int) -> str:
    """A line for each setting, the best first."""
    pairs = len(results) * (len(results) - 1) // 2
    rows = [[*keys, column, "95 % interval", "", ""]]
    for i, result in enumerate(results):
        verdict = "best" if i == 0 else compared(results[0], result, sign, pairs) if result.values else ""
        rows.append([*(str(value) for value in result.setting), *result.cells(), verdict])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def summarize(options: argparse.Namespace) -> str:
    """The table of all settings."""
    runs = sgdscope.read(*options.runs)
    for why in runs.left_out.values():
        note(why)
    keys = runs.differing() if options.by is None else options.by
    results = [result_of(keys, setting, of_it, options.column) for setting, of_it in runs.settings(keys).items()]
    if not any(result.values for result in results):
        statuses = sum((result.others for result in results), Counter[str]())
        told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        raise Error(
            ", ".join(options.runs), f"no run has an end to compare: {told or 'no runs'}", "wait for them", DATA
        )
    sign = -1 if options.lowest else 1
    results.sort(key=lambda result: (not result.values, -sign * result.mean if result.values else 0))
    return table_of(keys, results, options.column, sign)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status_of(lambda: print(summarize(parse_arguments(given))))


if __name__ == "__main__":
    sys.exit(main())
