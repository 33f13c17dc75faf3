"""Which papers and figures there are: a package for each paper in scripts/papers, in it a module for each figure."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from sgdscope.durations import Durations, in_words
from sgdscope.errors import Error, suggestion
from sgdscope.figure import Figure, Paper
from sgdscope.studies import Job, Study, load_study, sizes_of

SIZES = ("quick", "desk", "full")  # of the papers' figures, in this order

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "scripts" / "papers"
CONFIGS = ROOT / "configs"


def papers() -> dict[str, Paper]:
    """All papers by their keys."""
    keys = sorted(file.parent.name for file in FOLDER.glob("*/__init__.py"))
    return {key: importlib.import_module(f"papers.{key}").PAPER for key in keys}


def figures(paper: str) -> dict[str, Figure]:
    """All figures of a paper by their names; a module whose name begins with _ is none."""
    names = sorted(file.stem for file in (FOLDER / paper).glob("*.py") if not file.stem.startswith("_"))
    return {name: importlib.import_module(f"papers.{paper}.{name}").FIGURE for name in names}


def study_file(paper: str, figure: str) -> Path:
    """The study file that says what a figure runs."""
    return CONFIGS / paper / f"{figure}.study.json"


@functools.cache
def study_of(paper: str, figure: str, size: str) -> Study:
    """What a figure runs at a size."""
    return load_study(study_file(paper, figure), size)


def sizes_of_paper(paper: str) -> list[str]:
    """All sizes that figures of a paper have: minutes, a night on a workstation, the paper's own, and others."""
    found = dict.fromkeys(size for name in figures(paper) for size in sizes_of(study_file(paper, name)))
    return [size for size in SIZES if size in found] + [size for size in found if size not in SIZES]


def with_size(paper: str, names: Iterable[str], size: str) -> list[str]:
    """Those figures of a paper that have a size."""
    return [name for name in names if size in sizes_of(study_file(paper, name))]


def choose(target: str, size: str) -> tuple[str, list[str]]:
    """The paper and the names of its figures that PAPER or PAPER/FIGURE means: of a whole paper those with the size."""
    paper, slash, figure = target.partition("/")
    known = {key: list(figures(key)) for key in papers()}
    if paper in known and not slash:
        names = with_size(paper, known[paper], size)
        if not names:
            raise Error(target, f"no figure has the size '{size}'", suggestion(size, sizes_of_paper(paper)))
        return paper, names
    if figure in known.get(paper, []):
        study_of(paper, figure, size)
        return paper, [figure]
    names = list(known) + [f"{key}/{name}" for key, of_paper in known.items() for name in of_paper]
    hint = f"{suggestion(target, names)}\n  scripts/reproduce.sh --list shows all, with their titles"
    raise Error(target, "there is no such paper or figure", hint)


def jobs_of(paper: str, names: Iterable[str], size: str) -> list[Job]:
    """The jobs of some figures of a paper, each once, the longest first."""
    jobs = unique_jobs([job for name in names for job in study_of(paper, name, size).jobs()])
    durations = Durations.load(paper)
    return sorted(jobs, key=lambda job: -(durations.seconds(size, job.name) or 0))


def time_of(durations: Durations, paper: str, names: Iterable[str], size: str) -> str:
    """How long the figures' runs take, in words; a question mark where that was never measured, a dash where there are none."""
    having = with_size(paper, names, size)
    if not having:
        return "–"
    seconds = durations.of_all(size, jobs_of(paper, having, size))
    return "?" if seconds is None else in_words(seconds)


def unique_jobs(jobs: Sequence[Job]) -> list[Job]:
    """The jobs in their order, without repetitions."""
    by_folder: dict[str, Job] = {}
    for job in jobs:
        if by_folder.setdefault(job.folder, job) != job:
            hint = "give one of the settings in the figures' studies another name"
            raise Error(job.folder, f"two different jobs have this name: {by_folder[job.folder]} and {job}", hint)
    return list(by_folder.values())
