"""inherent_noise, figure 5: sums over training of dot products, changes in loss and penalties, two residual networks."""

from __future__ import annotations

from collections.abc import Callable

from papers.inherent_noise import IMAGE_NETWORKS, UNJUDGED
from papers.inherent_noise._sums import claims_of_two, draw_over_loss, fall, share_in_order
from sgdscope.claims import Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.lines import LossCurve, batch_means
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run

NAMES = ("resnet18", "wide_resnet50_2")  # the smaller one first
NETWORKS = (IMAGE_NETWORKS[NAMES[0]], IMAGE_NETWORKS[NAMES[1]])
BATCHES_OF_MEAN = 50  # of the running mean that stands for the training loss


def training_loss(run: Run) -> LossCurve:
    """The training loss as the updates see it: the running mean of the batches' own."""
    return batch_means(run, BATCHES_OF_MEAN)


def draw(results: Results) -> dict[str, Picture]:
    """The paper's grid over the loss, every seed a line."""
    runs = results.runs(*NAMES)
    for run in runs:
        run.label = dict(zip(NAMES, NETWORKS))[run.config["model"]["name"]]
    return {"fig5": draw_over_loss(runs, NETWORKS[::-1], training_loss)}


def share(column: str, sign: int) -> Callable[..., Sample]:
    """Over what share of the common range of training losses the sum, times `sign`, is larger for the larger network."""
    return share_in_order(column, sign, fall(training_loss))


def claims(results: Results) -> list[Claim]:
    """Whether the wide network leads for the bulk of training."""
    where = "the training losses that both networks go through"
    return list(claims_of_two(results, NAMES, NETWORKS, "5", share, where))


FIGURE = Figure(
    title="Sums of dot products, changes in loss and penalties for ResNet-18 and Wide ResNet-50",
    did="Trains ResNet-18 and a Wide ResNet-50 of width factor 2 on CIFAR-10 at learning rate 0.01, and draws the sums of "
    "figure 3 for them over the fraction by which the training loss has fallen.",
    shows={
        "fig5": "Each line is one seed. Every sum counts from the largest training loss at which both networks have begun."
    },
    departures=(
        "Networks are compared at equal training loss, not at an equal fraction by which it has fallen: the first losses, "
        "by which the paper divides, differ by chance.",
        "The training loss is the running mean over 50 batches, each normalized by its own mean and variance, as the "
        "updates see it: at the first steps running statistics know nothing yet.",
    ),
    draw=draw,
    claims=claims,
    unjudged=UNJUDGED,
)
