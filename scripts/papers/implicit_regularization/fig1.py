"""implicit_regularization, figure 1: an explicit regularizer at a small learning rate, and large learning rates."""

from __future__ import annotations

from papers.implicit_regularization import OPTIMA, TEST, UNJUDGED
from papers.implicit_regularization._curves import (
    ACCURACY,
    at_optimum,
    curve,
    draw_curve,
    finish,
    highest_lead,
    last,
    mean_late,
    measured,
    part_of_the_way,
    rise_and_fall,
    slope,
    table_of_best,
)
from papers.implicit_regularization._regularizers import PENALTY, RATE, over_penalties, over_rates, penalties, rates
from sgdscope.claims import NONE, Claim, Late
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke, new_figure
from sgdscope.results import Results
from sgdscope.studies import Setting

REGULARIZER = last("implicit_regularizer.regularizer")
FACTOR = 2.5  # log2: at most 4 times, on a grid of powers of 2
OPEN = 0.25  # of a gap, where it is closed
NEAR = 0.01  # of accuracy


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


def claims(results: Results) -> list[Claim]:
    """Whether the explicit regularizer does at a small learning rate what a large one does."""
    place = "section 2.3, figure 1"
    x_rate, x_penalty = rates(results), penalties(results)
    of_rate, of_penalty = over_rates(results, ACCURACY), over_penalties(results, ACCURACY)
    over_rate, over_penalty = ("learning rate", x_rate, of_rate), ("λ", x_penalty, of_penalty)
    without, with_it = (curve(results, [setting], mean_late(TEST)) for setting in pair(results))
    small = curve(results, [pair(results)[0]], ACCURACY)
    return [
        Claim(
            "At a small learning rate the regularized network has the higher test accuracy late in training.",
            f"{place}(a)", "mean test accuracy of the last quarter of the evaluations, less that with λ = 0",
            measured(lambda a, b: float(a[0] - b[0]), with_it, without), 0.0, NONE,
        ),
        *rise_and_fall(over_penalty, f"{place}(b)", "Test accuracy rises with λ.", "It falls for large λ."),
        *rise_and_fall(
            over_rate, f"{place}(b)",
            "Test accuracy rises with the learning rate.", "It falls for large learning rates.",
        ),
        Claim(
            "The best λ is within a factor of 4 of the best learning rate.", f"{place}(b)",
            "log2 of their ratio",
            at_optimum(lambda p, r: p - r, [over_penalty, over_rate]), FACTOR,
            "a factor of 4, and half a step of the grid", about=0.0, decided_after=OPTIMA,
        ),
        Claim(
            "The best λ closes the gap in test accuracy between small and large learning rates.", f"{place}(b)",
            f"highest mean accuracy over λ less what is {1 - OPEN:.0%} of the way from that at the small learning rate to the "
            "highest over learning rates",
            highest_lead(over_penalty, (*over_rate[:2], part_of_the_way(small, of_rate, 1 - OPEN))), 0.0, f"all but {OPEN:.0%} of the gap",
            decided_after=Late("the claim; its border before any run of a Wide-ResNet"),
        ),
        Claim(
            "As λ becomes small the test accuracy becomes that of the small learning rate without regularizer.", f"{place}(b)",
            "accuracy with the smallest λ less that with λ = 0",
            measured(lambda one, other: float(one[0] - other[0]), of_penalty, small), NEAR, f"{NEAR:.0%} of accuracy",
            about=0.0, decided_after=Late("the claim"),
        ),
        Claim(
            "The larger the learning rate, the smaller the implicit regularizer at the end of training.", f"{place}(c)",
            "minus the slope of log2 C_reg over log2 ε",
            measured(lambda y: -slope(x_rate, y), over_rates(results, REGULARIZER)), 0.0, NONE,
        ),
        Claim(
            "The larger λ, the smaller it is.", f"{place}(c)", "minus the slope of log2 C_reg over log2 λ",
            measured(lambda y: -slope(x_penalty, y), over_penalties(results, REGULARIZER)), 0.0, NONE,
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
    departures=("C_reg is that at the beginning of the last epoch, over the batches of that epoch.",),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
