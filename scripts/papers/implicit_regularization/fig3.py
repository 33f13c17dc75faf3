"""implicit_regularization, figure 3: batch sizes at equal ratios of learning rate, or lambda, to batch size."""

from __future__ import annotations

from papers.implicit_regularization import UNJUDGED, _batches
from papers.implicit_regularization._batches import better_by_ratio, draw_ratios
from papers.implicit_regularization._curves import finish, table_of_best
from sgdscope.claims import NONE, Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, new_figure
from sgdscope.results import Results


def draw(results: Results) -> dict[str, Picture]:
    """The paper's two panels."""
    results.need_some()
    figure = new_figure(8.4, 3.6)
    panels = figure.subplots(1, 2, sharey=True)
    draw_ratios(panels[0], results, "rates_by_batch")
    draw_ratios(panels[1], results, "penalties_by_batch")
    for axes, label in zip(panels, ("ε / B", "λ / B")):
        axes.set_xlabel(label)
    finish(panels)
    panels[0].set_ylabel("highest test accuracy")
    return {"fig3": figure}


def claims(results: Results) -> list[Claim]:
    """Whether batch sizes agree at equal ratios of the learning rate, and of lambda, to the batch size."""
    place = "section 3, figure 3"
    return [
        Claim(
            "Batch sizes agree in test accuracy if ε/B is equal.", f"{place}(a)",
            "mean difference of two batch sizes at equal ε less that at equal ε/B",
            better_by_ratio(results, "rates_by_batch", "rate"), 0.0, NONE,
        ),
        Claim(
            "They agree if λ/B is equal.", f"{place}(b)",
            "mean difference of two batch sizes at equal λ less that at equal λ/B",
            better_by_ratio(results, "penalties_by_batch", "penalty"), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Test accuracy over the ratios of learning rate, and of the regularizer, to the batch size",
    did="Trains figure 1's network with several batch sizes: for 6400 epochs at a range of learning rates, and for 10 million "
    "steps at a small learning rate with a range of explicit regularizers.",
    shows={
        "fig3": "Highest test accuracy of the whole training: mean and standard deviation of the best runs. (a) Equal epochs, "
        "no regularizer. (b) Equal steps at the small learning rate."
    },
    departures=(
        "The paper's text does not name the batch sizes.",
        "Its 10 million steps are 6400 epochs in batches of 32 of its 50,000 images; of the 40,000 here they are 8 million, "
        "and that many there are here.",
        _batches.LEFT_OUT,
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
