"""noise_enhancement, figure 1: test accuracy and convergence time against the batch size, for several alpha."""

from __future__ import annotations

from papers.noise_enhancement._curves import add_legend, best_batches, claims_over_batches, curve, draw_over_batches
from sgdscope.claims import Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, Stroke, new_figure, shades
from sgdscope.results import Results


def draw(results: Results) -> dict[str, Picture]:
    """The paper's two panels, of the one network that there is."""
    results.need_some()
    (network,) = results.study.curves
    by_alpha = results.study.by(network, "alpha")
    figure = new_figure(8.4, 3.6)
    panels = figure.subplots(1, 2)
    for (alpha, settings), colour in zip(by_alpha.items(), shades(len(by_alpha))):
        draw_over_batches(panels, curve(results, settings), Stroke(f"α = {alpha:g}", colour))
    panels[0].set_title(network, loc="left")
    add_legend(panels[1])
    return {"fig1": figure}


def claims(results: Results) -> list[Claim]:
    """What the paper says of the best batch size, and of large batches."""
    (network,) = results.study.curves
    return claims_over_batches(results, network, "section 3.1, figure 1")


FIGURE = Figure(
    title="Test accuracy and convergence time against the batch size, for several α",
    did="Trains the convolutional network C1 on CIFAR-10 with Adam, without noise enhancement (α = 1) and with α = 1.5, 2 "
    "and 2.5, for batch sizes from 100 to 5000, until the training loss is 0.001.",
    shows={
        "fig1": "Mean and standard deviation over the seeds; settings of which a run did not reach L** are left out. "
        "Convergence time: steps until the training loss is L**. In the quick variant the network is a small F1."
    },
    departures=(
        "In the quick variant a small F1 on Fashion-MNIST stands in for C1, and α = 2 and 2.5 are left out, as in the desk variant.",
    ),
    draw=draw,
    claims=claims,
    tables=best_batches,
    unjudged={"quick": "a small F1 stands in for C1, of which the claims are"},
)
