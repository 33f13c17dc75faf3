"""inherent_noise, figure 2 on CIFAR-10: first-order terms of the updating, a recent and a long-ago batch of ResNet-18."""

from __future__ import annotations

from papers.inherent_noise import UNJUDGED
from papers.inherent_noise.fig2 import BY_CONSTRUCTION, claims_of, draw_dots
from sgdscope.claims import Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results


def draw(results: Results) -> dict[str, Picture]:
    """Recent over long ago, and updating over recent."""
    return {"fig2_resnet18": draw_dots(results, "resnet18")}


def claims(results: Results) -> list[Claim]:
    """The updating batch above the two others."""
    return claims_of(results, "resnet18")


FIGURE = Figure(
    title="Dot products of the updating batch's gradient with its own, a recent and a long-ago one: ResNet-18 on CIFAR-10",
    did="Draws the dot products of figure 2 also for ResNet-18 on CIFAR-10.",
    shows={
        "fig2_resnet18": "Each point is a step. A point above the line y = x is a step at which the quantity on the "
        "vertical axis is the larger one."
    },
    departures=("The order of the updating batch and the others cannot be missed, as in `inherent_noise/fig2`.",),
    draw=draw,
    claims=claims,
    unjudged=BY_CONSTRUCTION | UNJUDGED,
)
