#!/usr/bin/env python3
"""The parts of scripts/reproduce.sh that are not running jobs.

    scripts/reproduce.py list                                    the papers' figures, and how long they take
    scripts/reproduce.py plan PAPER[/FIGURE] [--quick] ...       writes a job file and prints its name
    scripts/reproduce.py report DIR                              draws what the runs in DIR gave, and writes the report

Exit status: 0 done, 2 wrong usage, 3 unusable data, 5 no library or no place to write.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sgdscope.catalogue import figures, papers
from sgdscope.claims import Verdict
from sgdscope.errors import exit_status_of, need_matplotlib
from sgdscope.plan import ROOT, default_folder, open_reproduction, plan, unique_jobs, variant
from sgdscope.report import write_report
from sgdscope.results import load_outcome, seconds_of

CORES = 2  # of the machines on which jobs were timed


def show_list() -> None:
    """Papers and figures with their titles and times: those of the authors' machine, and of runs that are here."""
    for key, paper in papers().items():
        print(f"{key}: {paper.about}")
        print(f"  times, quick and full, on {paper.measured_on}")
        known = figures(key)
        rows = [(f"{key}/{name}", figure.title, [name]) for name, figure in known.items()]
        rows.append((key, "all of these; they share runs", list(known)))
        width = max(len(row[0]) for row in rows)
        for target, title, names in rows:
            quick, full = (_seconds_of_all(key, names, quick) for quick in (True, False))
            print(f"  {target:{width}}  {quick / 60:4.1f} min {full / 3600:5.1f} h  {title}")
            for line in _measured_here(key, names):
                print(f"  {'':{width}}  {line}")


def _seconds_of_all(paper: str, names: Sequence[str], quick: bool) -> float:
    """How long the figures' runs take, one on each core, as sweep.sh makes them: the longest first."""
    busy_until = [0.0] * CORES
    for job in unique_jobs([job for name in names for job in figures(paper)[name].jobs(quick)]):
        heapq.heapreplace(busy_until, busy_until[0] + job.seconds)
    return max(busy_until)


def _measured_here(paper: str, names: Sequence[str]) -> Iterator[str]:
    """How long the figures' runs took that are in the default folders."""
    for quick in (True, False):
        folder = default_folder(paper, quick)
        jobs = unique_jobs([job for name in names for job in figures(paper)[name].jobs(quick)])
        seconds = seconds_of([load_outcome(job, folder / "runs") for job in jobs])
        if seconds is not None:
            yield f"here, {variant(quick)}: {seconds / 60:.1f} min of one core, in {folder.relative_to(ROOT)}"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="reproduce.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    planning = commands.add_parser("plan")
    planning.add_argument("target", metavar="PAPER[/FIGURE]")
    planning.add_argument("--quick", action="store_true", help="fewer steps and seeds")
    planning.add_argument("--out", type=Path, metavar="DIR", help="default: reproductions/PAPER_quick or PAPER_full")
    planning.add_argument(
        "--data-path", type=Path, metavar="DIR", action="append", default=[], help="folder of a data set's files"
    )
    planning.add_argument("--device", choices=("cpu", "cuda"), help="default: the configs'")
    reporting = commands.add_parser("report")
    reporting.add_argument("folder", type=Path, metavar="DIR")
    return parser.parse_args(arguments)


def show_report(folder: Path) -> None:
    """Writes the report, and says in short what is in it."""
    reproduction = open_reproduction(folder)
    for chapter in write_report(reproduction):
        counts = [f"{sum(claim.verdict is verdict for claim in chapter.claims)} {verdict.value}" for verdict in Verdict]
        print(f"{reproduction.paper}/{chapter.name}: {', '.join(counts)}")
        for file in chapter.pictures:
            print(f"  {file}")
        if chapter.not_drawn:
            print(f"  not drawn: {chapter.not_drawn}")
    print(f"report: {folder / 'report.html'} (the same as text: report.md)")


def do(options: argparse.Namespace) -> None:
    """One of the three."""
    if options.command == "list":
        show_list()
        return
    need_matplotlib()  # also before planning: before hours of runs, not after
    if options.command == "plan":
        print(plan(options.target, options.quick, options.out, options.data_path, options.device))
    else:
        show_report(options.folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; the exit status."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    return exit_status_of(lambda: do(options))


if __name__ == "__main__":
    sys.exit(main())
