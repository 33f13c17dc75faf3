"""noise_enhancement, figure 3: test accuracy against convergence time, as the batch size or alpha varies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from papers.noise_enhancement._curves import (
    SEEN,
    Curve,
    Means,
    add_legend,
    beyond,
    by_seed,
    curve,
    gain,
    judged,
    logarithmic,
    peak,
    plus_minus,
    seeds_of,
    slope,
)
from sgdscope.claims import NONE, Claim, Late, Measurement, TooLittle, best_of_settings
from sgdscope.document import Table
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Axes, Picture, new_figure
from sgdscope.results import Results
from sgdscope.studies import Setting

AFTER = Late("the border 0 in place of 0.1 % of accuracy, by which chance was to be kept out")
NEW = Late("the claim", SEEN)
EQUAL_NOISE = Late(
    "the claim, which was that both are alike, that it is of the α that speaks most for it, and the sizes of equation 4 in place of "
    "those of equation 11",
    SEEN,
)
TIMES = 1.25  # of convergence times that agree: they are whole epochs
WHY_TIMES = f"a factor of {TIMES}, within which times agree, which are whole epochs"
ENDS = {0: "end with little noise", -1: "end with much noise"}  # of a curve
NEARLY = 1.1  # of batch sizes of equal noise: within that factor they are the same


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


def enhancement(alpha: float) -> float:
    """By how much α enlarges the covariance of the noise, equation 10."""
    return alpha**2 + (1 - alpha) ** 2


def effective(setting: Setting) -> float:
    """The size of batches whose noise has the same covariance: equation 4 itself, which is equation 11 where N ≫ B."""
    rest = setting["examples"] / setting["batch"] - 1
    return float(setting["examples"] / (1 + enhancement(setting["alpha"]) * rest))


def common_range(*arms: Curve) -> list[Curve]:
    """Both arms where they span the same strengths of noise, so that neither can find a better one than the other has."""
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
    """By how much the highest accuracy over alpha is above that over batch sizes."""
    return gain(by_batch, by_alpha, (beyond(by_alpha, "alpha"), beyond(by_batch, "batch")))


def best_of_a_common_range(by_batch: Curve, by_alpha: Curve) -> Measurement:
    """The same of settings that span the same noise."""
    batches, alphas = common_range(by_batch, by_alpha)
    return gain(batches, alphas, (beyond(by_alpha, "alpha"), beyond(by_batch, "batch")))


def gain_of_some_alpha(plain: Curve, enhanced: Curve) -> Measurement:
    """By how much the best alpha raises the test accuracy; larger ones than were tried may raise it more."""
    return gain(plain, enhanced, (beyond(enhanced, "alpha"), ""))


def gain_in_large_batches(results: Results, network: str) -> Measurement:
    """The same of a network in the batches with which alpha varies, less what they have without noise enhancement."""
    plain, *enhanced = results.study.curve(network, varies="alpha")
    return judged(gain_of_some_alpha, curve(results, [plain]), curve(results, enhanced))


@dataclass(frozen=True)
class Apart:
    """By how much a number with each α is above that in batches whose noise has the same covariance."""

    settings: tuple[Setting, ...]  # those with α that have such batches between the ones that were tried
    numbers: np.ndarray  # [settings, seeds]
    left_out: tuple[str, ...]  # which α have not, in words


def apart(number: Callable[[Curve], np.ndarray], batches: Curve, alphas: Curve) -> Apart:
    """`number` [settings, seeds] with each α above 1 less that of equal noise, interpolated over the logarithm of the size.

    TooLittle if there is no such α.
    """
    order = np.argsort([setting["batch"] for setting in batches.settings])
    known = np.log2([batches.settings[place]["batch"] for place in order])
    kept, numbers, left_out = [], [], []
    for setting, of_alpha in zip(alphas.settings, number(alphas)):
        size = effective(setting)
        if setting["alpha"] == 1:
            continue
        if known[0] <= math.log2(size) <= known[-1]:
            between = [np.interp(math.log2(size), known, of_seed) for of_seed in number(batches)[order].T]
            kept.append(setting)
            numbers.append(of_alpha - between)
        else:
            left_out.append(
                f"α = {setting['alpha']:g} has the noise of batches of {size:.0f}, beyond those that come to L**"
            )
    if not kept:
        raise TooLittle("; ".join(left_out) or "there is no α above 1")
    return Apart(tuple(kept), np.array(numbers), tuple(left_out))


def log_time(one: Curve) -> np.ndarray:
    """log2 of the convergence times [settings, seeds]."""
    return np.log2(one.steps)


def accuracy(one: Curve) -> np.ndarray:
    """Test accuracies [settings, seeds]."""
    return one.accuracy


def largest_time_apart(batches: Curve, alphas: Curve) -> Measurement:
    """|log2| of the convergence time over that of equal noise, with the α with which it is the largest."""
    found = apart(log_time, batches, alphas)
    return best_of_settings(seeds_of(alphas), np.concatenate([found.numbers, -found.numbers]), problems=found.left_out)


def highest_accuracy_apart(batches: Curve, alphas: Curve) -> Measurement:
    """Test accuracy less that of equal noise, with the α with which it is the highest; with larger ones it may be higher."""
    found = apart(accuracy, batches, alphas)
    best, last = (found.settings[place]["alpha"] for place in (np.argmax(found.numbers.mean(axis=1)), -1))
    end = f"the difference is the highest with α = {last:g}, the last that is compared: add some above" * (best == last)
    return best_of_settings(seeds_of(alphas), found.numbers, problems=found.left_out, ends=(end, ""))


def claims_of_equivalence(subject: str, batches: Curve, alphas: Curve) -> list[Claim]:
    """Whether α does something else than smaller batches do whose noise has the same covariance."""
    place, says = "section 2, equation 11; section 4", f"{subject} is not equivalent to reducing the batch size"
    equal = "in batches whose noise has the same covariance (interpolated between those tried)"
    return [
        Claim(
            f"{says}: the convergence time is not that of batches whose noise has the same covariance, which it would be if the noise "
            "were Gaussian.", place,
            f"|log2| of the convergence time over that {equal}, of the α above 1 with which it is the largest",
            judged(largest_time_apart, batches, alphas), math.log2(TIMES), WHY_TIMES, decided_after=EQUAL_NOISE,
        ),
        Claim(
            f"{says}: with a proper α the test accuracy is higher than in batches whose noise has the same covariance.", place,
            f"test accuracy less that {equal}, of the α above 1 with which it is the highest",
            judged(highest_accuracy_apart, batches, alphas), 0.0, NONE, decided_after=EQUAL_NOISE,
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
                f"{network}: noise enhancement improves the generalization of large batches.", f"section 3.1; {place}",
                f"highest test accuracy with α above 1 less that with α = 1 (B = {large})",
                gain_in_large_batches(results, network), 0.0, NONE, decided_after=NEW,
            ),
            Claim(
                f"{network}: large batches with the best α are better than the best batch size without noise enhancement.",
                f"{place}, table 3", f"highest accuracy over α (B = {large}) less that over B (α = 1)",
                judged(best_alpha_over_best_batch, by_batch, by_alpha), 0.0, NONE,
                decided_after=Late("that all settings count, and not those alone that span the same noise", SEEN),
            ),
            Claim(
                f"{network}: of settings that span the same strengths of noise, too, those with large batches and the best α are "
                "better than those with the best batch size.", f"ours, beside {place}, table 3",
                f"highest accuracy over α (B = {large}) less that over B (α = 1), where both span the same noise",
                judged(best_of_a_common_range, by_batch, by_alpha), 0.0, NONE,
                decided_after=Late("the claim apart from that of all settings, and the sizes of equation 4", SEEN),
            ),
            *claims_of_equivalence(f"{network}: noise enhancement", by_batch, by_alpha),
        ]  # fmt: skip
    return found


def tables(results: Results) -> list[Table]:
    """The paper's table 3, and how each α compares with batches of the same noise."""
    pairs = {network: pair(results, network) for network in results.study.curves}
    found = [_best(pairs), of_equal_noise(pairs)]
    return [table for table in found if table.rows]


def _best(pairs: Mapping[str, Sequence[Curve]]) -> Table:
    rows = []
    for network, arms in pairs.items():
        for words, one in zip(("without", "with"), arms):
            if one.lacking or not one.settings:
                continue
            best = one.means().best
            setting = one.settings[best]
            shown = plus_minus(100 * one.accuracy[best], 2)
            rows.append([network, f"{words} noise enhancement", str(setting["batch"]), f"{setting['alpha']:g}", shown])
    return Table(["Network", "", "B", "α", "Best test accuracy (%)"], rows)


def of_equal_noise(pairs: Mapping[str, Sequence[Curve]]) -> Table:
    """For each α the size of batches whose noise has the same covariance, and what differs; without those that lack it."""
    rows = []
    for network, arms in pairs.items():
        if any(one.lacking or not one.settings for one in arms):
            continue
        try:
            times, accuracies = apart(log_time, *arms), apart(accuracy, *arms)
        except TooLittle:
            continue
        for setting, time, gained in zip(times.settings, times.numbers, accuracies.numbers):
            shown = plus_minus(time, 2), plus_minus(100 * gained, 2)
            rows.append([network, f"{setting['alpha']:g}", f"{effective(setting):.1f}", *shown])
    header = ["Network", "α", "B of the same noise", "log2 of the times' ratio", "Test accuracy, difference (%)"]
    return Table(header, rows)


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
        "size, α = 5 in batches of 400 more than 19,000 steps. The desk variant has F1 and C1, and α = 1, 1.5 and 2 with batches of 400.",
        "Batches whose noise has the same covariance are of the size that follows from equation 4 itself, "
        "N / (1 + (α² + (1 − α)²)(N/B − 1)) with N examples. Equation 11 takes N ≫ B, but of the quick variant's examples 800 are a "
        "fifth: with α = 1.5, 2 and 3 the sizes are 364, 190 and 75, by equation 11 they would be 320, 160 and 62.",
        "The paper expects large batches with noise enhancement to be what these smaller batches are only if the noise is Gaussian. It "
        "concludes from test accuracies that they are not; that convergence times tell it, too, is ours.",
    ),
    draw=draw,
    claims=claims,
    tables=tables,
)
