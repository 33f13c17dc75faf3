"""implicit_regularization, figure 6: learning rates, explicit regularizers and batch sizes on Fashion-MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from papers.implicit_regularization import PEAK, Setting, _batches, jobs_of
from papers.implicit_regularization._batches import better_by_ratio, draw_ratios
from papers.implicit_regularization._curves import (
    ACCURACY,
    curve,
    draw_curve,
    fall,
    finish,
    is_quick,
    measured,
    need_some,
    optimum,
    rise,
    table_of_best,
)
from sgdscope.claims import Claim
from sgdscope.figure import Figure, Job
from sgdscope.plots.style import COLOURS, Stroke, new_figure
from sgdscope.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

NAME = "fashion_mnist"
BATCH = 16
SMALL = {True: -7, False: -9}  # log2 of the learning rate with explicit regularizers; quick, full
RATES = {True: range(-8, -2), False: range(-11, -2)}
PENALTIES = {True: range(-5, 2), False: range(-8, 1)}
BATCHES = {True: (8, 16, 32), False: (8, 16, 32, 64)}
RATES_OF_BATCH = {True: range(-7, -3), False: range(-9, -3)}  # at batches of 16
PENALTIES_OF_BATCH = {True: range(-5, -1), False: range(-6, 0)}
HALF_STEP = 0.5  # between two powers of 2


def rates(quick: bool) -> list[Setting]:
    """Without regularizer."""
    return [Setting(NAME, rate) for rate in RATES[quick]]


def penalties(quick: bool) -> list[Setting]:
    """At the small learning rate."""
    return [Setting(NAME, SMALL[quick], penalty) for penalty in PENALTIES[quick]]


def rates_by_batch(quick: bool) -> dict[int, dict[int, Setting]]:
    """Equal epochs, and equal ratios of learning rate to batch size."""
    return _batches.rates_by_batch(NAME, RATES_OF_BATCH[quick], BATCH, BATCHES[quick], quick)


def penalties_by_batch(quick: bool) -> dict[int, dict[int, Setting]]:
    """Equal steps at the small learning rate, and equal ratios of lambda to batch size."""
    return _batches.penalties_by_batch(NAME, SMALL[quick], PENALTIES_OF_BATCH[quick], BATCH, BATCHES[quick], quick)


def jobs(quick: bool) -> list[Job]:
    """All panels."""
    by_batch = [*rates_by_batch(quick).values(), *penalties_by_batch(quick).values()]
    return jobs_of([*rates(quick), *penalties(quick), *(s for one in by_batch for s in one.values())], quick)


def draw(results: Results) -> dict[str, Picture]:
    """The paper's three panels."""
    need_some(results)
    quick = is_quick(results)
    figure = new_figure(10.5, 3.6)
    panels = figure.subplots(1, 3, sharey=True)
    rate = Stroke("learning rate ε, λ = 0", COLOURS[0])
    penalty = Stroke(f"λ, ε = 2$^{{{SMALL[quick]}}}$", COLOURS[1])
    draw_curve(panels[0], RATES[quick], curve(results, rates(quick), ACCURACY), rate)
    draw_curve(panels[0], PENALTIES[quick], curve(results, penalties(quick), ACCURACY), penalty)
    draw_ratios(panels[1], results, rates_by_batch(quick))
    draw_ratios(panels[2], results, penalties_by_batch(quick))
    for axes, label in zip(panels, ("ε or λ", "ε / B", "λ / B")):
        axes.set_xlabel(label)
    finish(panels)
    panels[0].set_ylabel("highest test accuracy")
    return {"fig6": figure}


def claims(results: Results) -> list[Claim]:
    """Whether lambda acts as the learning rate does, and whether ratios to the batch size decide."""
    quick, place = is_quick(results), "appendix D, figure 6"
    of_rate, of_penalty = (curve(results, settings, ACCURACY) for settings in (rates(quick), penalties(quick)))
    x_rate, x_penalty = np.array(RATES[quick]), np.array(PENALTIES[quick])
    return [
        Claim(
            "With a larger learning rate the test accuracy rises at first.", f"{place}(a)",
            "highest accuracy less that at the smallest learning rate",
            measured(rise, of_rate), PEAK,
        ),
        Claim(
            "It falls where the learning rate is too large.", f"{place}(a)",
            "highest accuracy less that at the largest learning rate",
            measured(fall, of_rate), PEAK,
        ),
        Claim(
            "With a larger explicit regularizer it rises at first.", f"{place}(a)",
            "highest accuracy less that at the smallest λ",
            measured(rise, of_penalty), PEAK,
        ),
        Claim(
            "It falls where the regularizer is too large.", f"{place}(a)",
            "highest accuracy less that at the largest λ",
            measured(fall, of_penalty), PEAK,
        ),
        Claim(
            "The regularizer makes up for a small learning rate.", f"{place}(a)",
            "highest accuracy over λ less that over learning rates",
            measured(lambda penalty, rate: penalty.max() - rate.max(), of_penalty, of_rate), -PEAK,
        ),
        Claim(
            "The best λ is larger than the best learning rate (in the paper 8 times).", f"{place}(a)",
            "log2 of their ratio",
            measured(lambda p, r: optimum(x_penalty, p) - optimum(x_rate, r), of_penalty, of_rate), HALF_STEP,
        ),
        Claim(
            "Batch sizes agree if ε/B is equal.", f"{place}(b)",
            "mean difference in accuracy of two batch sizes at equal ε less that at equal ε/B",
            better_by_ratio(results, rates_by_batch(quick)), 0.0,
        ),
        Claim(
            "Batch sizes agree if λ/B is equal.", f"{place}(c)",
            "mean difference in accuracy of two batch sizes at equal λ less that at equal λ/B",
            better_by_ratio(results, penalties_by_batch(quick)), 0.0,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Fashion-MNIST: learning rates, explicit regularizers and batch sizes",
    did="Trains three hidden layers of 4096 units on Fashion-MNIST with many learning rates, and at a small learning rate "
    "with explicit regularizers, for several batch sizes: with the same number of epochs where it varies the learning "
    "rate, of steps where it varies the regularizer.",
    shows={
        "fig6": "Highest test accuracy of the whole training: mean and standard deviation of the best runs. (a) Batches of "
        "16. (b) Equal epochs, no regularizer. (c) Equal steps at the small learning rate."
    },
    departures=(_batches.LEFT_OUT,),
    jobs=jobs,
    draw=draw,
    claims=claims,
    tables=table_of_best,
)
