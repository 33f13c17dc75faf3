"""inherent_noise, figure 4: sums over training of dot products, changes in loss and penalties, AlexNet and small AlexNet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from papers.inherent_noise import IMAGE_NETWORKS, UNJUDGED
from papers.inherent_noise._sums import claims_of_two, draw_over_loss, draw_over_reduction, fall, leads
from sgdscope.claims import Claim, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run

NAMES = ("alexnet_small", "alexnet")  # the smaller one first
NETWORKS = (IMAGE_NETWORKS[NAMES[0]], IMAGE_NETWORKS[NAMES[1]])
TURN = 1.0  # the training loss at which, says the paper, the order of the networks turns round
NEAR = math.log2(1.5)  # of the ratio of two losses that are about the same

WHY_NEAR = "'about' is a factor of 1.5 at most"


def draw(results: Results) -> dict[str, Picture]:
    """The paper's grid over the reduction in loss, and the same over the loss itself, every seed a line."""
    runs = results.runs(*NAMES)
    for run in runs:
        run.label = dict(zip(NAMES, NETWORKS))[run.config["model"]["name"]]
    return {"fig4": draw_over_reduction(runs, NETWORKS[::-1]), "fig4_by_loss": draw_over_loss(runs, NETWORKS[::-1])}


# -------------------------------------------------------------------------------------------- the claims


def share_before_turn(column: str, sign: int) -> Callable[..., Sample]:
    """Over what share of the training losses above TURN the sum, times `sign`, is larger for AlexNet."""

    def of(small: Run, large: Run) -> Sample:
        minus_loss, (lead,) = leads([small, large], column, sign, fall())
        before = -minus_loss > TURN
        if not before.any():
            raise TooLittle(f"{column}: there is no training loss above {TURN:g} that both networks have gone through")
        return Sample(float(np.mean(lead[before] > 0)))

    return of


def loss_at_crossing(small: Run, large: Run) -> float:
    """The training loss from which on AlexNet's sum of first order on its updating batches is the smaller one."""
    minus_loss, (lead,) = leads([small, large], "taylor.updating.cum_dot", 1, fall())
    ahead = np.flatnonzero(lead > 0)
    if not ahead.size or ahead[-1] == lead.size - 1:
        last = f"down to a training loss of {-minus_loss[-1]:.2g}"
        raise TooLittle(
            f"{last} {'no' if not ahead.size else 'every last'} sum of {large.folder.name} is the larger one"
        )
    return -float(minus_loss[ahead[-1]])


def loss_at_turn(small: Run, large: Run) -> float:
    """The training loss at which AlexNet's lead in that sum is the largest: from there on its terms are the smaller ones."""
    minus_loss, (lead,) = leads([small, large], "taylor.updating.cum_dot", 1, fall())
    best = int(lead.argmax())
    if best in (0, lead.size - 1):
        raise TooLittle(f"the lead of {large.folder.name} has no largest value within the common range of losses")
    return -float(minus_loss[best])


# What of the sums of first order turns round, as it is measured, and where.
TURNS: Sequence[tuple[str, Callable[[Run, Run], float]]] = (
    ("at which AlexNet's Σ η∇Bᵤ·∇Bᵤ falls below small AlexNet's", loss_at_crossing),
    ("at which AlexNet's lead in Σ η∇Bᵤ·∇Bᵤ is the largest", loss_at_turn),
)


def log_ratio(one: float, other: float) -> Sample:
    """Of two losses, with base 2: 0 if they are the same."""
    return Sample(math.log2(one / other))


def claims(results: Results) -> list[Claim]:
    """Whether AlexNet leads down to a training loss of about 1.0, and whether the order turns round there."""
    where = f"the training losses above {TURN:g} that both networks go through"
    found = list(claims_of_two(results, NAMES, NETWORKS, "4", share_before_turn, where))
    for words, loss_at in TURNS:
        found.append(
            Claim(
                f"AlexNet's dot products and penalties are the larger ones until a training loss of about {TURN:.1f}.",
                "section 4, figure 4",
                f"log2 of the ratio of the training loss {words}, to {TURN:.1f}",
                results.measure(lambda small, large, at=loss_at: log_ratio(at(small, large), TURN), *NAMES),
                NEAR,
                WHY_NEAR,
                about=0.0,
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
        "Networks are compared at equal training loss on the whole training set, from one evaluation in an epoch.",
    ),
    draw=draw,
    claims=claims,
    unjudged=UNJUDGED,
)
