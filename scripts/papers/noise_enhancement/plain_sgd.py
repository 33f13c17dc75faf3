"""noise_enhancement, equations 6 and 11, with plain SGD in place of Adam: enhanced noise against smaller batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from papers.noise_enhancement._curves import Curve, Means, add_legend, beyond, by_seed, curve, gain, judged
from papers.noise_enhancement.fig3 import TIMES, effective, pair, tables, time_over_alphas
from sgdscope.claims import NONE, Claim, Measurement
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, new_figure
from sgdscope.results import Results

NETWORK = "F1"


def draw(results: Results) -> dict[str, Picture]:
    """Test accuracy and convergence time over the effective batch size, of each seed and in the mean."""
    results.need_some()
    figure = new_figure(8.4, 3.6)
    panels = figure.subplots(1, 2)
    labels = ("smaller batches, α = 1", f"α varies, B = {results.study.values['large']}")
    for arm, label, colour, marker in zip(pair(results, NETWORK), labels, COLOURS[:2], "o^", strict=True):
        sizes = [effective(setting) for setting in arm.settings]
        for axes, values in zip(panels, (arm.accuracy, arm.steps) if sizes else ()):
            axes.plot(sizes, values, color=colour, linewidth=0.6, alpha=0.5)
            axes.plot(sizes, values.mean(axis=1), color=colour, marker=marker, label=label)
    for axes, words in zip(panels, ("test accuracy", "convergence time (steps)")):
        axes.set_xscale("log")
        places = sorted({effective(setting) for setting in results.study.curves[NETWORK]})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_xticks([], minor=True)
        axes.margins(0.08)
        axes.set(xlabel="effective batch size", ylabel=words)
    panels[0].set_title(f"{NETWORK}, plain SGD", loc="left")
    add_legend(panels[1])
    return {"plain_sgd": figure}


def of_equal_noise(results: Results) -> dict[str, tuple[Curve, Curve]]:
    """For each α above 1, in words, the smaller batches whose noise has the same covariance, and the large ones with that α."""
    smaller = {setting["batch"]: setting for setting in results.study.curve(NETWORK, varies="batch")}
    enhanced = [setting for setting in results.study.curve(NETWORK, varies="alpha") if setting["alpha"] > 1]
    return {
        f"α = {one['alpha']:g}": (curve(results, [smaller[effective(one)]]), curve(results, [one])) for one in enhanced
    }


def gain_of_some_alpha(plain: Curve, enhanced: Curve) -> Measurement:
    """By how much the best alpha raises the test accuracy; larger ones than were tried may raise it more."""
    return gain(plain, enhanced, (beyond(enhanced, "alpha"), ""))


def claims(results: Results) -> list[Claim]:
    """Whether enhanced noise is good for large batches, and does what smaller batches do."""
    large = results.study.values["large"]
    by_alpha = results.study.curve(NETWORK, varies="alpha")
    plain, *enhanced = by_alpha
    alphas = ", ".join(f"{setting['alpha']:g}" for setting in enhanced)
    sizes = ", ".join(f"{effective(setting):g}" for setting in enhanced)

    def measure(of: Callable[[Means, Means], float]) -> dict[str, Measurement]:
        return {words: judged(partial(by_seed, of), *curves) for words, curves in of_equal_noise(results).items()}

    return [
        Claim(
            "Noise enhancement improves generalization without a change of learning rate and batch size.", "abstract; equation 6",
            f"highest test accuracy with α = {alphas} less that with α = 1 (B = {large})",
            judged(gain_of_some_alpha, curve(results, [plain]), curve(results, enhanced)), 0.0, NONE,
        ),
        Claim(
            "Large batches with noise enhancement are better than smaller ones whose noise has the same covariance.",
            "section 3.2; section 4",
            f"test accuracy with α = {alphas} in batches of {large} less that with α = 1 in batches of {sizes}",
            measure(lambda smaller, other: float((other.accuracy - smaller.accuracy)[0])), 0.0, NONE,
        ),
        Claim(
            "The convergence time increases with α at a fixed batch size.", "section 3.1",
            f"slope of log2 of the convergence time over log2 α (B = {large})",
            judged(partial(by_seed, time_over_alphas), curve(results, by_alpha)), 0.0, NONE,
        ),
        Claim(
            "The convergence time is that of the effective batch size.", "equation 11 and footnote 5",
            f"log2 of the convergence time with α = {alphas} over that in batches of {sizes}",
            measure(lambda smaller, other: float(np.log2(other.steps / smaller.steps)[0])), math.log2(TIMES),
            f"a factor of {TIMES}, as for figure 3", about=0.0,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Enhancing the noise of large batches with plain SGD in place of Adam",
    did="Derives noise enhancement for plain SGD, of which alone equation 6 is the whole step, says that it is also applicable to "
    "Adam, and does all its experiments with Adam. This picture is ours: what its figure 3 compares, with plain SGD.",
    shows={
        "plain_sgd": "Thin lines are seeds, thick ones their means, from large batches without noise enhancement on the right to strong "
        "noise on the left; settings of which a run did not reach L** are left out. Points above one another have noise of the "
        "same covariance at the same weights. Convergence time: steps until the training loss is L**."
    },
    departures=(
        "The learning rate is 0.1 at all batch sizes and halved at L*, as that of Adam is. It and the quick variant's batches were "
        "chosen by the training loss of single runs: with 0.2 it did not fall below 0.1 in 5,000 steps, with 0.1 and α = 2 runs in "
        "batches of 200 come to L**, one in batches of 100 did not in 17,000 steps.",
        "α is 2, in the full variant also 1.5, with which the effective batch sizes are whole. The best α may be another. Large batches "
        "are of 200 in the quick variant, of 5000 in the full one.",
        "Claims and borders were fixed before any accuracy with plain SGD had been looked at.",
    ),
    draw=draw,
    claims=claims,
    tables=tables,
)
