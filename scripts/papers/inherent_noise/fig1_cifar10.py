"""inherent_noise, figure 1 on CIFAR-10: penalties on the updating, a recent and a long-ago batch of AlexNet and ResNet-18."""

from __future__ import annotations

from papers.inherent_noise import IMAGE_NETWORKS, UNJUDGED
from papers.inherent_noise.fig1 import claims_of, draw_penalties
from sgdscope.claims import Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results

NAMES = ("alexnet", "resnet18")
SHOWS = (
    "Each point is a step. A point below the line y = x: the quantity on the vertical axis is the more negative one."
)


def draw(results: Results) -> dict[str, Picture]:
    """Draws, for each network, penalties of recent over long-ago batches, and of updating over recent ones."""
    return {f"fig1_{name}": draw_penalties(results, name) for name in NAMES}


def claims(results: Results) -> list[Claim]:
    """The order of the three penalties, for each network."""
    return [claim for name in NAMES for claim in claims_of(results, name, IMAGE_NETWORKS[name])]


FIGURE = Figure(
    title="Penalties on the updating, a recent and a long-ago batch: AlexNet and ResNet-18 on CIFAR-10",
    did="Draws the penalties of figure 1 also for AlexNet and ResNet-18 on CIFAR-10.",
    shows={f"fig1_{name}": f"{IMAGE_NETWORKS[name]}. {SHOWS}" for name in NAMES},
    departures=("None beyond those of the whole paper.",),
    draw=draw,
    claims=claims,
    unjudged=UNJUDGED,
)
