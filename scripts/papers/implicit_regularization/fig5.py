"""implicit_regularization, figure 5: training accuracies and losses of figure 1's runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from papers.implicit_regularization import BORDER, FITTED, TRAIN, UNJUDGED
from papers.implicit_regularization._curves import (
    FIT,
    Conditions,
    Quantity,
    draw_curve,
    fall,
    fitted,
    last,
    measured,
    problems_of,
    rise,
    table_of_best,
    trained_by_all,
)
from papers.implicit_regularization._regularizers import (
    PENALTY,
    RATE,
    over_penalties,
    over_rates,
    penalties,
    rates,
    unfitted_small,
    without_penalty,
)
from sgdscope.aggregate import measured_values
from sgdscope.claims import NONE, Claim, Late, Measurement
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

LOSS = last("eval.train_loss")
PART = 0.5  # of how far a large learning rate takes the loss
FLAT = 0.01  # of training accuracy, from one quarter of training to the next
LARGE = 3  # so many of the largest learning rates and lambda

WHICH = "that only values with which all seeds train count, and each of them"


def _rise_at_the_end(run: Run) -> float:
    """The mean training accuracy of the last quarter of the evaluations less that of the quarter before."""
    values = measured_values(run, TRAIN)
    quarter = max(1, values.size // 4)
    return float(values[-quarter:].mean() - values[-2 * quarter : -quarter].mean())


RISE_AT_THE_END = Quantity(_rise_at_the_end)


def draw(results: Results) -> dict[str, Picture]:
    """The paper's two panels."""
    results.need_some()
    figure = new_figure(8.4, 3.6)
    panels = figure.subplots(1, 2)
    for axes, quantity, label in ((panels[0], FIT, "highest training accuracy"), (panels[1], LOSS, "C(ω) at the end")):
        draw_curve(axes, rates(results), over_rates(results, quantity), RATE)
        draw_curve(axes, penalties(results), over_penalties(results, quantity), PENALTY)
        axes.set_xlabel("ε or λ")
        axes.set_ylabel(label)
        axes.legend(fontsize=8)
    panels[1].set_yscale("log")
    for letter, axes in zip("ab", panels):
        axes.set_title(f"({letter})", loc="left")
    return {"fig5": figure}


# -------------------------------------------------------------------------------------------- the claims


def still_rising(results: Results) -> Conditions:
    """By how much the training accuracy still rises, at each learning rate beyond the one that fits best with which all seeds train."""
    x, fit = rates(results), over_rates(results, FIT)
    if fit.problems:
        return Measurement({}, fit.problems)
    beyond = np.arange(x.size) > np.argmax(fit.values.mean(axis=1))
    course = over_rates(results, RISE_AT_THE_END)
    found = {
        f"ε = 2^{x[place]:g}": measured(lambda rises: float(rises[0]), course.at([place]))
        for place in np.flatnonzero(beyond & trained_by_all(fit)).tolist()
    }
    none = "with no learning rate beyond the one that fits best do all seeds train: try some between"
    return found or Measurement({}, censored=none)


def at_common(results: Results, of: Callable[[float, float, float], float], quantity: Quantity) -> Conditions:
    """`of` a quantity with ε, with λ equally large, and with neither, at the largest common values with which all seeds train."""
    fits = over_rates(results, FIT), over_penalties(results, FIT)
    if problems := problems_of(*fits):
        return Measurement({}, problems)
    grids = rates(results), penalties(results)
    known = [x[trained_by_all(fit)] for x, fit in zip(grids, fits)]
    curves, small = (
        (over_rates(results, quantity), over_penalties(results, quantity)),
        without_penalty(results, quantity),
    )
    found = {
        f"2^{common:g}": measured(
            lambda *three: of(*[float(values[0]) for values in three]),
            *[one.at(np.flatnonzero(x == common)) for x, one in zip(grids, curves)], small,
        )
        for common in np.intersect1d(*known)[-LARGE:]
    }  # fmt: skip
    return found or Measurement(
        {}, censored="at no value that ε and λ have in common do all seeds train: add smaller ones"
    )


def likeness(of_rate: float, of_penalty: float, of_small: float) -> float:
    """By how much two losses are nearer to one another than the first is to that of the small learning rate, as log2."""
    return PART * abs(math.log2(of_rate / of_small)) - abs(math.log2(of_rate / of_penalty))


def claims(results: Results) -> list[Claim]:
    """Whether large learning rates and large regularizers fit the training set equally."""
    place, unfit = "appendix C, figure 5", unfitted_small(results)
    over_rate = ("learning rate", rates(results), over_rates(results, FIT))
    over_penalty = ("λ", penalties(results), over_penalties(results, FIT))
    without = without_penalty(results, FIT)
    equal = f"at each of the {LARGE} largest values that ε and λ have in common and with which all seeds train"
    return [
        Claim(
            "Small learning rates have not converged: the training accuracy is highest at a larger one.", f"{place}(a)",
            "highest training accuracy less that at the smallest learning rate",
            rise(*over_rate), 0.0, NONE, decided_after=BORDER,
        ),
        Claim(
            "Large learning rates reach a lower training accuracy.", f"{place}(a)",
            "highest training accuracy less that at the largest learning rate with which all seeds train",
            fall(*over_rate), 0.0, NONE, decided_after=Late(f"{BORDER.what}; that only settings with which all seeds train count"),
        ),
        Claim(
            "There they have reached a plateau.", f"{place}(a)",
            "training accuracy over the last quarter of the evaluations less that over the quarter before, at each learning rate beyond "
            "the one that fits best with which all seeds train",
            still_rising(results), FLAT, f"{FLAT:.0%} of accuracy", about=0.0, decided_after=Late("the claim and its border"),
        ),
        Claim(
            "With small λ high training accuracies are reached.", f"{place}(a)",
            "highest training accuracy with the smallest λ less that with λ = 0, at the small learning rate",
            fitted(measured(lambda one, none: float(one[0] - none[0]), over_penalty[2].at([0]), without), unfit),
            FITTED, f"{FITTED:.0%} of accuracy", about=0.0, decided_after=Late("the claim and its border"),
        ),
        Claim(
            "With large λ no high training accuracy is reached.", f"{place}(a)",
            "highest training accuracy less that at the largest λ with which all seeds train",
            fall(*over_penalty), FITTED, f"{FITTED:.0%} of accuracy: less is still high",
            decided_after=Late("the border, and that only settings with which all seeds train count"),
        ),
        Claim(
            "Large learning rates and equally large λ reach similar training accuracies.", place,
            f"highest training accuracy with ε less that with λ, {equal}",
            at_common(results, lambda of_rate, of_penalty, _: of_rate - of_penalty, FIT),
            FITTED, f"{FITTED:.0%} of accuracy", about=0.0, decided_after=Late(f"the claim, and {WHICH}"),
        ),
        Claim(
            "Large learning rates and equally large λ end at similar training losses.", f"{place}(b)",
            f"{PART:.0%} of |log2 of the loss with ε over that with the small learning rate and λ = 0|, less |log2 of the loss with ε "
            f"over that with λ|, {equal}",
            fitted(at_common(results, likeness, LOSS), unfit),
            0.0, "0: they are nearer to one another than half of the way to the small learning rate's",
            decided_after=Late(f"the effect in place of a factor of 2, which an untrained network keeps, too, and {WHICH}"),
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Training accuracies and losses of figure 1's runs",
    did="Gives the training accuracies of figure 1's runs and the original loss C(ω) at the end of training, over the "
    "learning rate and over λ at a small learning rate.",
    shows={
        "fig5": "Mean and standard deviation of the runs with the best test accuracies. (a) Highest training accuracy of the "
        "whole training. (b) Loss on the training set at the end, without weight decay and regularizer."
    },
    departures=(
        "The loss is evaluated on the training set without crops and flips.",
        "Where a larger learning rate has a mean training accuracy more than 2 % above that of the small one, this lacks epochs, and "
        "what is said beside it is not decided.",
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
