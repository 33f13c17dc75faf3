#!/usr/bin/env python3
"""Writes runs for other programs: Parquet tables, or TensorBoard's event files.

    scripts/export.py runs/mine runs/mine_64 --to parquet --out exported
    scripts/export.py runs/mine* --to tensorboard --out logs      # then: tensorboard --logdir logs

A RUN is a folder that `sgdscope run` wrote; it may still be at work. In --out each run has a folder, with metrics and
evaluations. Parquet keeps every double; an empty cell, which was not measured, becomes null. TensorBoard keeps numbers in
float32, dates them all by the last row, and gets no empty cells. Exit status: 0 written, 2 wrong usage, 3 unusable data, 5 no
library or no place to write.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sgdscope.libraries import numpy, scipy  # noqa: F401

# isort: split
import numpy as np

import sgdscope
from sgdscope.errors import exit_status_of, note
from sgdscope.files import replacing
from sgdscope.optional import need
from sgdscope.reader import Runs
from sgdscope.runs import EVAL_PREFIX, Table
from sgdscope.tensorboard import write_events


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="export.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder")
    parser.add_argument("--to", choices=tuple(FORMATS), required=True, help="the format")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    return parser.parse_args(arguments)


def names_of(runs: Runs) -> list[str]:
    """The folders of the runs from where they part on."""
    folders = [run.folder.resolve() for run in runs]
    common = os.path.commonpath([folder.parent for folder in folders])
    return [os.path.relpath(folder, common) for folder in folders]


def tables_of(runs: Runs, index: int) -> list[tuple[str, Table]]:
    """What there is of a run, by the name that its file has."""
    run = runs[index]
    tables = [("metrics", run.metrics)] + ([("eval", run.evaluations)] if run.evaluations else [])
    return [(name, table) for name, table in tables if table.has_rows()]


def to_parquet(runs: Runs, index: int, folder: Path) -> list[Path]:
    """Writes metrics.parquet and eval.parquet of a run."""
    arrow, parquet = need("pyarrow", "Parquet"), need("pyarrow.parquet", "Parquet")
    written = []
    for name, table in tables_of(runs, index):
        table.load(table.columns)
        columns = {column: arrow.array(table[column], from_pandas=True) for column in table.columns}
        columns["step"] = columns["step"].cast(arrow.int64())
        written.append(folder / f"{name}.parquet")
        with replacing(written[-1]) as temporary:
            parquet.write_table(arrow.table(columns), temporary)
    return written


def to_tensorboard(runs: Runs, index: int, folder: Path) -> list[Path]:
    """Writes one event file of a run, in which evaluations are tagged as `eval/NAME`, and a probe's values as LABEL/VALUE."""
    series, seconds = {}, 0.0
    for name, table in tables_of(runs, index):
        table.load(table.columns)
        seconds = max(seconds, table.path.stat().st_mtime)
        for column in table.columns:
            known = ~np.isnan(table[column])
            tag = (EVAL_PREFIX if name == "eval" else "") + column
            if column != "step":
                series[tag.replace(".", "/")] = table["step"][known], table[column][known]
    path = folder / "events.out.tfevents.sgdscope"
    with replacing(path) as temporary:
        write_events(temporary, series, seconds)
    return [path]


FORMATS = {"parquet": to_parquet, "tensorboard": to_tensorboard}


def export(options: argparse.Namespace) -> list[Path]:
    """Writes all runs; the files written."""
    runs = sgdscope.read(*options.runs)
    for why in runs.left_out.values():
        note(why)
    write = FORMATS[options.to]
    return [file for i, name in enumerate(names_of(runs)) for file in write(runs, i, options.out / name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the files and prints their names; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status_of(lambda: print(*export(parse_arguments(given)), sep="\n"))


if __name__ == "__main__":
    sys.exit(main())
