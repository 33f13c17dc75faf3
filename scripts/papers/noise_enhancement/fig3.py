"""noise_enhancement, figure 3: test accuracy against convergence time, as the batch size or alpha varies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from papers.noise_enhancement._curves import (
    Curve,
    Means,
    add_legend,
    beyond,
    by_seed,
    curve,
    gain,
    judged,
    logarithmic,
    over_means,
    peak,
    plus_minus,
    slope,
)
from sgdscope.claims import EXPONENT_NEAR, NONE, WHY_EXPONENT, Claim, Late, Measurement, TooLittle, exponent
from sgdscope.document import Table
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Axes, Picture, new_figure
from sgdscope.results import Results
from sgdscope.studies import Setting

AFTER = Late("the border 0 in place of 0.1 % of accuracy, by which chance was to be kept out")
LATER = Late(
    "the claim and its border, and that an exponent is that of the means of seeds, by the jackknife, in place of the mean"
)
TIMES = 1.25  # of convergence times that agree: they are whole epochs
ENDS = {0: "end with little noise", -1: "end with much noise"}  # of a curve
NEARLY = 1.1  # of effective batch sizes: within that factor they are the same


def pair(results: Results, network: str) -> tuple[Curve, Curve]:
    """Over the batch size, the largest first, and over alpha: so both go from little noise to much."""
    batches, alphas = (results.study.curve(network, varies=name) for name in ("batch", "alpha"))
    return curve(results, batches[::-1]), curve(results, alphas)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """A panel for each network."""
    results.need_some()
    networks = list(results.study.curves)
    figure = new_figure(0.8 + 3.6 * len(networks), 3.6)
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks):
        by_batch, by_alpha = pair(results, network)
        _draw(axes, by_batch, COLOURS[0], "o", "B varies, α = 1")
        _draw(axes, by_alpha, COLOURS[1], "^", f"α varies, B = {results.study.values['large']}")
        axes.set_title(network, loc="left")
        axes.set_xlabel("convergence time (steps)")
        axes.set_ylabel("test accuracy")
        add_legend(axes)
    return {"fig3": figure}


def _draw(axes: Axes, drawn: Curve, colour: str, marker: str, label: str) -> None:
    if not drawn.settings:
        return
    axes.errorbar(
        drawn.steps.mean(axis=1), drawn.accuracy.mean(axis=1), drawn.accuracy.std(axis=1, ddof=1),
        drawn.steps.std(axis=1, ddof=1), color=colour, marker=marker, markersize=4, capsize=2, label=label,
    )  # fmt: skip
    axes.set_xscale("log")
    logarithmic(axes.xaxis)


# -------------------------------------------------------------------------------------------- the claims


def time_over_batches(one: Means) -> float:
    """Minus the slope of log2 of the convergence time over log2 of the batch size."""
    return -slope(np.log2(one.batch), np.log2(one.steps))


def time_over_alphas(one: Means) -> float:
    """The slope of log2 of the convergence time over log2 of alpha."""
    return slope([math.log2(alpha) for alpha in one.alpha], np.log2(one.steps))


def enhancement(alpha: Any) -> Any:
    """By how much α enlarges the covariance of the noise, equation 10."""
    return alpha**2 + (1 - alpha) ** 2


def effective(setting: Setting) -> float:
    """The effective batch size, equation 11."""
    return float(setting["batch"] / enhancement(setting["alpha"]))


def common_range(*arms: Curve) -> list[Curve]:
    """Both arms where they span the same effective batch sizes, so that neither can find a better one than the other has."""
    sizes = [[effective(setting) for setting in arm.settings] for arm in arms]
    if not all(sizes):
        return list(arms)
    low, high = max(map(min, sizes)), min(map(max, sizes))
    found = []
    for arm, of_arm in zip(arms, sizes):
        kept = [place for place, size in enumerate(of_arm) if low / NEARLY <= size <= high * NEARLY]
        settings = tuple(arm.settings[place] for place in kept)
        found.append(replace(arm, settings=settings, accuracy=arm.accuracy[kept], steps=arm.steps[kept]))
    return found


def best_alpha_over_best_batch(by_batch: Curve, by_alpha: Curve) -> Measurement:
    """By how much the highest accuracy over alpha is above that over batch sizes, where both span the same noise."""
    ends = (beyond(by_alpha, "alpha"), beyond(by_batch, "batch"))
    batches, alphas = common_range(by_batch, by_alpha)
    return gain(batches, alphas, ends)


def exponent_of_noise(number: Callable[[Means], np.ndarray]) -> Callable[[Means, Means], float]:
    """Of a number of both arms: the p with which it is best a function of B / (α² + (1 − α)²)^p."""

    def of(batches: Means, alphas: Means) -> float:
        batch, alpha, y = (
            np.append(*pair)
            for pair in (
                (batches.batch, alphas.batch), (batches.alpha, alphas.alpha), (number(batches), number(alphas))
            )
        )  # fmt: skip
        return exponent(np.log2(batch), np.log2(enhancement(alpha)), y)

    return of


def time_apart(batches: Means, alphas: Means) -> float:
    """log2 of the convergence times with α over those of its effective batch sizes, between which they are interpolated."""
    order = np.argsort(batches.batch)
    known, times = np.log2(batches.batch[order]), np.log2(batches.steps[order])
    sizes = np.log2(alphas.batch / enhancement(alphas.alpha))
    inside = (alphas.alpha > 1) & (sizes >= known[0]) & (sizes <= known[-1])
    if not inside.any():
        raise TooLittle("no α has an effective batch size between those that were tried")
    return float(np.mean(np.log2(alphas.steps[inside]) - np.interp(sizes[inside], known, times)))


def claims_of_equivalence(network: str, place: str, batches: Curve, alphas: Curve) -> list[Claim]:
    """Whether α does what smaller batches do: of Gaussian noise only its covariance counts."""
    words = "p with which {} is best a parabola in log B / (α² + (1 − α)²)ᵖ, of both curves"
    return [
        Claim(
            f"{network}: the convergence time is that of the effective batch size.", f"{place}, equation 11 and footnote 5",
            words.format("log convergence time"),
            judged(partial(over_means, exponent_of_noise(lambda one: np.log2(one.steps))), batches, alphas),
            EXPONENT_NEAR, WHY_EXPONENT, about=1.0, decided_after=LATER,
        ),
        Claim(
            f"{network}: it agrees with that of the effective batch size.", f"{place}, equation 11 and footnote 5",
            "log2 of the convergence time over that of the effective batch size, interpolated, mean over α > 1",
            judged(partial(by_seed, time_apart), batches, alphas), math.log2(TIMES), f"a factor of {TIMES}", about=0.0,
            decided_after=LATER,
        ),
        Claim(
            f"{network}: the test accuracy is that of the effective batch size, as far as the noise is Gaussian.",
            f"{place}, equation 11 and footnote 5", words.format("test accuracy"),
            judged(partial(over_means, exponent_of_noise(lambda one: one.accuracy)), batches, alphas),
            EXPONENT_NEAR, WHY_EXPONENT, about=1.0, decided_after=LATER,
        ),
    ]  # fmt: skip


def claims(results: Results) -> list[Claim]:
    """What is alike in the two curves, and which is the higher one."""
    place, large = "section 3.2, figure 3", results.study.values["large"]
    found = []
    for network in results.study.curves:
        by_batch, by_alpha = pair(results, network)
        at_ends = [
            {words: judged(partial(peak, varied, end), arm) for end, words in ENDS.items()}
            for arm, varied in ((by_batch, "batch"), (by_alpha, "alpha"))
        ]
        found += [
            Claim(
                f"{network}: with smaller batches the convergence time is longer.", place,
                "minus the slope of log2 of the convergence time over log2 B (α = 1)",
                judged(partial(by_seed, time_over_batches), by_batch), 0.0, NONE,
            ),
            Claim(
                f"{network}: with a larger α it is longer, too.", place,
                f"slope of log2 of the convergence time over log2 α (B = {large})",
                judged(partial(by_seed, time_over_alphas), by_alpha), 0.0, NONE,
            ),
            Claim(
                f"{network}: the test accuracy has a peak as the batch size is reduced.", place,
                "highest accuracy inside less that at each of the curve's two ends (α = 1)", at_ends[0], 0.0, NONE,
                decided_after=AFTER,
            ),
            Claim(
                f"{network}: it has a peak as α is increased.", place,
                f"highest accuracy inside less that at each of the curve's two ends (B = {large})", at_ends[1], 0.0, NONE,
                decided_after=AFTER,
            ),
            Claim(
                f"{network}: large batches with the best α are better than the best batch size without noise enhancement.",
                f"{place}, table 3",
                f"highest accuracy over α (B = {large}) less that over B (α = 1), at the effective batch sizes that both span",
                judged(best_alpha_over_best_batch, by_batch, by_alpha), 0.0, NONE,
                decided_after=Late("that both span the same effective batch sizes"),
            ),
            *claims_of_equivalence(network, place, by_batch, by_alpha),
        ]  # fmt: skip
    return found


def tables(results: Results) -> list[Table]:
    """The paper's table 3."""
    rows = []
    for network in results.study.curves:
        for words, one in zip(("without", "with"), pair(results, network)):
            if one.lacking or not one.settings:
                continue
            best = one.means().best
            setting = one.settings[best]
            accuracy = plus_minus(100 * one.accuracy[best], 2)
            rows.append(
                [network, f"{words} noise enhancement", str(setting["batch"]), f"{setting['alpha']:g}", accuracy]
            )
    return [Table(["Network", "", "B", "α", "Best test accuracy (%)"], rows)] if rows else []


FIGURE = Figure(
    title="Enhancing the noise of large batches, compared with reducing the batch size",
    did="Compares, for all three networks, reducing the batch size from 5000 to 100 without noise enhancement with "
    "increasing α from 1 to 11 (C2: 7) at batches of 5000.",
    shows={
        "fig3": "Mean and standard deviation over the seeds, of both numbers. Each curve begins on the left, with large "
        "batches without noise enhancement; settings of which a run did not reach L** are left out."
    },
    departures=(
        "The quick variant has F1 alone, and α = 1, 1.5, 2 and 3 with batches of 800: larger α take more than the minutes of this "
        "size, α = 5 in batches of 400 more than 19,000 steps. Batches of 800 are a fifth of its examples, so that their noise is that "
        "of equation 4 less a fifth. The desk variant has F1 and C1, and α = 1, 1.5 and 2 with batches of 400.",
    ),
    draw=draw,
    claims=claims,
    tables=tables,
)
