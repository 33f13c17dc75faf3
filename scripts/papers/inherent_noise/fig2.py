"""inherent_noise, figure 2: first-order terms of the updating, a recent and a long-ago batch."""

from __future__ import annotations

from collections.abc import Sequence

from papers.inherent_noise import NO_MARGIN, QUICK_LAG, cloud
from sgdscope.claims import HALF, NONE, Claim, Late, Sample, columns_of, mean
from sgdscope.figure import Figure
from sgdscope.plots.panels import draw_clouds
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run

UPDATING = ("taylor.updating.dot", r"$\eta\,\nabla B_u\cdot\nabla B_u$")
RECENT = ("taylor.recent.dot", r"$\eta\,\nabla B_r\cdot\nabla B_u$")
LONG_AGO = ("taylor.long_ago.dot", r"$\eta\,\nabla B_a\cdot\nabla B_u$")

# Why nothing is concluded at any size: the mean of g·g − g'·g of two batches that one could exchange is E‖g − g'‖² / 2.
BY_CONSTRUCTION = dict.fromkeys(
    ("quick", "desk", "full"),
    "a batch's gradient has in the mean a larger dot product with itself than with that of any other batch of the same kind, "
    "whatever the network, so that the order cannot be missed",
)


def draw(results: Results) -> dict[str, Picture]:
    """Recent over long ago, and updating over recent."""
    return {"fig2": draw_dots(results, "fc8000")}


def draw_dots(results: Results, name: str) -> Picture:
    """The two panels of a network."""
    pairs = [(LONG_AGO, RECENT), (RECENT, UPDATING)]
    return draw_clouds([cloud(results, name, x, y) for x, y in pairs])


def claims(results: Results) -> list[Claim]:
    """The updating batch above the two others, by steps and by means."""
    return claims_of(results, "fc8000")


def claims_of(results: Results, name: str) -> list[Claim]:
    """The claims on one network."""
    others = (("a recent batch", "η∇Bᵣ·∇Bᵤ", RECENT), ("a long-ago batch", "η∇Bₐ·∇Bᵤ", LONG_AGO))
    place = "section 3, figure 2"
    found = []
    for words, symbol, (column, _) in others:
        says = f"The updating batch has a larger dot product with its own gradient than {words} has."
        columns = (UPDATING[0], column)
        share = results.measure(lambda run, c=columns: share_above(run, c), name)
        lead = results.measure(lambda run, c=columns: mean_lead(run, c), name)
        lag = Late(QUICK_LAG) if column == LONG_AGO[0] and name == "fc8000" else None  # that on MNIST
        late = Late(f"{NO_MARGIN.what}, and {lag.what}") if lag else NO_MARGIN
        found += [
            Claim(says, place, f"share of steps with η∇Bᵤ·∇Bᵤ > {symbol}", share, 0.5, HALF, decided_after=late),
            Claim(says, place, f"mean of η∇Bᵤ·∇Bᵤ − {symbol}", lead, 0.0, NONE, decided_after=lag),
        ]
    return found


def share_above(run: Run, columns: Sequence[str]) -> Sample:
    """The share of steps at which the first column is above the second."""
    above, below = columns_of(run, columns)
    return mean(above > below)


def mean_lead(run: Run, columns: Sequence[str]) -> Sample:
    """The mean of the first column less the second."""
    above, below = columns_of(run, columns)
    return mean(above - below)


FIGURE = Figure(
    title="Dot products of the updating batch's gradient with its own, a recent and a long-ago one",
    did="Draws, for every step of the network with 8000 units on MNIST, the first-order term of a recent batch over "
    "that of a long-ago one, and that of the updating batch over that of the recent one.",
    shows={
        "fig2": "Each point is a step. A point above the line y = x is a step at which the quantity on the vertical "
        "axis is the larger one."
    },
    departures=(
        "The panels of ResNet-18 on CIFAR-10 are those of `inherent_noise/fig2_cifar10`.",
        "Of two batches that one could exchange, because neither has been trained on, |g|² − g·g' has the mean ½ E|g − g'|², "
        "and not both products can be above both squares: the lead cannot be below 0 nor the share below half, whatever the network. The "
        "numbers are no evidence; they would be if a batch that was never trained on were subtracted.",
    ),
    draw=draw,
    claims=claims,
    unjudged=BY_CONSTRUCTION,
)
