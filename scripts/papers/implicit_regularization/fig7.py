"""implicit_regularization, figure 7: n-step SGD on Fashion-MNIST."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from papers.implicit_regularization import LAST, TEST, TRAIN
from papers.implicit_regularization._curves import (
    Conditions,
    Curve,
    Quantity,
    curve,
    disagreement,
    fitted,
    highest,
    highest_lead,
    measured,
    table_of_best,
    trained,
    unfitted,
)
from papers.implicit_regularization._n_step import draw_panels
from sgdscope.aggregate import measured_values
from sgdscope.claims import NONE, Claim, Late, Measurement, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run

ALIKE = 0.005  # of accuracy
ORTHOGONAL = 0.1  # of a cosine
UNMEASURED = Late(
    "the claim and its border, before any run measured its numbers, and when the mean cosine of all pairs was known that pairs of one "
    "class and of two are judged each",
    LAST,
)
FITS = Late("that all learning rates must have fitted the training set", LAST)


def within(results: Results, n: int, epochs: int, column: str = TEST) -> Curve:
    """The highest accuracy within so many epochs, over the learning rates."""
    return curve(results, results.study.curve("rates", n=n), highest(column, epochs), epochs)


def equal_epochs(results: Results, n: int, column: str = TEST) -> Curve:
    """Accuracies of n-step SGD over the learning rate, after the same number of epochs for each n."""
    return within(results, n, results.study.values["base_epochs"], column)


def equal_updates(results: Results, n: int, column: str = TEST) -> Curve:
    """Accuracies of n-step SGD over the learning rate, after the same number of moves for each n."""
    return within(results, n, results.study.values["updates"] // n, column)


def ns_of(results: Results) -> list[int]:
    """The numbers of moves on a batch that were tried."""
    return list(results.study.by("rates", "n"))


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The paper's three panels."""
    results.need_some()
    ns, (rates, budgets) = ns_of(results), (results.study.values[name] for name in ("rates", "budgets"))
    best = {n: [np.nanmax(within(results, n, budget).means()) for budget in budgets] for n in ns}
    curves_of = (lambda n: equal_epochs(results, n), lambda n: equal_updates(results, n))
    return {"fig7": draw_panels(ns, rates, curves_of, budgets, best)}


# -------------------------------------------------------------------------------------------- the claims


def better_by_move(results: Results, accuracies: Callable[[Results, int, str], Curve]) -> Conditions:
    """How much more the curves of all n differ at equal effective learning rates n α than at equal α; censored if some lack time."""
    curves, fits = ([accuracies(results, n, column) for n in ns_of(results)] for column in (TEST, TRAIN))
    moves = [np.array(results.study.values["rates"])] * len(curves)
    effective = [rates + math.log2(n) for n, rates in zip(ns_of(results), moves)]
    unfit = "; ".join(words for fit in fits if (words := unfitted(fit, range(len(fit.names)))))
    return fitted(measured(lambda *means: disagreement(effective, means) - disagreement(moves, means), *curves), unfit)


def alike_at_optimum(results: Results) -> dict[str, Measurement]:
    """The difference between the accuracies of two n at their best learning rates, for each pair and budget in words."""
    rates, found = np.array(results.study.values["rates"]), {}
    for budget in results.study.values["budgets"]:
        grids = {n: ("α", rates, within(results, n, budget)) for n in ns_of(results)}
        for one, other in itertools.combinations(grids, 2):
            found[f"n = {one} and {other}, {budget} epochs"] = highest_lead(grids[one], grids[other])
    return found


def product_of_pairs(run: Run) -> float:
    """The inner product of two examples' gradients over the mean squared norm of one: a mean over pairs of a batch and steps."""
    # m-coherence is |sum of the gradients|² over the sum of their |g|²: what it has above 1 is of the m (m − 1) pairs.
    return float(np.mean(measured_values(run, "covariance.m_coherence") - 1) / (run.config["batch_size"] - 1))


def cosine_of_pairs(which: str) -> Callable[[Run], float]:
    """The cosine between two examples' gradients: a mean over those pairs of a batch, `within` a class or `between` two, and steps."""
    return lambda run: float(np.mean(measured_values(run, f"covariance.stiffness_cos_{which}")))


def mean_of_trained(accuracies: np.ndarray, numbers: np.ndarray) -> float:
    """The mean number over the learning rates with which the network was trained."""
    if not trained(accuracies).any():
        raise TooLittle("no learning rate trained")
    return float(np.mean(numbers[trained(accuracies)]))


def with_single_moves(results: Results, of: Callable[[Run], float]) -> Measurement:
    """A number of the runs with n = 1, mean over the learning rates with which they trained."""
    numbers = curve(results, results.study.curve("rates", n=1), Quantity(of))
    return measured(mean_of_trained, equal_epochs(results, 1), numbers)


def claims(results: Results) -> list[Claim]:
    """Whether the learning rate of each move decides, and not n times that, and whether gradients are orthogonal."""
    place = "appendix D, figure 7"
    quantity = "mean difference in accuracy of two n at equal n α less that at equal α"
    return [
        Claim(
            "After equal epochs all n have similar test accuracies at equal α, not at equal n α.", f"{place}(a)", quantity,
            better_by_move(results, equal_epochs), 0.0, NONE, decided_after=FITS,
        ),
        Claim(
            "So they have after equal numbers of updates.", f"{place}(b)", quantity,
            better_by_move(results, equal_updates), 0.0, NONE, decided_after=FITS,
        ),
        Claim(
            "At their best learning rates all n have similar test accuracies, whatever the number of epochs.", f"{place}(c)",
            "difference in the highest mean accuracy of two n, for each pair and each number of epochs",
            alike_at_optimum(results), ALIKE, f"{ALIKE:.1%} of accuracy: the paper says 'similar' and gives no number",
            about=0.0, decided_after=Late("0.5 % in place of 1 %, which was as wide as the effect"),
        ),
        Claim(
            "The gradients of different examples are close to orthogonal.", "appendix D, last paragraph",
            "of the gradients of two examples of a batch, mean over pairs, training and learning rates that trained, with n = 1: "
            "inner product over the mean squared norm, cosine of pairs of one class, cosine of pairs of two classes",
            {
                "inner product": with_single_moves(results, product_of_pairs),
                "cosine within a class": with_single_moves(results, cosine_of_pairs("within")),
                "cosine between classes": with_single_moves(results, cosine_of_pairs("between")),
            },
            ORTHOGONAL,
            f"{ORTHOGONAL:g}: an angle within 6 degrees of a right one; the paper says 'close to' and gives no number",
            about=0.0, decided_after=UNMEASURED,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Fashion-MNIST: n steps of gradient descent on each batch",
    did="Trains three hidden layers of 4096 units on Fashion-MNIST, making n moves on each batch, at many learning rates α of "
    "a move: for equal numbers of epochs, for equal numbers of moves, and for a range of epochs at the best α. That several "
    "moves on a batch cost no accuracy 'may indicate', it speculates, that the gradients of different examples are close to "
    "orthogonal.",
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
        "After equal epochs n α stands for a length of training, after equal numbers of moves α does. Where a larger learning rate of the "
        "same n has a mean training accuracy more than 2 % higher, networks lack time, and which of the two decides is left open.",
        "The paper measures no angle between gradients. Here they are those of the examples of the updating batch, in the first "
        "step of every second epoch. Inner products are means, in which an example with a long gradient counts for more; "
        "cosines count all pairs alike. In either mean pairs that agree and pairs that do not make up for one another.",
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
)
