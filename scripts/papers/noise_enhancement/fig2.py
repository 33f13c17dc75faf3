"""noise_enhancement, figure 2: as figure 1, for the networks F1 and C2 and alpha = 1 and 1.5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papers.noise_enhancement import jobs_of, over_batches
from papers.noise_enhancement._curves import (
    add_legend,
    best_batches,
    claims_over_batches,
    curve,
    draw_over_batches,
    is_quick,
    need_some,
)
from sgdscope.claims import Claim
from sgdscope.document import Table
from sgdscope.figure import Figure, Job
from sgdscope.plots.style import COLOURS, Stroke, new_figure
from sgdscope.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

NETWORKS = {True: ("F1",), False: ("F1", "C2")}  # quick, full
ALPHAS = (1, 1.5)


def jobs(quick: bool) -> list[Job]:
    """All batch sizes with both alpha."""
    settings = [s for network in NETWORKS[quick] for alpha in ALPHAS for s in over_batches(network, alpha, quick)]
    return jobs_of(settings, quick)


def draw(results: Results) -> dict[str, Picture]:
    """The paper's panels: a row for each network."""
    need_some(results)
    quick = is_quick(results)
    networks = NETWORKS[quick]
    figure = new_figure(8.4, 3.4 * len(networks) + 0.2)
    for panels, network in zip(figure.subplots(len(networks), 2, squeeze=False), networks):
        for alpha, colour in zip(ALPHAS, COLOURS):
            draw_over_batches(
                panels, curve(results, over_batches(network, alpha, quick)), Stroke(f"α = {alpha:g}", colour)
            )
        panels[0].set_title(network, loc="left")
        add_legend(panels[1])
    return {"fig2": figure}


def claims(results: Results) -> list[Claim]:
    """The same as for C1."""
    place = "section 3.1, figure 2"
    return [
        claim
        for network in NETWORKS[is_quick(results)]
        for claim in claims_over_batches(results, network, ALPHAS, place)
    ]


def tables(results: Results) -> list[Table]:
    """Table 2, of these networks."""
    return best_batches(results, NETWORKS[is_quick(results)], ALPHAS)


FIGURE = Figure(
    title="Test accuracy and convergence time against the batch size, for other networks",
    did="Trains the fully connected network F1 on Fashion-MNIST and the convolutional network C2 on CIFAR-100 as it trained "
    "C1, without noise enhancement and with α = 1.5.",
    shows={
        "fig2": "Mean and standard deviation over the seeds; settings of which a run did not reach L** are left out. "
        "Convergence time: steps until the training loss is L**.",
    },
    departures=("The quick variant has no C2.",),
    jobs=jobs,
    draw=draw,
    claims=claims,
    tables=tables,
)
