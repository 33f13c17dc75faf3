"""implicit_regularization, figure 1: an explicit regularizer at a small learning rate, and large learning rates."""

from __future__ import annotations

import numpy as np

from papers.implicit_regularization import BORDER, OPTIMA, TEST, UNJUDGED
from papers.implicit_regularization._curves import (
    ACCURACY,
    FIT,
    Conditions,
    Curve,
    at_optimum,
    beyond,
    curve,
    draw_curve,
    finish,
    fitted,
    last,
    mean_late,
    measured,
    problems_of,
    rise_and_fall,
    slope,
    table_of_best,
    trained_by_all,
)
from papers.implicit_regularization._regularizers import (
    PENALTY,
    RATE,
    claim_that_penalty_closes_the_gap,
    over_penalties,
    over_rates,
    penalties,
    rates,
    unfitted_small,
    without_penalty,
)
from sgdscope.claims import NONE, Claim, Late, Measurement, best_of_settings
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke, new_figure
from sgdscope.results import Results
from sgdscope.studies import Setting

REGULARIZER = last("implicit_regularizer.regularizer")
LOSS = last("eval.train_loss")
FACTOR = 1.5  # log2: at most 2 times, on a grid of powers of 2
APPROACHED = 0.5  # of what the best λ gains, where the smallest one has come near to none

FITS = Late("that the small learning rate must have fitted the training set")
FROM_SMALL = Late(
    "that it is compared with the small learning rate, which must have fitted the training set, and the border 0"
)
TRAINED = Late("that only settings with which all seeds train count, and the border 0")
LIKE_REGULARIZERS = Late("from which learning rate on, and that only settings with which all seeds train count")


def pair(results: Results) -> tuple[Setting, Setting]:
    """Of panel (a), at the small learning rate: without regularizer and with the chosen one."""
    values = results.study.values
    (without,) = results.study.curve("rates", rate=values["small"])
    (with_it,) = results.study.curve("penalties", penalty=values["chosen"])
    return without, with_it


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The paper's three panels."""
    results.need_some()
    figure = new_figure(10.5, 3.6)
    panels = figure.subplots(1, 3)
    _draw_training(panels[0], results)
    for axes, quantity, label in (
        (panels[1], ACCURACY, "highest test accuracy"),
        (panels[2], REGULARIZER, r"$C_{reg}$"),
    ):
        draw_curve(axes, rates(results), over_rates(results, quantity), RATE)
        draw_curve(axes, penalties(results), over_penalties(results, quantity), PENALTY)
        axes.set_xlabel("ε or λ")
        axes.set_ylabel(label)
    without = curve(results, [pair(results)[0]], ACCURACY).means()[0]
    panels[1].axhline(without, color="#009E73", linestyle=":", label="small ε, λ = 0")
    panels[2].set_yscale("log")
    finish(panels)
    return {"fig1": figure}


def _draw_training(axes: Axes, results: Results) -> None:
    """Test accuracy over epochs, every seed a line."""
    small, chosen = (results.study.values[name] for name in ("small", "chosen"))
    for setting, look, label in zip(pair(results), (RATE, PENALTY), ("λ = 0", f"λ = 2$^{{{chosen}}}$"), strict=True):
        runs = [outcome.run for outcome in results.of(setting) if outcome.run]
        for run in runs:
            table, name = run.find(TEST)
            table.load(["epoch", name])
            draw_lines(axes, [Line(table["epoch"], table[name])], [Stroke(label, look.colour, "-", 0.9)])
        axes.plot([], [], color=look.colour, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"test accuracy, ε = 2$^{{{small}}}$")


# -------------------------------------------------------------------------------------------- the claims


def nothing_left(results: Results) -> Conditions:
    """By how much the accuracies of the smallest λ and of none are nearer than half of what the best λ gains, on either side."""
    of_penalty, none = over_penalties(results, ACCURACY), without_penalty(results, ACCURACY)
    if problems := problems_of(of_penalty, none):
        return Measurement({}, problems)
    gains = of_penalty.values - none.values
    seeds = [str(place + 1) for place in range(gains.shape[1])]
    ends = (beyond("λ", penalties(results), of_penalty), "")
    return {
        words: best_of_settings(seeds, APPROACHED * gains, sign * gains[:1], ends=ends)
        for words, sign in (("not above it", 1), ("not below it", -1))
    }


def falls_of_regularizer(x: np.ndarray, regularizer: Curve, fit: Curve, loss: Curve | None = None) -> Measurement:
    """Minus the slope of C_reg where all seeds train, both logarithmic; with `loss` from where its mean is lowest."""
    known = trained_by_all(fit)
    if loss is not None and known.any():
        known &= np.arange(x.size) >= np.argmin(np.where(known, loss.values.mean(axis=1), np.inf))
    places = np.flatnonzero(known)
    return measured(lambda y: -slope(x[places], y), regularizer.at(places))


def claims(results: Results) -> list[Claim]:
    """Whether the explicit regularizer does at a small learning rate what a large one does."""
    place, unfit = "section 2.3, figure 1", unfitted_small(results)
    x_rate, x_penalty = rates(results), penalties(results)
    of_rate, of_penalty = over_rates(results, ACCURACY), over_penalties(results, ACCURACY)
    over_rate, over_penalty = ("learning rate", x_rate, of_rate), ("λ", x_penalty, of_penalty)
    from_small = np.flatnonzero(x_rate >= results.study.values["small"])
    late = mean_late(TEST)
    without, with_it = (curve(results, [setting], late) for setting in pair(results))
    return [
        Claim(
            "At a small learning rate the regularized network has the higher test accuracy late in training.",
            f"{place}(a)", "mean test accuracy of the last quarter of the evaluations, less that with λ = 0",
            fitted(measured(lambda a, b: float(a[0] - b[0]), with_it, without), unfit), 0.0, NONE, decided_after=FITS,
        ),
        *rise_and_fall(
            (over_penalty, over_penalty), f"{place}(b)", "Test accuracy rises with λ.", "It falls for large λ.", (BORDER, TRAINED)
        ),
        *rise_and_fall(
            (("learning rate of these", x_rate[from_small], of_rate.at(from_small)), over_rate), f"{place}(b)",
            "Test accuracy rises with the learning rate, from the small one on.", "It falls for large learning rates.",
            (FROM_SMALL, TRAINED), unfit,
        ),
        Claim(
            "The best λ is within a factor of 2 of the best learning rate.", f"{place}(b)",
            "log2 of their ratio",
            fitted(at_optimum(lambda p, r: p - r, [over_penalty, over_rate]), unfit), FACTOR,
            "a factor of 2, and half a step of the grid: the paper says 'equal'", about=0.0,
            decided_after=Late(f"{OPTIMA.what}; a factor of 2 in place of 4, and {FITS.what}", OPTIMA.known),
        ),
        claim_that_penalty_closes_the_gap(
            results, "The best λ closes the gap in test accuracy between small and large learning rates.", f"{place}(b)",
            Late(f"the claim, and {FITS.what}; its border before any run of a Wide-ResNet"),
        ),
        Claim(
            "As λ becomes small the test accuracy becomes that of the small learning rate without regularizer.", f"{place}(b)",
            f"{APPROACHED:.0%} of what the best λ gains over none in mean accuracy, less what the smallest λ gains or loses",
            nothing_left(results), 0.0, "0: it is nearer to that without regularizer than half of the way to the best",
            decided_after=Late("the claim, and its border, which follows from the effect"),
        ),
        Claim(
            "The larger the learning rate, the smaller the implicit regularizer at the end of training.", f"{place}(c)",
            "minus the slope of log2 C_reg over log2 ε, from the learning rate of the lowest training loss on, where all seeds train",
            falls_of_regularizer(
                x_rate, over_rates(results, REGULARIZER), over_rates(results, FIT), over_rates(results, LOSS)
            ),
            0.0, NONE, decided_after=LIKE_REGULARIZERS,
        ),
        Claim(
            "The larger λ, the smaller it is.", f"{place}(c)",
            "minus the slope of log2 C_reg over log2 λ, where all seeds train",
            falls_of_regularizer(x_penalty, over_penalties(results, REGULARIZER), over_penalties(results, FIT)),
            0.0, NONE, decided_after=Late("that only settings with which all seeds train count"),
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="An explicit regularizer at a small learning rate does what a large learning rate does",
    did="Trains a 10-1 Wide-ResNet on CIFAR-10 with SGD on the loss C + λ C_reg: at a small learning rate with a range of λ, "
    "and without regularizer at a range of learning rates.",
    shows={
        "fig1": "(a) Each line is one seed. (b) Highest test accuracy of the whole training: mean and standard deviation of "
        "the best runs. (c) The implicit regularizer of the training set's batches near the end, of the same runs."
    },
    departures=(
        "C_reg is that at the beginning of the last epoch, over the batches of that epoch. The smaller the loss, the smaller it is: so "
        "learning rates are compared from that of the lowest training loss on, where the loss speaks against the claim.",
        "Where a larger learning rate has a mean training accuracy more than 2 % above that of the small one, this lacks epochs, and "
        "what is said of it is not decided: in the paper the small learning rate is the one that fits the training set best.",
    ),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
