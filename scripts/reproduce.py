#!/usr/bin/env python3
"""The parts of scripts/reproduce.sh that are not running jobs.

    scripts/reproduce.py list                                    the papers' figures, and how long they take
    scripts/reproduce.py plan PAPER[/FIGURE] [--size SIZE] ...   writes a job file and prints its name; --stage 2 and so on:
                                                                 of runs that begin from weights of those before, if any
    scripts/reproduce.py report DIR [--record-durations]         draws what the runs in DIR gave, and writes the report
    scripts/reproduce.py ended DIR PAPER[/FIGURE]                says whether all runs are done, or diverged where they may:
                                                                 if not, the exit status is 1
    scripts/reproduce.py keep DIR                                keeps what the report in DIR came to, beside the paper's page

Exit status: 0 done, 2 wrong usage, 3 unusable data, 5 no library or no place to write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sgdscope.libraries import numpy, scipy  # noqa: F401

# isort: split
from sgdscope.catalogue import ROOT, choose, figures, jobs_of, papers, sizes_of_paper, study_of, time_of, with_size
from sgdscope.claims import Verdict
from sgdscope.durations import CORES, Durations
from sgdscope.errors import Error, exit_status_of, need_matplotlib
from sgdscope.kept import keep
from sgdscope.plan import Reproduction, default_folder, open_reproduction, plan
from sgdscope.report import write_report
from sgdscope.results import load_outcome, seconds_of

UNFINISHED = 1  # exit status


def show_list() -> None:
    """Papers and figures with their titles and times: those that were recorded, and of runs that are here."""
    for key, paper in papers().items():
        print(f"{key}: {paper.about}")
        sizes, durations = sizes_of_paper(key), Durations.load(key)
        for size, machine in durations.machines.items():
            print(f"  time of {size}, {CORES} runs at a time, on {machine}")
        known = figures(key)
        rows = [(f"{key}/{name}", figure.title, [name]) for name, figure in known.items()]
        rows.append((key, "all of these; they share runs", list(known)))
        width = max(len(row[0]) for row in rows)
        print(f"  {'':{width}} {' '.join(f'{size:>9}' for size in sizes)}")
        for target, title, names in rows:
            times = (f"{time_of(durations, key, names, size):>9}" for size in sizes)
            print(f"  {target:{width}} {' '.join(times)}  {title}")
            for line in _measured_here(key, names, sizes):
                print(f"  {'':{width}}  {line}")


def _measured_here(paper: str, names: Sequence[str], sizes: Sequence[str]) -> Iterator[str]:
    """How long the figures' runs took that are in the default folders."""
    for size in sizes:
        folder = default_folder(paper, size)
        jobs = jobs_of(paper, with_size(paper, names, size), size)
        seconds = seconds_of([load_outcome(job, folder / "runs") for job in jobs])
        if seconds:
            yield f"here, {size}: {seconds / 60:.1f} min of one core, in {folder.relative_to(ROOT)}"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="reproduce.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    planning = commands.add_parser("plan")
    planning.add_argument("target", metavar="PAPER[/FIGURE]")
    planning.add_argument("--size", default="full", help="one of the sizes of the figures' studies (default: full)")
    for size in ("quick", "desk"):
        planning.add_argument(
            f"--{size}", dest="size", action="store_const", const=size, help=f"short for --size {size}"
        )
    planning.add_argument("--out", type=Path, metavar="DIR", help="default: reproductions/PAPER_SIZE")
    planning.add_argument(
        "--data-path", type=Path, metavar="DIR", action="append", default=[], help="folder of a data set's files"
    )
    planning.add_argument("--stage", type=int, default=1, help="of runs that begin from others' weights (default: 1)")
    planning.add_argument("--device", choices=("cpu", "cuda"), help="default: the configs'")
    reporting = commands.add_parser("report")
    reporting.add_argument("folder", type=Path, metavar="DIR")
    reporting.add_argument("--record-durations", action="store_true", help="write configs/PAPER/durations.json")
    ending = commands.add_parser("ended")
    ending.add_argument("folder", type=Path, metavar="DIR")
    ending.add_argument("target", metavar="PAPER[/FIGURE]")
    keeping = commands.add_parser("keep")
    keeping.add_argument("folder", type=Path, metavar="DIR")
    return parser.parse_args(arguments)


def show_report(folder: Path, record: bool) -> None:
    """Writes the report, and says in short what is in it."""
    reproduction = open_reproduction(folder)
    for chapter in write_report(reproduction):
        counts = [f"{chapter.verdicts.count(verdict)} {verdict.value}" for verdict in Verdict]
        told = f"nothing is concluded: {chapter.unjudged}" if chapter.unjudged else ", ".join(counts)
        print(f"{reproduction.paper}/{chapter.name}: {told}")
        for file in chapter.pictures:
            print(f"  {file}")
        if chapter.not_drawn:
            print(f"  not drawn: {chapter.not_drawn}")
    print(f"report: {folder / 'report.html'} (the same as text: report.md)")
    if record:
        record_durations(reproduction)


def check_ended(reproduction: Reproduction, target: str) -> None:
    """Refuses runs of the target that are not done, but for those that diverged and may."""
    paper, names = choose(target, reproduction.size)
    jobs = [job for name in names for job in study_of(paper, name, reproduction.size).jobs()]
    outcomes = [load_outcome(job, reproduction.runs_folder) for job in jobs if job.folder in reproduction.runs]
    problems = {one.problem: None for one in outcomes if one.problem and not (one.ended and one.job.may_diverge)}
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        hint = "the report tells of each; called again, scripts/reproduce.sh makes those that have not ended"
        raise Error(str(reproduction.folder), f"{next(iter(problems))}{more}", hint, UNFINISHED)


def record_durations(reproduction: Reproduction) -> None:
    """Keeps how long the finished runs took."""
    durations = Durations.load(reproduction.paper)
    jobs = jobs_of(reproduction.paper, reproduction.figures, reproduction.size)
    count = durations.record(reproduction.size, [load_outcome(job, reproduction.runs_folder) for job in jobs])
    print(f"durations: of {count} settings in {durations.file}")


def do(options: argparse.Namespace) -> None:
    """Carries out one of the commands."""
    if options.command == "list":
        show_list()
        return
    if options.command == "keep":
        print(f"kept: {keep(open_reproduction(options.folder))}")
        return
    if options.command == "ended":
        check_ended(open_reproduction(options.folder), options.target)
        return
    need_matplotlib()  # also before planning: before hours of runs, not after
    if options.command == "plan":
        print(plan(options.target, options.size, options.out, options.data_path, options.device, options.stage))
    else:
        show_report(options.folder, options.record_durations)


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    return exit_status_of(lambda: do(parse_arguments(given)))


if __name__ == "__main__":
    sys.exit(main())
