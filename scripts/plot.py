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
import sys
from collections.abc import Sequence
from pathlib import Path

from papers.inherent_noise import fig3
from sgdscope.errors import Error, exit_status_of, need_matplotlib
from sgdscope.plots.lines import X_AXES, make_x_axis
from sgdscope.plots.panels import draw_columns, draw_overlay
from sgdscope.plots.style import FORMATS, house_style, write
from sgdscope.runs import Run, label_by_units, label_runs, open_run, suggestion

FIGURES = {"inherent_noise/fig3": fig3.draw_grid}


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
            raise Error("--figure", f"no figure '{options.figure}'", suggestion(options.figure, list(FIGURES)))
        if options.columns or options.overlay or options.log_y:
            hint = "leave out --columns, --overlay and --log-y"
            raise Error("--figure", f"{options.figure} has its own columns and scales", hint)
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
        raise Error("--columns", "nothing to draw", f"give --columns or --figure; {runs[0].folder} has: {known}")
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


def draw(options: argparse.Namespace) -> list[Path]:
    """Draws what the options ask for; the files written."""
    need_matplotlib()
    runs = [open_run(path) for path in options.runs]
    label_runs(runs, options.labels)
    if options.figure and options.labels is None:
        label_by_units(runs)
    columns = list(fig3.COLUMNS) if options.figure else split_columns(options.columns, runs)
    x_axis = make_x_axis(runs, options.x or ("loss_reduction" if options.figure else "step"))
    with house_style():
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
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status_of(lambda: print(*draw(parse_arguments(given)), sep="\n"))


if __name__ == "__main__":
    sys.exit(main())
