"""inherent_noise, figure 1: penalties on the updating, a recent and a long-ago batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.inherent_noise import NO_MARGIN, NOISE_PASSES, QUICK_LAG, cloud
from sgdscope.claims import HALF, SAME, Claim, Late, Sample, columns_of, mean, ratio_of_means
from sgdscope.figure import Figure
from sgdscope.plots.panels import draw_clouds
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run

UPDATING = ("taylor.updating.penalty", r"$-\hat{L}^h_{B_u}(\nabla B_u)$")
RECENT = ("taylor.recent.penalty", r"$-\hat{L}^h_{B_r}(\nabla B_u)$")
LONG_AGO = ("taylor.long_ago.penalty", r"$-\hat{L}^h_{B_a}(\nabla B_u)$")


def draw(results: Results) -> dict[str, Picture]:
    """Recent over long ago, and updating over recent."""
    return {"fig1": draw_penalties(results, "fc8000")}


def draw_penalties(results: Results, name: str) -> Picture:
    """The two panels of a network."""
    pairs = [(LONG_AGO, RECENT), (RECENT, UPDATING)]
    return draw_clouds([cloud(results, name, x, y) for x, y in pairs])


def claims(results: Results) -> list[Claim]:
    """The order of the three penalties, by steps and by means."""
    return claims_of(results, "fc8000")


def claims_of(results: Results, name: str, network: str = "") -> list[Claim]:
    """The claims on one network, which `network` names where there are several."""
    updating, recent, long_ago = "|−L̂ʰ(Bᵤ)|", "|−L̂ʰ(Bᵣ)|", "|−L̂ʰ(Bₐ)|"
    pairs = (
        ("The updating batch pays a larger penalty than a recent one.", updating, recent, UPDATING, RECENT),
        ("A recent batch pays a larger penalty than one of long ago.", recent, long_ago, RECENT, LONG_AGO),
    )
    place, which = "section 3, figure 1", f"{network}: " if network else ""
    found = []
    for says, larger, smaller, (larger_column, _), (smaller_column, _) in pairs:
        columns = (larger_column, smaller_column)
        noise = f" {NOISE_PASSES}" if larger == updating else ""
        late = Late(f"{NO_MARGIN.what}, and {QUICK_LAG}") if smaller == long_ago and not network else NO_MARGIN
        share = results.measure(lambda run, c=columns: share_larger(run, c), name)
        ratio = results.measure(lambda run, c=columns: ratio_larger(run, c), name)
        found += [
            Claim(
                says,
                place,
                f"{which}share of steps with {larger} ≥ {smaller}{noise}",
                share,
                0.5,
                HALF,
                decided_after=late,
            ),
            Claim(
                says, place, f"{which}mean {larger} over mean {smaller}{noise}", ratio, 1.0, SAME, decided_after=late
            ),
        ]
    return found


def share_larger(run: Run, columns: Sequence[str]) -> Sample:
    """The share of steps at which the first column's magnitude is not below the second's."""
    larger, smaller = columns_of(run, columns)
    return mean(np.abs(larger) >= np.abs(smaller))


def ratio_larger(run: Run, columns: Sequence[str]) -> Sample:
    """The mean magnitude of the first column over that of the second."""
    larger, smaller = columns_of(run, columns)
    return ratio_of_means(np.abs(larger), np.abs(smaller))


FIGURE = Figure(
    title="Penalties on the updating, a recent and a long-ago batch",
    did="Trains a network with one hidden layer of 8000 units on MNIST and draws, for every step, the penalty on a "
    "recent batch over that on a long-ago one, and that on the updating batch over that on the recent one.",
    shows={
        "fig1": "Each point is a step. Penalties are negative, so a point below the line y = x is a step at which the "
        "quantity on the vertical axis has the larger magnitude."
    },
    departures=("The panels of AlexNet and ResNet-18 on CIFAR-10 are those of `inherent_noise/fig1_cifar10`.",),
    draw=draw,
    claims=claims,
)
