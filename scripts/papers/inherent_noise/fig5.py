"""inherent_noise, figure 5: sums over training of dot products, changes in loss and penalties, two residual networks."""

from __future__ import annotations

from papers.inherent_noise import IMAGE_NETWORKS, UNJUDGED
from papers.inherent_noise._sums import claims_of_two, draw_over_fraction, draw_over_loss, fall, fraction
from sgdscope.claims import Claim
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
    """The paper's grid over the fraction by which the loss has fallen, and the same over the loss, every seed a line."""
    runs = results.runs(*NAMES)
    for run in runs:
        run.label = dict(zip(NAMES, NETWORKS))[run.config["model"]["name"]]
    return {
        "fig5": draw_over_fraction(runs, NETWORKS[::-1], training_loss),
        "fig5_by_loss": draw_over_loss(runs, NETWORKS[::-1], training_loss),
    }


def claims(results: Results) -> list[Claim]:
    """Whether the wide network leads for the bulk of training, on the paper's axis and at equal loss."""
    axes = {
        "the fractions by which the training loss of both networks has fallen": fraction(training_loss),
        "the training losses that both networks go through": fall(training_loss),
    }
    return [
        claim
        for where, progress in axes.items()
        for claim in claims_of_two(results, NAMES, NETWORKS, "5", progress, where)
    ]


FIGURE = Figure(
    title="Sums of dot products, changes in loss and penalties for ResNet-18 and Wide ResNet-50",
    did="Trains ResNet-18 and a Wide ResNet-50 of width factor 2 on CIFAR-10 at learning rate 0.01, and draws the sums of "
    "figure 3 for them over the fraction by which the training loss has fallen.",
    shows={
        "fig5": "Each line is one seed. Every sum counts from the smallest fraction at which both networks have begun.",
        "fig5_by_loss": "The same over the loss itself: every sum counts from the largest loss at which both have begun.",
    },
    departures=(
        "Networks are compared on the paper's axis, the fraction by which the training loss has fallen, and also at equal "
        "loss: the first losses, by which the paper divides, differ by chance.",
        "'The bulk of training' is more than half of that range, and also more than half of ResNet-18's steps in it.",
        "The training loss is the running mean over 50 batches, each normalized by its own mean and variance, as the "
        "updates see it: at the first steps running statistics know nothing yet.",
    ),
    draw=draw,
    claims=claims,
    unjudged=UNJUDGED,
)
