"""inherent_noise, figure 3: sums over training of dot products, changes in loss and penalties, for three widths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from papers.inherent_noise import QUICK_LAG
from papers.inherent_noise._sums import (
    BATCHES,
    BY_STEPS,
    SUBSCRIPTS,
    both_shares,
    draw_over_loss,
    draw_over_reduction,
    lead_at_end,
    leads,
    reduction,
    share_in_order,
    sums_at_stages,
)
from sgdscope.claims import NONE, Claim, Late, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run, hidden_units

NAMES = ("fc64", "fc2000", "fc8000")
RECENT_LOSS, RECENT_DOT = "taylor.recent.cum_delta_loss", "taylor.recent.cum_dot"
SHARES = "share of the common range of reductions in loss, and of the steps in it,"
AT_END = "at the end of the common range of reductions in loss"
ORDER = "half: more often in this order than not"
RISEN = Late(
    "that a loss is to have risen, not only fallen less, that dot products are to be larger, and that steps count, too"
)


# ------------------------------------------------------------------------------------------- the picture


def _largest_first(runs: Sequence[Run]) -> list[str]:
    """The runs' labels, those of the largest networks first."""
    size = {run.label: hidden_units(run) for run in runs}
    return sorted(size, key=lambda label: size[label], reverse=True)


def draw(results: Results) -> dict[str, Picture]:
    """The paper's grid over the reduction in loss, and the same over the loss itself, every seed a line."""
    return draw_networks(results, NAMES, "fig3")


def draw_networks(results: Results, names: Sequence[str], stem: str) -> dict[str, Picture]:
    """The two grids of three networks, as pictures whose names begin with `stem`."""
    runs = results.runs(*names)
    for run in runs:
        run.label = f"{' and '.join(map(str, hidden_units(run)))} units"
    labels = _largest_first(runs)
    return {stem: draw_over_reduction(runs, labels), f"{stem}_by_loss": draw_over_loss(runs, labels)}


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether first-order sums and penalties grow with the network, on each batch."""
    return claims_of(results, NAMES)


def claims_of(results: Results, names: Sequence[str]) -> list[Claim]:
    """The claims on three networks, the smallest first."""
    found: list[Claim] = []
    for batch, letter, words in reversed(BATCHES):
        x = SUBSCRIPTS[letter]
        for column, sign, kind, symbol, does in (
            (1, 1, "cum_dot", f"Σ η∇B{x}·∇Bᵤ", f"gathered more of first order on the {words}"),
            (3, -1, "cum_penalty", f"−Σ (ΔL{x} − η∇B{x}·∇Bᵤ)", f"paid larger penalties on the {words}"),
        ):
            says = f"At equal reduction in loss, larger networks have {does}."
            place = f"section 4, figure 3, column {column}"
            found += _pair(results, names, says, place, symbol, f"taylor.{batch}.{kind}", sign)
    return [*found, *_risen(results, names)]


def units_of(results: Results) -> list[int]:
    """How many units each network has, the smallest first."""
    return [setting["units"] for setting in results.study.curve("networks")]


def in_order(results: Results) -> str:
    """The networks by their units, in the order that is asked for."""
    return " < ".join(map(str, units_of(results))) + " units"


def _pair(
    results: Results, names: Sequence[str], says: str, place: str, symbol: str, column: str, sign: int
) -> Iterator[Claim]:
    units, lag = units_of(results), Late(QUICK_LAG) if "long_ago" in column else None
    yield Claim(
        says, place, f"{SHARES} where {symbol} is in the order {in_order(results)}",
        both_shares(results, names, f"{units[0]} units", partial(share_in_order, column, sign, reduction)),
        0.5, ORDER, decided_after=Late(f"{BY_STEPS}, and {QUICK_LAG}") if lag else Late(BY_STEPS),
    )  # fmt: skip
    of_pairs = {
        f"{larger} units beside {smaller}": results.measure(lead_at_end(column, sign, place), *names)
        for place, (smaller, larger) in enumerate(itertools.pairwise(units))
    }
    yield Claim(
        says, place, f"{AT_END}, the lead in {symbol} of each network over the next smaller one", of_pairs, 0.0, NONE,
        decided_after=lag,
    )  # fmt: skip


def _risen(results: Results, names: Sequence[str]) -> Iterator[Claim]:
    """That losses of larger networks have risen more on recent batches, while their dot products are larger."""
    says = "On recent batches the loss of larger networks has risen more, although their dot products are larger."
    place, units = "section 4, figure 3, row 2", units_of(results)
    yield Claim(
        says, place,
        f"{SHARES} where −Σ ΔLᵣ and Σ η∇Bᵣ·∇Bᵤ are in the order {in_order(results)}, and the loss of all but the smallest has "
        "risen: −Σ ΔLᵣ > 0",
        both_shares(results, names, f"{units[0]} units", lambda by: lambda *runs: share_risen(runs, by)),
        0.5, ORDER, decided_after=RISEN,
    )  # fmt: skip
    loss, dots = [
        {
            f"{larger} units beside {smaller}, {what}": results.measure(lead_at_end(column, sign, place), *names)
            for place, (smaller, larger) in enumerate(itertools.pairwise(units))
        }
        for column, sign, what in ((RECENT_LOSS, -1, "loss"), (RECENT_DOT, 1, "dot products"))
    ]
    risen = {
        f"{one} units, loss": results.measure(rise_at_end(place), *names) for place, one in enumerate(units) if place
    }
    yield Claim(
        says, place,
        f"{AT_END}, the leads in −Σ ΔLᵣ and in Σ η∇Bᵣ·∇Bᵤ of each network over the next smaller one, and −Σ ΔLᵣ of all but the "
        "smallest itself",
        loss | dots | risen, 0.0, NONE, decided_after=RISEN,
    )  # fmt: skip


def share_risen(runs: Sequence[Run], by_steps: bool) -> Sample:
    """Over what share of the common range, or of the first run's steps, all that `_risen` asks for is so."""
    _, losses = sums_at_stages(runs, RECENT_LOSS, by_steps=by_steps)
    _, dots = leads(runs, RECENT_DOT, 1, by_steps=by_steps)
    conditions = np.concatenate([np.diff(-losses, axis=0), -losses[1:], dots])
    return Sample(float(np.mean(conditions.min(axis=0) > 0)))


def rise_at_end(place: int) -> Callable[..., Sample]:
    """By how much the loss of the network at a place has risen on its recent batches, at the range's end."""
    return lambda *runs: Sample(-float(sums_at_stages(runs, RECENT_LOSS)[1][place, -1]))


FIGURE = Figure(
    title="Sums of dot products, changes in loss and penalties for 64, 2000 and 8000 units",
    did="Trains networks with one hidden layer of 64, 2000 and 8000 units on MNIST at learning rate 0.1, and draws the "
    "running sums of the first-order term, the change in loss and the penalty on a long-ago, a recent and the updating "
    "batch over the reduction in loss so far, by which it compares networks at similar stages of training.",
    shows={
        "fig3": "Each line is one seed. Recent and long-ago batches exist only from step 10 and 300 on, at which the "
        "networks have come to different losses. So that they can be compared, every sum counts from the smallest "
        "reduction in loss at which all networks have begun.",
        "fig3_by_loss": "The same over the loss itself, which spreads the later steps.",
    },
    departures=(
        "'Reduction in loss so far' is taken as the loss on the whole training set at the first step less that now, "
        "from evaluations every 200 steps. Before the first of these the running mean of batch losses stands in.",
        "Most of the reduction in loss comes at the first steps. So shares are measured of the range of reductions, and of the "
        "smallest network's steps in it as well; each is to be more than half.",
        "The range of the long-ago batch begins when all networks have one. With a lag of 300 steps that is when nine tenths of "
        "the reduction are over: what is found of it is about the late part of training only. Size quick takes a lag of 100.",
    ),
    draw=draw,
    claims=claims,
)
