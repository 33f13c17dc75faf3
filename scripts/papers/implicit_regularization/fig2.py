"""implicit_regularization, figure 2: which learning rates are best for training and for test accuracy."""

from __future__ import annotations

import numpy as np

from papers.implicit_regularization import OPTIMA, UNJUDGED
from papers.implicit_regularization._curves import ACCURACY, FIT, Curve, at_optimum, draw_curve, fitted, table_of_best
from papers.implicit_regularization._regularizers import over_rates, rates, unfitted_small
from sgdscope.claims import Claim, Late
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, Stroke, new_figure
from sgdscope.results import Results

HALF_STEP = 0.5  # between two powers of 2
GRID = "half a step of the grid"
LATE = Late(f"{OPTIMA.what}; that the small learning rate must have fitted the training set", OPTIMA.known)


def draw(results: Results) -> dict[str, Picture]:
    """The paper's two panels."""
    results.need_some()
    chosen = results.study.values["chosen"]
    figure = new_figure(8.4, 5.0)
    grid = figure.subplots(2, 2, sharey="row", sharex=True)
    for column, name, title in zip(grid.T, results.study.curves, ("(a) λ = 0", f"(b) λ = 2$^{{{chosen}}}$")):
        for axes, quantity, colour in zip(column, (FIT, ACCURACY), (COLOURS[1], COLOURS[0]), strict=True):
            drawn = over_rates(results, quantity, name)
            draw_curve(axes, rates(results), drawn, Stroke("", colour))
        column[0].set_title(title, loc="left")
        column[1].set_xlabel("learning rate ε")
    for axes, label in zip(grid[:, 0], ("training", "test")):
        axes.set_ylabel(f"highest {label} accuracy")
    return {"fig2": figure}


def claims(results: Results) -> list[Claim]:
    """Whether large learning rates are better for the test set than for the training set, until there is a regularizer."""
    place, x, unfit = "section 2.3, figure 2", rates(results), unfitted_small(results)

    def of_each(*names: str) -> list[tuple[str, np.ndarray, Curve]]:
        kinds = (("for the test set", ACCURACY), ("for the training set", FIT))
        return [(f"learning rate {words}", x, over_rates(results, of, name)) for name in names for words, of in kinds]

    return [
        Claim(
            "Without regularizer the best learning rate for the test set is larger than that for the training set (in the "
            "paper 16 times).", f"{place}(a)",
            "log2 of their ratio",
            fitted(at_optimum(lambda test, fit: test - fit, of_each("rates")), unfit), HALF_STEP, GRID,
            decided_after=LATE,
        ),
        Claim(
            "With it the ratio is smaller (in the paper 1).", f"{place}(b)",
            "log2 of the ratio without regularizer less that with it",
            fitted(at_optimum(lambda a, b, c, d: (a - b) - (c - d), of_each("rates", "rates_regularized")), unfit),
            HALF_STEP, GRID, decided_after=LATE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Best learning rates for training and test accuracy, without and with the explicit regularizer",
    did="Takes figure 1's network and gives its training and test accuracies over the learning rate, without regularizer "
    "and with λ = 2⁻⁶.",
    shows={"fig2": "Highest accuracies of the whole training: mean and standard deviation of the best runs."},
    departures=(
        "Where the seeds do not tell which learning rate is the best, all that may be count.",
        "Where a larger learning rate without regularizer has a mean training accuracy more than 2 % above that of figure 1's small "
        "one, training is too short for small ones, the best one for training is so a large one, and nothing is decided.",
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
