"""Runs as data, and what is made of them: studies, jobs, run folders, frames, pictures, claims, reports, and times of peers.

`sgdscope.read("runs/*")` gives run folders as data frames; scripts/README.md shows how.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sgdscope.reader import Runs


def read(*patterns: str | PathLike[str]) -> Runs:
    """The runs in these folders; * and ** stand for any names."""
    from sgdscope.reader import read_runs  # late: not all that imports this package has NumPy

    return read_runs(*patterns)
