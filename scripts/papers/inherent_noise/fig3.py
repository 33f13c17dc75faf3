"""inherent_noise, figure 3: sums over training of dot products, changes in loss and penalties, for three widths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from papers.inherent_noise._sums import (
    BATCHES,
    BULK,
    SUBSCRIPTS,
    draw_over_loss,
    draw_over_reduction,
    lead_at_end,
    share_in_order,
)
from sgdscope.claims import NONE, Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run, hidden_units

NAMES = ("fc64", "fc2000", "fc8000")


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
        dots, penalties = f"Σ η∇B{SUBSCRIPTS[letter]}·∇Bᵤ", f"−Σ (ΔL{SUBSCRIPTS[letter]} − η∇B{SUBSCRIPTS[letter]}·∇Bᵤ)"
        says = f"At equal reduction in loss, larger networks have gathered more of first order on the {words}."
        found += _pair(results, names, says, "section 4, figure 3, column 1", dots, f"taylor.{batch}.cum_dot", 1)
        says = f"At equal reduction in loss, larger networks have paid larger penalties on the {words}."
        found += _pair(
            results, names, says, "section 4, figure 3, column 3", penalties, f"taylor.{batch}.cum_penalty", -1
        )
    says = "On recent batches the loss of larger networks has risen more, although their dot products are larger."
    found += _pair(results, names, says, "section 4, figure 3, row 2", "−Σ ΔLᵣ", "taylor.recent.cum_delta_loss", -1)
    return found


def _pair(
    results: Results, names: Sequence[str], says: str, place: str, symbol: str, column: str, sign: int
) -> Iterator[Claim]:
    share = f"share of the common range of reductions in loss where {symbol} is in the order 64 < 2000 < 8000 units"
    lead = f"at its end, the leads in {symbol} of 2000 over 64 and of 8000 over 2000 units"
    ordered = results.measure(share_in_order(column, sign), *names, discrete=True)
    yield Claim(says, place, share, ordered, 0.5, BULK)
    units = itertools.pairwise(setting["units"] for setting in results.study.curve("networks"))
    of_pairs = {
        f"{larger} units beside {smaller}": results.measure(lead_at_end(column, sign, place), *names)
        for place, (smaller, larger) in enumerate(units)
    }
    yield Claim(says, place, lead, of_pairs, 0.0, NONE)


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
    ),
    draw=draw,
    claims=claims,
)
