"""What a figure of a paper is made of, but for its runs: those are configs/PAPER/FIGURE.study.json.

Each is described in one file, scripts/papers/PAPER/FIGURE.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

    from sgdscope.claims import Claim
    from sgdscope.document import Table
    from sgdscope.results import Results


@dataclass(frozen=True)
class Paper:
    """What the figures of a paper have in common."""

    about: str  # in one line
    sources: tuple[str, ...]  # authors, title, where and when: of the paper, or of those that its figures are about
    departures: tuple[str, ...]  # of all figures, from what the paper did
    sizes: Mapping[str, str]  # what a size leaves out, in words; nothing of those that are the paper's own


@dataclass(frozen=True)
class Figure:
    """A figure of a paper, or of ours in a paper's matter."""

    title: str
    did: str  # what the paper does there, in sentences of which the first one lacks its subject, the paper
    shows: Mapping[str, str]  # how to read each picture, by its name
    departures: tuple[str, ...]  # beyond those of the whole paper
    draw: Callable[[Results], Mapping[str, Picture]]  # by file name, without its ending
    claims: Callable[[Results], Sequence[Claim]]
    unjudged: Mapping[str, str] = field(default_factory=dict)  # by size, why its runs give numbers but no verdicts
    tables: Callable[[Results], Sequence[Table]] = lambda results: ()  # below the claims
