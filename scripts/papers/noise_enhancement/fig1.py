"""noise_enhancement, figure 1: test accuracy and convergence time against the batch size, for several alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papers.noise_enhancement import jobs_of, over_batches
from papers.noise_enhancement._curves import (
    add_legend,
    best_batches,
    claims_over_batches,
    curve,
    draw_over_batches,
    gap,
    is_quick,
    measured,
    need_some,
)
from sgdscope.claims import Claim
from sgdscope.document import Table
from sgdscope.figure import Figure, Job
from sgdscope.plots.style import Stroke, new_figure, shades
from sgdscope.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

NETWORK = {True: "F1", False: "C1"}  # quick, full
ALPHAS = {True: (1, 1.5, 2), False: (1, 1.5, 2, 2.5)}


def jobs(quick: bool) -> list[Job]:
    """All batch sizes with every alpha."""
    return jobs_of(
        [setting for alpha in ALPHAS[quick] for setting in over_batches(NETWORK[quick], alpha, quick)], quick
    )


def draw(results: Results) -> dict[str, Picture]:
    """The paper's two panels."""
    need_some(results)
    quick = is_quick(results)
    figure = new_figure(8.4, 3.6)
    panels = figure.subplots(1, 2)
    for alpha, colour in zip(ALPHAS[quick], shades(len(ALPHAS[quick]))):
        drawn = curve(results, over_batches(NETWORK[quick], alpha, quick))
        draw_over_batches(panels, drawn, Stroke(f"α = {alpha:g}", colour))
    panels[0].set_title(NETWORK[quick], loc="left")
    add_legend(panels[1])
    return {"fig1": figure}


def claims(results: Results) -> list[Claim]:
    """What the paper says of the best batch size, and of large batches."""
    quick, place = is_quick(results), "section 3.1, figure 1"
    network, alphas = NETWORK[quick], ALPHAS[quick]
    plain, strong = (curve(results, over_batches(network, alpha, quick)) for alpha in (alphas[0], alphas[-1]))
    return [
        *claims_over_batches(results, network, alphas, place),
        Claim(
            f"{network}: the gap in test accuracy between small and large batches becomes smaller with α.", place,
            f"highest accuracy less that with the largest batches: with α = 1 less that with α = {alphas[-1]:g}",
            measured(lambda one, other: gap(one) - gap(other), plain, strong), 0.0,
        ),
    ]  # fmt: skip


def tables(results: Results) -> list[Table]:
    """Table 2, of this network."""
    quick = is_quick(results)
    return best_batches(results, [NETWORK[quick]], ALPHAS[quick])


FIGURE = Figure(
    title="Test accuracy and convergence time against the batch size, for several α",
    did="Trains the convolutional network C1 on CIFAR-10 with Adam, without noise enhancement (α = 1) and with α = 1.5, 2 "
    "and 2.5, for batch sizes from 100 to 5000, until the training loss is 0.001.",
    shows={
        "fig1": "Mean and standard deviation over the seeds; settings of which a run did not reach L** are left out. "
        "Convergence time: steps until the training loss is L**. In the quick variant the network is a small F1.",
    },
    departures=("In the quick variant a small F1 on Fashion-MNIST stands in for C1, and α = 2.5 is left out.",),
    jobs=jobs,
    draw=draw,
    claims=claims,
    tables=tables,
)
