"""interventions: momentum, RMSProp, Adam and AdamW against gradient flow on what backward error analysis gives them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from sgdscope.claims import NONE, Claim, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

RULES = {
    "heavy_ball": "heavy ball",
    "nesterov": "Nesterov's momentum",
    "rmsprop": "RMSProp",
    "adam": "Adam",
    "rmsprop_momentum": "RMSProp with momentum",
    "adamw": "AdamW",
}
ADAPTIVE = ("rmsprop", "adam")
HALVINGS = 4
SECOND, THIRD = 2, 3  # orders in the learning rate
NEAR = 0.1  # of an order
WHY_NEAR = "a tenth of an order: a coefficient of second order that were off by a tenth would leave a slope near 2"
OFF = 0.05
WHY_OFF = "a twentieth: what is of a higher order in the rate is a thousandth"
GHOSH, CATTANEO = "Ghosh et al. 2023", "Cattaneo et al. 2024, section 3"
FLOWS = f"{GHOSH}; {CATTANEO}; Cattaneo and Shigida 2025"


def value(run: Run, column: str) -> float:
    """A column at the first step."""
    table, name = run.find(column)
    table.load([name])
    return float(table[name][0])


def distances(run: Run, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """The learning rates, and a distance at each."""
    stems = [f"flow.halved{k}" for k in range(HALVINGS + 1)]
    rate, y = (np.array([value(run, f"{stem}.{name}") for stem in stems]) for name in ("learning_rate", distance))
    return rate, y


def order(distance: str) -> Callable[[Run], Sample]:
    """The slope of log distance over log learning rate."""

    def of(run: Run) -> Sample:
        rate, y = distances(run, distance)
        return Sample(float(np.polyfit(np.log(rate), np.log(y), 1)[0]))

    return of


def factor(rule: str, sign: int = 1) -> Callable[[Run], Sample]:
    """By how much the correction lowers the norm of the gradient, over what gradient descent's would: measured."""
    return lambda run: Sample(sign * value(run, f"flow.halved0.{rule}_factor"))


def said(run: Run, rule: str) -> float:
    """What the theory has for the factor."""
    if rule in ADAPTIVE:
        return value(run, f"said.{rule}.factor")
    return 4 * value(run, f"said.{rule}.regularizer") / value(run, "said.squared_norm")


def over_said(rule: str) -> Callable[[Run], Sample]:
    """The measured factor over what the theory has for it."""
    return lambda run: Sample(factor(rule)(run).value / said(run, rule))


def draw(results: Results) -> dict[str, Picture]:
    """The distances by the rate, and the factors by epsilon."""
    results.need_some()
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    (orders,) = results.study.curve("orders")
    colours = dict(zip(RULES, itertools.cycle(COLOURS)))
    for rule, words in RULES.items():
        for i, run in enumerate(results.runs(orders.name)):
            for to, dash in (("plain", ":"), (rule, "-")):
                label = words if to == rule and i == 0 else ""
                left.plot(
                    *distances(run, f"{rule}_to_{to}"), color=colours[rule], linestyle=dash, linewidth=0.9, label=label
                )
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="distance after an epoch")
    left.set_ylim(bottom=left.get_ylim()[0] / 1000)  # room for the legend
    left.legend(fontsize=8, ncols=2, loc="lower right")
    right.axhline(0, color="#999999", linewidth=0.8)
    for rule in ADAPTIVE:
        found: dict[str, list[tuple[float, float, float]]] = {}
        for setting in results.study.curve("factors"):
            for outcome in results.of(setting):
                if outcome.run:
                    point = (setting["epsilon"], factor(rule)(outcome.run).value, said(outcome.run, rule))
                    found.setdefault(str(outcome.job.seed), []).append(point)
        for i, points in enumerate(found.values()):
            epsilon, measured, theory = zip(*points)
            right.plot(epsilon, theory, color=colours[rule], linewidth=0.8, label=RULES[rule] if i == 0 else "")
            right.plot(epsilon, measured, color=colours[rule], linestyle="", marker=".", markersize=4)
    right.set(xscale="log", xlabel="ε", ylabel="factor of the one-norm's gradient")
    right.legend(fontsize=8)
    return {"memory_rules": figure}


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether each rule follows its own modified flow, with the factors of the papers, and where Adam's changes its sign."""
    (orders,) = (setting.name for setting in results.study.curve("orders"))
    ends = results.study.curve("factors")
    small, large = ends[0], ends[-1]
    quantity = "slope of the distance over four halvings of the rate, both logarithmic"

    def slopes(to: str) -> dict[str, Measurement]:
        return {words: results.measure(order(f"{rule}_to_{to or rule}"), orders) for rule, words in RULES.items()}

    ratio = "measured factor over that of the theory"
    where = "measured factor of the one-norm's gradient"
    found = [
        Claim(
            "Each rule is a third-order distance from its own modified flow.", FLOWS, quantity,
            slopes(""), NEAR, WHY_NEAR, about=THIRD,
        ),
        Claim(
            "From its flow of first order it is only of second.", FLOWS, quantity,
            slopes("plain"), NEAR, WHY_NEAR, about=SECOND,
        ),
        Claim(
            "The heavy ball's penalty is (1 + β)/(1 − β) times gradient descent's, Nesterov's (1 − β + 2β²)/(1 − β) times.",
            GHOSH, ratio, {RULES[rule]: results.measure(over_said(rule), small.name) for rule in ("heavy_ball", "nesterov")},
            OFF, WHY_OFF, about=1.0,
        ),
        Claim(
            "Adam's and RMSProp's corrections are those of the theory, whatever ε.", CATTANEO, ratio,
            {
                f"{RULES[rule]}, ε = {setting['epsilon']:g}": results.measure(over_said(rule), setting.name)
                for rule in ADAPTIVE for setting in (small, large)
            },
            OFF, WHY_OFF, about=1.0,
        ),
        Claim(
            "Where ε is far above the gradients, the one-norm is lowered.", CATTANEO, where,
            {RULES[rule]: results.measure(factor(rule), large.name) for rule in ADAPTIVE}, 0.0, NONE,
        ),
        Claim(
            "Where ε is far below them, it is raised.", CATTANEO, f"{where}, with a minus",
            {RULES[rule]: results.measure(factor(rule, -1), small.name) for rule in ADAPTIVE}, 0.0, NONE,
        ),
    ]  # fmt: skip
    return found


FIGURE = Figure(
    title="Momentum, RMSProp, Adam and AdamW against gradient flow on what they minimize besides the loss",
    did="of Ghosh et al. proves that momentum follows, to second order in the learning rate, the flow of a loss with a larger penalty "
    "|∇C|² than gradient descent's, that of Cattaneo et al. that RMSProp and Adam follow one that lowers or raises a perturbed one-norm of "
    "the gradient, that of Cattaneo and Shigida what AdamW follows.",
    shows={
        "memory_rules": "Each line is one seed. Left: the distance of where a rule ends after an epoch of full-batch steps from where flows "
        "arrive in the same time, that of first order (dotted) and the rule's own modified one. Right: the factor with which "
        "the correction lowers the one-norm of the gradient (below 0: raises it), measured (points) and by the theory (lines)."
    },
    departures=(
        "A small tanh network on synthetic data in double precision: the analysis needs smooth losses. β₂ is 0.9, so that steps "
        "change a gradient by less than itself as long as the averages remember.",
        "RMSProp with momentum is in none of the papers: its flow follows from the same analysis (`src/gradients/memory_rules.h`).",
        "The averages begin with what they would hold after a long while.",
    ),
    draw=draw,
    claims=claims,
)
