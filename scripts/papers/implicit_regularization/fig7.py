"""implicit_regularization, figure 7: n-step SGD on Fashion-MNIST."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from papers.implicit_regularization import TEST, Setting, jobs_of
from papers.implicit_regularization._curves import (
    Curve,
    curve,
    disagreement,
    highest,
    is_quick,
    measured,
    need_some,
    table_of_best,
)
from papers.implicit_regularization._n_step import draw_panels
from sgdscope.claims import Claim, Measurement
from sgdscope.figure import Figure, Job
from sgdscope.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

NAME = "fashion_mnist"
NS = {True: (1, 2, 4), False: (1, 2, 4, 8, 16)}  # quick, full
RATES = {True: range(-7, -2), False: range(-11, -3)}
EPOCHS = {True: 40, False: 400}
UPDATES = {True: 40, False: 1600}  # in epochs of one move on each batch
BUDGETS = {True: (10, 20, 40), False: (25, 50, 100, 200, 400)}  # epochs
ALIKE = 0.01  # of accuracy


def settings(n: int, quick: bool) -> list[Setting]:
    """Long enough for equal epochs and for equal updates; a shorter training is the beginning of a longer one."""
    epochs = max(EPOCHS[quick], UPDATES[quick] // n)
    return [Setting(NAME, rate, n=n, epochs=None if epochs == EPOCHS[quick] else epochs) for rate in RATES[quick]]


def jobs(quick: bool) -> list[Job]:
    """All learning rates and n."""
    return jobs_of([setting for n in NS[quick] for setting in settings(n, quick)], quick)


def within(results: Results, n: int, epochs: int) -> Curve:
    """The highest test accuracy within so many epochs, over the learning rates."""
    return curve(results, settings(n, is_quick(results)), highest(TEST, epochs), epochs)


def equal_epochs(results: Results, n: int) -> Curve:
    """As many epochs for each n."""
    return within(results, n, EPOCHS[is_quick(results)])


def equal_updates(results: Results, n: int) -> Curve:
    """As many moves for each n."""
    return within(results, n, UPDATES[is_quick(results)] // n)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The paper's three panels."""
    need_some(results)
    quick = is_quick(results)
    best = {n: [np.nanmax(within(results, n, budget).means()) for budget in BUDGETS[quick]] for n in NS[quick]}
    curves_of = (lambda n: equal_epochs(results, n), lambda n: equal_updates(results, n))
    return {"fig7": draw_panels(NS[quick], RATES[quick], curves_of, BUDGETS[quick], best)}


# -------------------------------------------------------------------------------------------- the claims


def better_by_move(results: Results, curves: list[Curve]) -> Measurement:
    """How much more the curves of all n differ at equal effective learning rates n α than at equal α."""
    quick = is_quick(results)
    moves = [np.array(RATES[quick])] * len(curves)
    effective = [rates + math.log2(n) for n, rates in zip(NS[quick], moves)]
    return measured(lambda *means: disagreement(effective, means) - disagreement(moves, means), *curves)


def alike_at_optimum(results: Results) -> Measurement:
    """Minus the largest difference that n makes to the accuracy at the best learning rate, of all budgets."""
    quick = is_quick(results)
    pairs = list(itertools.product(BUDGETS[quick], NS[quick]))

    def of(*means: np.ndarray) -> float:
        best = np.array([mean.max() for mean in means]).reshape(len(BUDGETS[quick]), len(NS[quick]))
        return -float(np.ptp(best, axis=1).max())

    return measured(of, *[within(results, n, budget) for budget, n in pairs])


def claims(results: Results) -> list[Claim]:
    """Whether the learning rate of each move decides, and not n times that."""
    quick, place = is_quick(results), "appendix D, figure 7"
    quantity = "mean difference in accuracy of two n at equal n α less that at equal α"
    return [
        Claim(
            "After equal epochs all n have similar test accuracies at equal α, not at equal n α.", f"{place}(a)", quantity,
            better_by_move(results, [equal_epochs(results, n) for n in NS[quick]]), 0.0,
        ),
        Claim(
            "So they have after equal numbers of updates.", f"{place}(b)", quantity,
            better_by_move(results, [equal_updates(results, n) for n in NS[quick]]), 0.0,
        ),
        Claim(
            "At their best learning rates all n have similar test accuracies, whatever the number of epochs.", f"{place}(c)",
            "minus the largest difference between two n: the largest of all numbers of epochs",
            alike_at_optimum(results), -ALIKE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Fashion-MNIST: n steps of gradient descent on each batch",
    did="Trains three hidden layers of 4096 units on Fashion-MNIST, making n moves on each batch, at many learning rates α of "
    "a move: for equal numbers of epochs, for equal numbers of moves, and for a range of epochs at the best α.",
    shows={
        "fig7": "Highest test accuracy so far: mean and standard deviation of the best runs. (a) After equal numbers of "
        "epochs. (b) After equal numbers of moves: with n on each batch there are n times fewer epochs. (c) At the best "
        "learning rate of each n, within so many epochs."
    },
    departures=(
        "The learning rate being constant, a shorter training is the beginning of a longer one: (b) and (c) take their "
        "numbers from the same runs as (a), and which runs are best from the same epochs. In the full variant those of n = "
        "1 and 2 go on to 1600 and 800 epochs for (b).",
        "Where two n are compared, settings in which one of them was not trained (an accuracy nearer to guessing than to "
        "its best) are left out, and equal learning rates are those that the two have in common.",
    ),
    jobs=jobs,
    draw=draw,
    claims=claims,
    tables=table_of_best,
)
