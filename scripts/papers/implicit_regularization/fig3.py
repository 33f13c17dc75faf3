"""implicit_regularization, figure 3: batch sizes at equal ratios of learning rate, or lambda, to batch size."""

from __future__ import annotations

import math

import numpy as np

from papers.implicit_regularization import UNJUDGED, _batches
from papers.implicit_regularization._batches import claims_of_ratio, draw_ratios
from papers.implicit_regularization._curves import Quantity, curve, finish, measured, table_of_best
from sgdscope.aggregate import measured_values
from sgdscope.claims import Claim, Late, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

ALIKE = 0.01  # of accuracy
MUCH = 10


def _diversity(run: Run) -> float:
    error, norm = (measured_values(run, f"implicit_regularizer.{name}")[-1] for name in ("batch_error", "squared_norm"))
    return math.log2(error / norm)


DIVERSITY = Quantity(_diversity)


def mean_of_trained(logs: np.ndarray) -> float:
    """Over the learning rates with which training did not diverge."""
    if not np.isfinite(logs).any():
        raise TooLittle("all runs diverged")
    return float(np.nanmean(logs))


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
    by_batch = results.study.by("rates_by_batch", "batch")
    return [
        *claims_of_ratio(results, "rates_by_batch", "rate", "ε", f"{place}(a)", ALIKE),
        *claims_of_ratio(results, "penalties_by_batch", "penalty", "λ", f"{place}(b)", ALIKE),
        Claim(
            "The gradients of batches are diverse, so that the second term of equation 22 dominates.", "section 3",
            "log2 of the mean squared error of a batch's gradient over the squared gradient of all at the last epoch's "
            "beginning, mean over learning rates, for each batch size",
            {
                f"batches of {batch}": measured(mean_of_trained, curve(results, settings, DIVERSITY))
                for batch, settings in by_batch.items()
            },
            math.log2(MUCH),
            f"'≫' is a factor of {MUCH}", decided_after=Late("the claim and its border"),
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
