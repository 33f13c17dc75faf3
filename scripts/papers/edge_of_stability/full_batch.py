"""edge_of_stability: on full batches the largest eigenvalue rises to the rule's threshold and stays there."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from papers.edge_of_stability import TOP, course, late, late_share, setting_of, share_of_threshold
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

CURVES = {
    "slow": "η = {rate:g}",
    "fast": "η = {rate:g}",
    "momentum": "η = {rate:g}, momentum {momentum:g}",
    "adam": "Adam, η = {adam:g}",
}
NEAR = 0.2  # of the threshold
FROM_FIRST = Late(
    "the first value in place of the least one, below which noise alone does not stay", {"quick": range(11, 16)}
)


def words(results: Results, curve: str) -> str:
    """What a curve runs."""
    setting = setting_of(results, curve)
    names = ("rate", "momentum", "adam")
    return CURVES[curve].format(**{name: setting[name] for name in names if "{" + name in CURVES[curve]})


def draw(results: Results) -> dict[str, Picture]:
    """The largest eigenvalue over the threshold, and the training loss, along training."""
    results.need_some()
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    left.axhline(1, color=RED, linewidth=1.0)
    for curve, colour in zip(CURVES, itertools.cycle(COLOURS)):
        for outcome in results.of(setting_of(results, curve)):
            if outcome.run:
                left.plot(*share_of_threshold(outcome.run, TOP), color=colour, linewidth=0.8)
                right.plot(*course(outcome.run, ["loss"]), color=colour, linewidth=0.6)
        right.plot([], [], color=colour, label=words(results, curve))
    left.set(ylabel="largest eigenvalue / threshold", xlabel="step", ylim=(0, 1.5))
    right.set(ylabel="training loss", xlabel="step", yscale="log")
    right.legend(fontsize=8)
    return {"full_batch": figure}


# -------------------------------------------------------------------------------------------- the claims


def rise(run: Run) -> Sample:
    """The eigenvalue's mean over the last third of training, over its first value.

    Over its least value before it would be above 1 for noise alone.
    """
    values = course(run, [TOP])[1]
    return Sample(float(late(values).mean() / values[0]))


def climbs(run: Run) -> Sample:
    """The share of the steps of the last third at which the training loss rises."""
    return Sample(float(np.mean(np.diff(late(course(run, ["loss"])[1])) > 0)))


def fall(run: Run) -> Sample:
    """The mean logarithm of the training loss over the middle third less that over the last third."""
    losses = np.log(course(run, ["loss"])[1])
    third = len(losses) // 3
    return Sample(float(losses[-2 * third : -third].mean() - losses[-third:].mean()))


def claims(results: Results) -> list[Claim]:
    """Whether the eigenvalue rises to the threshold of each rule and stays, while the loss falls on, not step by step."""
    plain = {words(results, curve): setting_of(results, curve).name for curve in ("slow", "fast")}
    momentum, adam = (setting_of(results, curve).name for curve in ("momentum", "adam"))

    def of_plain(of: Callable[[Run], Sample]) -> dict[str, Measurement]:
        return {rate: results.measure(of, name) for rate, name in plain.items()}

    near = "a fifth of the threshold: it hovers about it, and is no multiple of it"
    hovers = "largest eigenvalue over the threshold, mean over the last third of training"
    return [
        Claim(
            "The largest eigenvalue rises in training (progressive sharpening).", "Cohen et al. 2021, section 3",
            "its mean over the last third of training over that at the initial weights", of_plain(rise),
            1.0, "1: no rise", decided_after=FROM_FIRST,
        ),
        Claim(
            "Gradient descent holds it at 2/η.", "Cohen et al. 2021, section 3", hovers,
            of_plain(late_share(TOP)), NEAR, near, about=1.0,
        ),
        Claim(
            "With heavy-ball momentum it is held at (2 + 2β)/η.", "Cohen et al. 2021, section 3", hovers,
            results.measure(late_share(TOP), momentum), NEAR, near, about=1.0,
        ),
        Claim(
            "Adam holds that of the preconditioned Hessian at (2 + 2β₁)/((1 − β₁) η).", "Cohen et al. 2022, section 3", hovers,
            results.measure(late_share(TOP), adam), NEAR, near, about=1.0,
        ),
        Claim(
            "There the training loss does not fall at each step.", "Cohen et al. 2021, section 3",
            "share of the steps of the last third at which it rises", of_plain(climbs),
            0.1, "one step in ten; none for a rate that is stable",
        ),
        Claim(
            "Yet over longer times it goes on falling.", "Cohen et al. 2021, section 3",
            "mean logarithm over the middle third of training less that over the last",
            of_plain(fall), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Full batches: the largest eigenvalue of the Hessian over the rule's threshold",
    did="Trains by gradient descent and sees the largest eigenvalue of the Hessian rise until it reaches 2/η, about which it then "
    "hovers while the training loss goes on falling, though not at every step; momentum and Adam do so at thresholds of their own.",
    shows={
        "full_batch": "Each line is a seed. Left: the largest eigenvalue, of Adam that of the Hessian in its own metric, over the "
        "threshold above which the rule is unstable on a parabola. Right: the training loss at every step."
    },
    departures=(
        "The squared loss is the mean over the ten classes, not their sum: eigenvalues are a tenth of those with the sum, and "
        "rates ten times as large stand for the same.",
    ),
    draw=draw,
    claims=claims,
)
