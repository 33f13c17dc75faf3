"""implicit_regularization, figure 4: n-step SGD on CIFAR-10."""

from __future__ import annotations

import numpy as np

from papers.implicit_regularization import UNJUDGED
from papers.implicit_regularization._curves import (
    ACCURACY,
    Curve,
    curve,
    highest_lead,
    largest_stable,
    measured,
    table_of_best,
)
from papers.implicit_regularization._n_step import draw_panels
from sgdscope.claims import NONE, Claim, Late, Measurement
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results

HALF_STEP = 0.5  # between two powers of 2


def within(results: Results, n: int, epochs: int) -> Curve:
    """Test accuracy of trainings of so many epochs, over the learning rates."""
    return curve(results, results.study.curve("budgets", n=n, epochs=epochs), ACCURACY)


def equal_epochs(results: Results, n: int) -> Curve:
    """Accuracies of n-step SGD over the learning rate, after the same number of epochs for each n."""
    return within(results, n, results.study.values["base_epochs"])


def equal_updates(results: Results, n: int) -> Curve:
    """Accuracies of n-step SGD over the learning rate, after the same number of moves for each n."""
    return curve(results, results.study.curve("equal_updates", n=n), ACCURACY)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The paper's three panels."""
    results.need_some()
    ns, rates, budgets = (results.study.values[name] for name in ("ns", "rates", "budgets"))
    best = {n: [within(results, n, budget).means().max() for budget in budgets] for n in ns}
    curves_of = (lambda n: equal_epochs(results, n), lambda n: equal_updates(results, n))
    return {"fig4": draw_panels(ns, rates, curves_of, budgets, best)}


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether moving n times on each batch costs stability and test accuracy."""
    place = "section 4, figure 4"
    rates, most = np.array(results.study.values["rates"]), results.study.values["ns"][-1]

    def lead(*curves: Curve, x: np.ndarray = rates) -> Measurement:
        one, many = (("α", x, of) for of in curves)
        return highest_lead(one, many)

    budgets = results.study.values["budgets"]
    found = []
    for letter, words, curve_of in (("a", "epochs", equal_epochs), ("b", "numbers of moves", equal_updates)):
        ends = [curve_of(results, n) for n in (1, most)]
        found += [
            Claim(
                f"After equal {words} the best test accuracy is lower, the larger n.", f"{place}({letter})",
                f"highest test accuracy over α with n = 1 less that with n = {most}",
                lead(*ends), 0.0, NONE,
            ),
            Claim(
                f"After equal {words} smaller n are stable at larger α.", f"{place}({letter})",
                f"log2 of the largest stable α with n = 1 less that with n = {most}",
                measured(
                    lambda one, many: largest_stable(rates, one) - largest_stable(rates, many), *ends, discrete=True
                ), HALF_STEP, "half a step of the grid",
            ),
        ]  # fmt: skip
    at_budgets = [results.study.curve("budgets", n=n) for n in (1, most)]
    tuned = [curve(results, settings, ACCURACY) for settings in at_budgets]
    found.append(
        Claim(
            "The test accuracy is lower, the larger n, where the number of epochs is tuned, too.",
            f"{place}(c)",
            f"highest test accuracy over α and numbers of epochs with n = 1 less that with n = {most}",
            lead(*tuned, x=np.array([setting["rate"] for setting in at_budgets[0]])),
            0.0,
            NONE,
            decided_after=Late("the claim"),
        )  # fmt: skip
    )
    found.append(
        Claim(
            "The test accuracy is lower, the larger n, whatever the number of epochs.",
            f"{place}(c)",
            f"highest test accuracy over α with n = 1 less that with n = {most}, for each number of epochs",
            {f"{budget} epochs": lead(within(results, 1, budget), within(results, most, budget)) for budget in budgets},
            0.0,
            NONE,
        )  # fmt: skip
    )
    return found


FIGURE = Figure(
    title="n steps of gradient descent on each batch",
    did="Trains a 16-4 Wide-ResNet on CIFAR-10, making n moves on each batch, at many learning rates α of a move: for equal "
    "numbers of epochs, for equal numbers of moves, and for a range of epochs at the best α. The learning rate is constant "
    "for the first half of training, and then halved every tenth of it.",
    shows={
        "fig4": "Highest test accuracy of the whole training: mean and standard deviation of the best runs. (a) Equal numbers "
        "of epochs. (b) Equal numbers of moves: with n on each batch there are n times fewer epochs. (c) At the best learning "
        "rate of each n."
    },
    departures=(
        "There is no weight decay, of which the paper does not speak here.",
        "A learning rate counts as stable where the test accuracy is nearer to its best over α than to guessing, and that at "
        "all smaller learning rates of the range but the first ones, too.",
        "The paper's text does not name the numbers of epochs of (c), nor of moves in (b); here those of n = 1 in (a).",
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
