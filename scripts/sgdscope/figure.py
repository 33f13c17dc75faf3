"""What a figure of a paper is made of. Each is described in one file, scripts/papers/PAPER/FIGURE.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

    from sgdscope.claims import Claim
    from sgdscope.document import Table
    from sgdscope.results import Results


@dataclass(frozen=True)
class Job:
    """A run: a config, what of it is overridden, and the seed. Figures that ask for equal jobs share the run."""

    name: str  # of what is run; with the seed it names the run folder
    config: str  # relative to the repository
    seed: int
    overrides: tuple[str, ...] = ()  # PATH=VALUE
    seconds: float = 0  # on one core of the paper's `measured_on`; the longest begins first

    @property
    def folder(self) -> str:
        """The name of the run folder: it says what was run, and nothing of the figures that use it."""
        return f"{self.name},seed={self.seed}"


@dataclass(frozen=True)
class Paper:
    """What the figures of a paper have in common."""

    about: str  # in one line
    measured_on: str  # the machine on which the jobs' times were taken
    departures: tuple[str, ...]  # of all figures, from what the paper did
    quick: str  # what --quick leaves out


@dataclass(frozen=True)
class Figure:
    """A figure of a paper, or of ours in a paper's matter."""

    title: str
    did: str  # what the paper does there, in sentences of which the first one lacks its subject, the paper
    shows: Mapping[str, str]  # how to read each picture, by its name
    departures: tuple[str, ...]  # beyond those of the whole paper
    jobs: Callable[[bool], Sequence[Job]]  # of the quick variant, or of the full one
    draw: Callable[[Results], Mapping[str, Picture]]  # by file name, without its ending
    claims: Callable[[Results], Sequence[Claim]]
    tables: Callable[[Results], Sequence[Table]] = lambda results: ()  # below the claims
