"""implicit_regularization, figure 6: learning rates, explicit regularizers and batch sizes on Fashion-MNIST."""

from __future__ import annotations

from papers.implicit_regularization import BORDER, LAST, OPTIMA, PEAK, _batches
from papers.implicit_regularization._batches import claims_of_ratio, draw_ratios, leads_of_smaller
from papers.implicit_regularization._curves import (
    ACCURACY,
    FIT,
    at_optimum,
    draw_curve,
    finish,
    fitted,
    rise_and_fall,
    table_of_best,
    unfitted,
)
from papers.implicit_regularization._regularizers import (
    claim_that_penalty_closes_the_gap,
    over_penalties,
    over_rates,
    penalties,
    rates,
    unfitted_small,
)
from sgdscope.claims import NONE, Claim, Late
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, Stroke, new_figure
from sgdscope.results import Results

HALF_STEP = 0.5  # between two powers of 2
FITS = "that the small learning rate must have fitted the training set"
TRAINED = "that only settings with which all seeds train count, and the border 0"


def draw(results: Results) -> dict[str, Picture]:
    """The paper's three panels."""
    results.need_some()
    figure = new_figure(10.5, 3.6)
    panels = figure.subplots(1, 3, sharey=True)
    rate = Stroke("learning rate ε, λ = 0", COLOURS[0])
    penalty = Stroke(f"λ, ε = 2$^{{{results.study.values['small']}}}$", COLOURS[1])
    draw_curve(panels[0], rates(results), over_rates(results, ACCURACY), rate)
    draw_curve(panels[0], penalties(results), over_penalties(results, ACCURACY), penalty)
    draw_ratios(panels[1], results, "rates_by_batch")
    draw_ratios(panels[2], results, "penalties_by_batch")
    for axes, label in zip(panels, ("ε or λ", "ε / B", "λ / B")):
        axes.set_xlabel(label)
    finish(panels)
    panels[0].set_ylabel("highest test accuracy")
    return {"fig6": figure}


def claims(results: Results) -> list[Claim]:
    """Whether lambda acts as the learning rate does, and whether ratios to the batch size decide."""
    place = "appendix D, figure 6"
    over_rate = ("learning rate", rates(results), over_rates(results, ACCURACY))
    over_penalty = ("λ", penalties(results), over_penalties(results, ACCURACY))
    return [
        *rise_and_fall(
            (over_rate, over_rate), f"{place}(a)",
            "With a larger learning rate the test accuracy rises at first.",
            "It falls where the learning rate is too large.",
            (Late(f"{BORDER.what}; that the smallest learning rate must have fitted the training set", LAST), Late(TRAINED, LAST)),
            unfitted(over_rates(results, FIT), [0]),
        ),
        *rise_and_fall(
            (over_penalty, over_penalty), f"{place}(a)", "With a larger explicit regularizer it rises at first.",
            "It falls where the regularizer is too large.", (BORDER, Late(TRAINED, LAST)),
        ),
        claim_that_penalty_closes_the_gap(
            results, "The regularizer makes up for a small learning rate.", f"{place}(a)",
            Late(f"the border, of the gap in place of 0.5 % of accuracy, which was half of it; {FITS}", LAST),
        ),
        Claim(
            "The best λ is larger than the best learning rate (in the paper 8 times).", f"{place}(a)",
            "log2 of their ratio",
            fitted(at_optimum(lambda p, r: p - r, [over_penalty, over_rate]), unfitted_small(results)), HALF_STEP,
            "half a step of the grid", decided_after=Late(f"{OPTIMA.what}; {FITS}", LAST),
        ),
        *claims_of_ratio(results, "rates_by_batch", "rate", "ε", f"{place}(b)", PEAK),
        *claims_of_ratio(results, "penalties_by_batch", "penalty", "λ", f"{place}(c)", PEAK),
        Claim(
            "At equal λ/B smaller batches have slightly higher accuracies.", f"{place}(c)",
            "accuracy of the smaller of two batch sizes less that of the larger, mean over the ratios λ/B, for each pair",
            leads_of_smaller(results, "penalties_by_batch"), 0.0, NONE, decided_after=Late("the claim"),
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
    departures=(_batches.LEFT_OUT, _batches.EQUAL_TIME),
    draw=draw,
    claims=claims,
    tables=table_of_best,
)
