"""Which papers and figures there are: a package for each paper in scripts/papers, in it a module for each figure."""

from __future__ import annotations

import importlib
from pathlib import Path

from sgdscope.errors import Error
from sgdscope.figure import Figure, Paper
from sgdscope.runs import suggestion

FOLDER = Path(__file__).resolve().parent.parent / "papers"


def papers() -> dict[str, Paper]:
    """All papers by their keys."""
    keys = sorted(file.parent.name for file in FOLDER.glob("*/__init__.py"))
    return {key: importlib.import_module(f"papers.{key}").PAPER for key in keys}


def figures(paper: str) -> dict[str, Figure]:
    """All figures of a paper by their names; a module whose name begins with _ is none."""
    names = sorted(file.stem for file in (FOLDER / paper).glob("*.py") if not file.stem.startswith("_"))
    return {name: importlib.import_module(f"papers.{paper}.{name}").FIGURE for name in names}


def choose(target: str) -> tuple[str, list[str]]:
    """The paper and the names of its figures that PAPER or PAPER/FIGURE means."""
    paper, slash, figure = target.partition("/")
    known = {key: list(figures(key)) for key in papers()}
    if paper in known and not slash:
        return paper, known[paper]
    if figure in known.get(paper, []):
        return paper, [figure]
    names = list(known) + [f"{key}/{name}" for key, of_paper in known.items() for name in of_paper]
    hint = f"{suggestion(target, names)}\n  scripts/reproduce.sh --list shows all, with their titles"
    raise Error(target, "there is no such paper or figure", hint)
