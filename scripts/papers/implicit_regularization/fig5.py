"""implicit_regularization, figure 5: training accuracies and losses of figure 1's runs."""

from __future__ import annotations

import numpy as np

from papers.implicit_regularization import BORDER, TRAIN, UNJUDGED
from papers.implicit_regularization._curves import draw_curve, highest, last, lead_over, measured, table_of_best
from papers.implicit_regularization._regularizers import PENALTY, RATE, over_penalties, over_rates, penalties, rates
from sgdscope.claims import NONE, Claim, Late, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, new_figure
from sgdscope.results import Results

FIT = highest(TRAIN)
LOSS = last("eval.train_loss")
SIMILAR = 1.0  # log2: losses within a factor of 2
ALIKE = 0.02  # of training accuracy
LARGE = 3  # so many of the largest learning rates and lambda


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


def claims(results: Results) -> list[Claim]:
    """Whether large learning rates and large regularizers fit the training set equally."""
    place = "appendix C, figure 5"
    x_rate, x_penalty = rates(results), penalties(results)
    common = np.intersect1d(x_rate, x_penalty)[-LARGE:]

    def unlikeness(of_rate: np.ndarray, of_penalty: np.ndarray) -> float:
        ratios = np.log2(of_rate[np.isin(x_rate, common)]) - np.log2(of_penalty[np.isin(x_penalty, common)])
        if not np.isfinite(ratios).any():
            raise TooLittle("none of these learning rates trained")
        return float(np.nanmean(np.abs(ratios)))

    def apart(of_rate: np.ndarray, of_penalty: np.ndarray) -> float:
        return float(np.mean(of_rate[np.isin(x_rate, common)] - of_penalty[np.isin(x_penalty, common)]))

    return [
        Claim(
            "Small learning rates have not converged: the training accuracy is highest at a larger one.", f"{place}(a)",
            "highest training accuracy less that at the smallest learning rate",
            lead_over("learning rate", x_rate, over_rates(results, FIT), 0), 0.0, NONE, decided_after=BORDER,
        ),
        Claim(
            "Large learning rates reach a lower training accuracy.", f"{place}(a)",
            "highest training accuracy less that at the largest learning rate",
            lead_over("learning rate", x_rate, over_rates(results, FIT), -1), 0.0, NONE, decided_after=BORDER,
        ),
        Claim(
            "With large λ no high training accuracy is reached.", f"{place}(a)",
            "highest training accuracy less that at the largest λ",
            lead_over("λ", x_penalty, over_penalties(results, FIT), -1), 0.0, NONE, decided_after=BORDER,
        ),
        Claim(
            "Large learning rates and equally large λ reach similar training accuracies.", place,
            f"highest training accuracy with ε less that with λ, mean over the {LARGE} largest values that both have in common",
            measured(apart, over_rates(results, FIT), over_penalties(results, FIT)), ALIKE, f"{ALIKE:.0%} of accuracy", about=0.0,
            decided_after=Late("the claim"),
        ),
        Claim(
            "Large learning rates and equally large λ end at similar training losses.", f"{place}(b)",
            f"mean of |log2 of the losses' ratio| at the {LARGE} largest values that ε and λ have in common",
            measured(unlikeness, over_rates(results, LOSS), over_penalties(results, LOSS)), SIMILAR, "within a factor of 2",
            about=0.0,
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
    departures=("The loss is evaluated on the training set without crops and flips.",),
    draw=draw,
    claims=claims,
    tables=table_of_best,
    unjudged=UNJUDGED,
)
