"""noise_enhancement, figure 2: as figure 1, for the networks F1 and C2 and alpha = 1 and 1.5."""

from __future__ import annotations

from papers.noise_enhancement._curves import add_legend, best_batches, claims_over_batches, curve, draw_over_batches
from sgdscope.claims import Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, new_figure, strokes
from sgdscope.results import Results


def draw(results: Results) -> dict[str, Picture]:
    """The paper's panels: a row for each network."""
    results.need_some()
    networks = list(results.study.curves)
    figure = new_figure(8.4, 3.4 * len(networks) + 0.2)
    for panels, network in zip(figure.subplots(len(networks), 2, squeeze=False), networks):
        by_alpha = results.study.by(network, "alpha")
        for settings, look in zip(by_alpha.values(), strokes([f"α = {alpha:g}" for alpha in by_alpha])):
            draw_over_batches(panels, curve(results, settings), look)
        panels[0].set_title(network, loc="left")
        add_legend(panels[1])
    return {"fig2": figure}


def claims(results: Results) -> list[Claim]:
    """What figure 1 claims of C1, for each of these networks."""
    of_networks = [claims_over_batches(results, name, "section 3.1, figure 2") for name in results.study.curves]
    return [claim for claims in of_networks for claim in claims]


FIGURE = Figure(
    title="Test accuracy and convergence time against the batch size, for other networks",
    did="Trains the fully connected network F1 on Fashion-MNIST and the convolutional network C2 on CIFAR-100 as it trained "
    "C1, without noise enhancement and with α = 1.5.",
    shows={
        "fig2": "Mean and standard deviation over the seeds; settings of which a run did not reach L** are left out. "
        "Convergence time: steps until the training loss is L**."
    },
    departures=("The quick and desk variants have no C2.",),
    draw=draw,
    claims=claims,
    tables=best_batches,
)
