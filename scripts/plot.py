#!/usr/bin/env python3
"""Draws any columns of any runs.

    scripts/plot.py runs/fc64 runs/fc2000 --columns loss,taylor.updating.penalty --smooth 50
    scripts/plot.py runs/fc64 --columns eval.train_loss,eval.test_loss --overlay --x epoch --out loss.pdf
    scripts/plot.py runs/fc64 --density hessian

A RUN is a folder that `sgdscope run` wrote. Columns are those of its metrics.csv, and those of its
eval.csv with `eval.` in front. An empty cell is a value that was not measured; a line joins the values
that were. Exit status: 0 drawn, 2 wrong usage, 3 unusable data, 5 no library or no place to write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sgdscope.libraries import numpy  # noqa: F401

# isort: split
from sgdscope.errors import Error, exit_status_of, need_matplotlib
from sgdscope.plots.density import draw_densities
from sgdscope.plots.lines import X_AXES, make_x_axis
from sgdscope.plots.panels import draw_columns, draw_overlay
from sgdscope.plots.style import FORMATS, Picture, house_style, write
from sgdscope.runs import Run, label_runs, open_run


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, checked as far as it can be without the runs."""
    parser = argparse.ArgumentParser(
        prog="plot.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder")
    parser.add_argument(
        "--columns", metavar="A,B,...", help="what to draw: names from metrics.csv, or eval.NAME from eval.csv"
    )
    parser.add_argument(
        "--density", metavar="LABEL", help="in place of columns: the spectral densities that the probe `hessian` with this "
        "label has written, a line for each step"
    )  # fmt: skip
    parser.add_argument("--x", choices=X_AXES, default="step", help="the x axis (default: step)")
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
    if options.density is not None and options.columns is not None:
        raise Error("--density", "is given together with --columns", "draw one after the other")
    if options.smooth < 1:
        raise Error("--smooth", f"found {options.smooth}, expected 1 row or more", "1 draws the values as they are")
    for name in options.out or []:
        if Path(name).suffix.lower() not in FORMATS:
            hint = f"end the name in {' or '.join(FORMATS)}; runs go in front of --out"
            raise Error("--out", f"'{name}' is neither a PNG nor a PDF file", hint)


def split_columns(text: str | None, runs: Sequence[Run]) -> list[str]:
    """The names in --columns, each of which every run has."""
    columns = list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    if not columns:
        known = ", ".join(runs[0].columns())
        raise Error("--columns", "nothing to draw", f"give --columns; {runs[0].folder} has: {known}")
    for column in columns:
        for run in runs:
            run.find(column)
    return columns


def default_output(run: Run, columns: Sequence[str]) -> Path:
    """plots/COLUMNS.png in the run's folder; long lists of columns are cut short."""
    name = "+".join(columns)
    if len(name) > 120:
        name = f"{name[:100]}+and_more_{len(columns)}_columns"
    return run.folder / "plots" / f"{name}.png"


def draw(options: argparse.Namespace) -> list[Path]:
    """Draws what the options ask for; the files written."""
    need_matplotlib()
    runs = [open_run(path) for path in options.runs]
    label_runs(runs, options.labels)
    with house_style():
        names, figure = _draw(options, runs)
        files = [Path(name) for name in options.out or []] or [default_output(runs[0], names)]
        for file in files:
            write(figure, file)
    return files


def _draw(options: argparse.Namespace, runs: Sequence[Run]) -> tuple[Sequence[str], Picture]:
    """What is drawn, in names, and the picture."""
    if options.density is not None:
        return ["density", options.density], draw_densities(runs, options.density, options.title)
    columns = split_columns(options.columns, runs)
    x_axis = make_x_axis(runs, options.x)
    draw_any = draw_overlay if options.overlay else draw_columns
    return columns, draw_any(runs, columns, x_axis, options.smooth, options.log_y, options.title)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws and prints the files written; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status_of(lambda: print(*draw(parse_arguments(given)), sep="\n"))


if __name__ == "__main__":
    sys.exit(main())
