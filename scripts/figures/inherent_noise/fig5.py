"""inherent_noise, figure 5: sums over training of dot products, changes in loss and penalties, two residual networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from figures.inherent_noise import IMAGE_NETWORKS, image_jobs
from figures.inherent_noise._sums import COLUMNS, claims_of_two, draw_sums, share_in_order, sums_from_common_start
from reproduction.claims import Claim, Sample
from reproduction.figure import Figure, Job
from reproduction.results import Results
from sgdplot.lines import batch_means
from sgdplot.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

NAMES = ("resnet18", "wide_resnet50_2")  # the smaller one first
NETWORKS = tuple(IMAGE_NETWORKS[name][0] for name in NAMES)
BATCHES_OF_MEAN = 50  # of the running mean that stands for the training loss


def jobs(quick: bool) -> list[Job]:
    """Both networks."""
    return image_jobs(NAMES, quick)


def draw(results: Results) -> dict[str, Picture]:
    """The paper's grid over the fraction by which the loss has fallen, every seed a line."""
    runs = results.runs(*NAMES)
    for run in runs:
        run.label = dict(zip(NAMES, NETWORKS))[run.config["model"]["name"]]
    lines = [sums_from_common_start(runs, column, fraction) for column in COLUMNS]
    label = f"fraction by which the training loss has fallen so far\n({batch_means(runs[0], BATCHES_OF_MEAN).source})"
    return {"fig5": draw_sums(runs, lines, NETWORKS[::-1], label, None)}


def fraction(run: Run) -> np.ndarray:
    """By which the training loss has fallen, at each row."""
    curve = batch_means(run, BATCHES_OF_MEAN)
    return curve.reduction(run.metrics["step"]) / curve.losses[0]


def share(column: str, sign: int) -> Callable[..., Sample]:
    """Over what share of the common range of fractions the sum, times `sign`, is larger for the larger network."""
    return share_in_order(column, sign, fraction)


def claims(results: Results) -> list[Claim]:
    """Whether the wide network leads for the bulk of training."""
    where = "the fractions by which the loss of both networks falls"
    return list(claims_of_two(results, NAMES, NETWORKS, "5", share, where))


FIGURE = Figure(
    title="Sums of dot products, changes in loss and penalties for ResNet-18 and Wide ResNet-50",
    did="Trains ResNet-18 and a Wide ResNet-50 of width factor 2 on CIFAR-10 at learning rate 0.01, and draws the sums of "
    "figure 3 for them over the fraction by which the training loss has fallen.",
    shows={
        "fig5": "Each line is one seed. Every sum counts from the smallest fraction at which both networks have begun.",
    },
    departures=(
        "The training loss is the running mean over 50 batches, each normalized by its own mean and variance, as the "
        "updates see it: at the first steps running statistics know nothing yet.",
    ),
    jobs=jobs,
    draw=draw,
    claims=claims,
)
