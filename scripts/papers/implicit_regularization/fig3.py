"""implicit_regularization, figure 3: batch sizes at equal ratios of learning rate, or lambda, to batch size."""

from __future__ import annotations

import math

import numpy as np

from papers.implicit_regularization import UNJUDGED, _batches
from papers.implicit_regularization._batches import claims_of_ratio, draw_ratios
from papers.implicit_regularization._curves import (
    FIT,
    Conditions,
    Quantity,
    curve,
    finish,
    measured,
    table_of_best,
    trained_by_all,
)
from sgdscope.aggregate import measured_values
from sgdscope.claims import Claim, Late, Measurement
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

ALIKE = 0.01  # of accuracy
MUCH = 10


def diversity(place: int) -> Quantity:
    """log2 of a batch gradient's mean squared error over the squared gradient of all, at the first (0) or last (−1) measurement."""

    def of(run: Run) -> float:
        names = ("batch_error", "squared_norm")
        error, norm = (measured_values(run, f"implicit_regularizer.{name}")[place] for name in names)
        return math.log2(error / norm)

    return Quantity(of)


def diversities(results: Results) -> Conditions:
    """For each batch size at the initial weights, where learning rates do not differ, and at the end with each that trains, in words."""
    found: dict[str, Measurement] = {}
    problems: tuple[str, ...] = ()
    for batch, settings in results.study.by("rates_by_batch", "batch").items():
        fit, first, last = (curve(results, settings, quantity) for quantity in (FIT, diversity(0), diversity(-1)))
        problems += fit.problems
        places = np.flatnonzero(trained_by_all(fit)).tolist()
        for place in places[:1]:
            found[f"batches of {batch} at first"] = measured(lambda logs: float(logs[0]), first.at([place]))
        for place in places:
            words = f"batches of {batch} in the end at ε = 2^{settings[place]['rate']:g}"
            found[words] = measured(lambda logs: float(logs[0]), last.at([place]))
    if problems:
        return Measurement({}, problems)
    return found or Measurement({}, censored="with no learning rate do all seeds train: add smaller ones")


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
        *claims_of_ratio(results, "rates_by_batch", "rate", "ε", f"{place}(a)", ALIKE),
        *claims_of_ratio(results, "penalties_by_batch", "penalty", "λ", f"{place}(b)", ALIKE),
        Claim(
            "The gradients of batches are diverse, so that the second term of equation 22 dominates.", "section 3",
            "log2 of the mean squared error of a batch's gradient over the squared gradient of all, for each batch size at the initial "
            "weights, and at the last epoch's beginning for each learning rate with which all seeds train",
            diversities(results), math.log2(MUCH), f"'≫' is a factor of {MUCH}",
            decided_after=Late("the claim and its border, and that it must be so at first and with each learning rate"),
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
        _batches.EQUAL_TIME,
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
