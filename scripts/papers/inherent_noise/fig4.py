"""inherent_noise, figure 4: sums over training of dot products, changes in loss and penalties, AlexNet and small AlexNet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from papers.inherent_noise import IMAGE_NETWORKS, UNJUDGED
from papers.inherent_noise._sums import (
    BATCHES,
    BY_STEPS,
    claims_of_two,
    draw_over_loss,
    draw_over_reduction,
    fall,
    leads,
)
from sgdscope.claims import Claim, Late, Measurement, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run

NAMES = ("alexnet_small", "alexnet")  # the smaller one first
NETWORKS = (IMAGE_NETWORKS[NAMES[0]], IMAGE_NETWORKS[NAMES[1]])
TURN = 1.0  # the training loss at which, says the paper, the order of the networks turns round
NEAR = math.log2(1.5)  # of the ratio of two losses that are about the same

LATE = f"{BY_STEPS}, and all losses that both go through in place of those above {TURN:g}"
WHY_NEAR = "'about' is a factor of 1.5 at most"


def draw(results: Results) -> dict[str, Picture]:
    """The paper's grid over the reduction in loss, and the same over the loss itself, every seed a line."""
    runs = results.runs(*NAMES)
    for run in runs:
        run.label = dict(zip(NAMES, NETWORKS))[run.config["model"]["name"]]
    return {"fig4": draw_over_reduction(runs, NETWORKS[::-1]), "fig4_by_loss": draw_over_loss(runs, NETWORKS[::-1])}


# -------------------------------------------------------------------------------------------- the claims


@dataclass(frozen=True)
class Bound:
    """A training loss, or what it is at most (side −1) or at least (side 1) where runs end before it or begin after it."""

    loss: float
    side: int = 0


def loss_at_crossing(column: str, sign: int, small: Run, large: Run) -> Bound:
    """The training loss from which on AlexNet's sum, times `sign`, is the smaller one."""
    minus_loss, (lead,) = leads([small, large], column, sign, fall())
    ahead = np.flatnonzero(lead > 0)
    return _place(minus_loss, int(ahead[-1]) if ahead.size else 0)


def loss_at_turn(column: str, sign: int, small: Run, large: Run) -> Bound:
    """The training loss at which AlexNet's lead in that sum is the largest: from there on its terms are the smaller ones."""
    minus_loss, (lead,) = leads([small, large], column, sign, fall())
    return _place(minus_loss, int(lead.argmax()))


def _place(minus_loss: np.ndarray, at: int) -> Bound:
    return Bound(-float(minus_loss[at]), {0: 1, minus_loss.size - 1: -1}.get(at, 0))


# What turns round, as it is measured, and where.
TURNS: Sequence[tuple[str, Callable[[str, int, Run, Run], Bound]]] = (
    ("at which AlexNet's sum falls below small AlexNet's", loss_at_crossing),
    ("at which AlexNet's lead in the sum is the largest", loss_at_turn),
)
SUMS = {"dot products": ("cum_dot", 1), "penalties": ("cum_penalty", -1)}


def log_ratio(one: Bound, other: float) -> Sample:
    """Of two losses, with base 2: 0 if they are the same. A bound stands for the loss where even it is not about the other."""
    value = math.log2(one.loss / other)
    if one.side and one.side * value <= NEAR:
        most = "most" if one.side < 0 else "least"
        raise TooLittle(
            f"the training loss is at {most} {one.loss:.2g}, which leaves open whether it is about {other:.2g}"
        )
    return Sample(value)


def ratios(
    results: Results,
    loss_at: Callable[[str, int, Run, Run], Bound],
    other: Callable[[Run], float],
    sums: Iterable[str] = SUMS,
) -> dict[str, Measurement]:
    """The log2 of the loss at which each of AlexNet's sums turns round, over another loss of it, on each batch."""

    def of(column: str, sign: int) -> Callable[[Run, Run], Sample]:
        return lambda small, large: log_ratio(loss_at(column, sign, small, large), other(large))

    return {
        f"{what} on the {words}": results.measure(of(f"taylor.{batch}.{SUMS[what][0]}", SUMS[what][1]), *NAMES)
        for batch, _, words in reversed(BATCHES)
        for what in sums
    }


def claims(results: Results) -> list[Claim]:
    """Whether AlexNet leads for the bulk of training, and whether the order turns round at a training loss of about 1.0."""
    found = list(
        claims_of_two(results, NAMES, NETWORKS, "4", fall(), "the training losses that both networks go through", LATE)
    )
    for words, loss_at in TURNS:
        found.append(
            Claim(
                f"AlexNet's dot products and penalties are the larger ones until a training loss of about {TURN:.1f}.",
                "section 4, figure 4",
                f"log2 of the ratio of the training loss {words}, to {TURN:.1f}, for the sums of dot products and of penalties on "
                "each batch",
                ratios(results, loss_at, lambda _: TURN),
                NEAR,
                WHY_NEAR,
                about=0.0,
                decided_after=Late(
                    "that penalties, and recent and long-ago batches, count, too, and what follows where AlexNet leads to the end",
                    {"quick": [1]},
                ),
            )
        )
    return found


FIGURE = Figure(
    title="Sums of dot products, changes in loss and penalties for AlexNet and small AlexNet",
    did="Trains AlexNet and a small AlexNet, which has one fully connected layer of 256 in place of two of 4096, on "
    "CIFAR-10 at learning rate 0.01, and draws the sums of figure 3 for them.",
    shows={
        "fig4": "Each line is one seed. As in figure 3 every sum counts from the smallest reduction in loss at which both "
        "networks have begun.",
        "fig4_by_loss": "The same over the loss itself, at which the claims compare the networks.",
    },
    departures=(
        "The paper does not say whether its sums cross, or their terms, at a training loss of about 1.0. Here the claim is "
        "judged for either; 'about the same' is taken as within a factor of 1.5.",
        "Where AlexNet leads to the end of what both have gone through, the last loss is what the sums cross at most; it says no "
        "if even it is more than that factor below 1.0, and nothing otherwise.",
        "Networks are compared at equal training loss on the whole training set, from one evaluation in an epoch. 'The bulk of "
        "training' is more than half of all losses that both go through, and of small AlexNet's steps there.",
    ),
    draw=draw,
    claims=claims,
    unjudged=UNJUDGED,
)
