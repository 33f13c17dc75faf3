"""implicit_regularization, figure 2: which learning rates are best for training and for test accuracy."""

from __future__ import annotations

import numpy as np

from papers.implicit_regularization import TRAIN
from papers.implicit_regularization._curves import ACCURACY, draw_curve, highest, measured, optimum, table_of_best
from papers.implicit_regularization._regularizers import over_rates, rates
from sgdscope.claims import Claim, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, Stroke, new_figure
from sgdscope.results import Results

FIT = highest(TRAIN)
HALF_STEP = 0.5  # between two powers of 2


def draw(results: Results) -> dict[str, Picture]:
    """The paper's two panels."""
    results.need_some()
    chosen = results.study.values["chosen"]
    figure = new_figure(8.4, 5.0)
    grid = figure.subplots(2, 2, sharey="row", sharex=True)
    for column, name, title in zip(grid.T, results.study.curves, ("(a) λ = 0", f"(b) λ = 2$^{{{chosen}}}$")):
        for axes, quantity, colour in zip(column, (FIT, ACCURACY), (COLOURS[1], COLOURS[0])):
            drawn = over_rates(results, quantity, name)
            draw_curve(axes, rates(results), drawn, Stroke("", colour))
        column[0].set_title(title, loc="left")
        column[1].set_xlabel("learning rate ε")
    for axes, label in zip(grid[:, 0], ("training", "test")):
        axes.set_ylabel(f"highest {label} accuracy")
    return {"fig2": figure}


def claims(results: Results) -> list[Claim]:
    """Whether large learning rates are better for the test set than for the training set, until there is a regularizer."""
    place, x = "section 2.3, figure 2", rates(results)

    def gap(test: np.ndarray, fit: np.ndarray) -> float:
        if np.count_nonzero(fit == fit.max()) > 1:
            raise TooLittle("several learning rates reach the highest training accuracy: none is the best")
        return optimum(x, test) - optimum(x, fit)

    bare = [over_rates(results, quantity) for quantity in (ACCURACY, FIT)]
    with_it = [over_rates(results, quantity, "rates_regularized") for quantity in (ACCURACY, FIT)]
    return [
        Claim(
            "Without regularizer the best learning rate for the test set is larger than that for the training set (in the "
            "paper 16 times).", f"{place}(a)",
            "log2 of their ratio", measured(gap, *bare), HALF_STEP,
        ),
        Claim(
            "With it the ratio is smaller (in the paper 1).", f"{place}(b)",
            "log2 of the ratio without regularizer less that with it",
            measured(lambda *of: gap(*of[:2]) - gap(*of[2:]), *bare, *with_it), HALF_STEP,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Best learning rates for training and test accuracy, without and with the explicit regularizer",
    did="Takes figure 1's network and gives its training and test accuracies over the learning rate, without regularizer "
    "and with λ = 2⁻⁶.",
    shows={"fig2": "Highest accuracies of the whole training: mean and standard deviation of the best runs."},
    departures=(
        "Where several learning rates reach the highest training accuracy, 100 %, the claims are not decided.",
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
)
