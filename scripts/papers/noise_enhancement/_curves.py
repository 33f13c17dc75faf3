"""Test accuracy and convergence time of settings: what all figures of the paper draw and judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sgdscope.aggregate import measured_values
from sgdscope.claims import (
    NONE,
    Censored,
    Claim,
    Late,
    Measurement,
    Sample,
    TooLittle,
    at_best_of_settings,
    at_optima,
    best_of_settings,
    over_seeds,
    partly,
)
from sgdscope.document import Table
from sgdscope.plots.style import Axes, Axis, Stroke
from sgdscope.results import Outcome, Results
from sgdscope.studies import Setting

REACHED = "stop.train_loss"  # in a manifest's reason: the run has come to L**
# Seeds, by size, whose results were known when claims were changed last.
SEEN = {"quick": [*range(1, 6), *range(11, 16)]}


# ---------------------------------------------------------------------------------- the runs of settings


@dataclass(frozen=True)
class Means:
    """Means over seeds, of the settings that have converged; [settings] each."""

    batch: np.ndarray
    alpha: np.ndarray
    accuracy: np.ndarray
    steps: np.ndarray

    @property
    def best(self) -> int:
        """The setting with the highest test accuracy."""
        return int(np.argmax(self.accuracy))


@dataclass(frozen=True)
class Curve:
    """Settings, all of whose runs have reached L**."""

    settings: tuple[Setting, ...]
    accuracy: np.ndarray  # test accuracy at L** [settings, seeds]
    steps: np.ndarray  # convergence time [settings, seeds]
    lacking: tuple[str, ...]  # why nothing can be said: runs that are missing
    left_out: tuple[str, ...]  # settings of which a run does not get to L**
    unsure: str = ""  # of which of them other runs do

    def means(self, seeds: Sequence[int] | slice = slice(None)) -> Means:
        """The means over all seeds, or over those at these places."""
        batch, alpha = (np.array([setting[name] for setting in self.settings]) for name in ("batch", "alpha"))
        return Means(batch, alpha, self.accuracy[:, seeds].mean(axis=1), self.steps[:, seeds].mean(axis=1))


def curve(results: Results, settings: Sequence[Setting]) -> Curve:
    """What came of these settings."""
    lacking, left_out, kept, accuracy, steps = [], [], [], [], []
    short = {}  # of how many runs each setting lacks L**
    for setting in settings:
        outcomes = results.of(setting)
        missing = [outcome.problem for outcome in outcomes if not _is_over(outcome)]
        reached = [(o.run, o.manifest) for o in outcomes if o.run and REACHED in o.manifest["reason"]]
        if missing:
            lacking += missing
        elif len(reached) < len(outcomes):
            short[setting.name] = len(outcomes) - len(reached)
            left_out.append(f"{setting.name}: {short[setting.name]} of {len(outcomes)} runs don't reach L**")
        else:
            kept.append(setting)
            accuracy.append([measured_values(run, "eval.test_accuracy")[-1] for run, _ in reached])
            steps.append([manifest["steps_done"] for _, manifest in reached])
    if len(lacking) > 1:
        lacking = [f"{lacking[0]}, and {len(lacking) - 1} more"]
    unsure = partly("does not reach L**", short, len(results.study.seeds))
    return Curve(tuple(kept), np.array(accuracy), np.array(steps), tuple(lacking), tuple(left_out), unsure)


def _is_over(outcome: Outcome) -> bool:
    return outcome.run is not None or outcome.manifest.get("status") == "diverged"


def judged(of: Callable[..., Measurement], *curves: Curve) -> Measurement:
    """What `of` measures of the curves, unless runs are missing, with what was left out.

    A setting with which no run reaches L** does not converge, and there is nothing to compare; of one with which some do,
    the means are not known, which are those of the seeds that do.
    """
    lacking = tuple(dict.fromkeys(problem for one in curves for problem in one.lacking))
    left_out = tuple(dict.fromkeys(problem for one in curves for problem in one.left_out))
    unsure = "; ".join(dict.fromkeys(one.unsure for one in curves if one.unsure))
    if lacking:
        return Measurement({}, lacking)
    if not all(one.settings for one in curves):
        return Measurement({}, left_out)
    try:
        found = of(*curves)
    except TooLittle as error:
        return Measurement({}, (*left_out, str(error)))
    except Censored as error:
        return Measurement({}, left_out, censored=str(error))
    return replace(found, problems=(*left_out, *found.problems), censored=found.censored or unsure)


def by_seed(of: Callable[..., float], *curves: Curve) -> Measurement:
    """`of` the curves of each seed."""

    def measure(place: int) -> Sample:
        return Sample(float(of(*[one.means([place]) for one in curves])))

    return over_seeds({seed: [place] for place, seed in enumerate(seeds_of(curves[0]))}, measure)


def seeds_of(one: Curve) -> list[str]:
    """A label for each seed."""
    return [str(place + 1) for place in range(one.steps.shape[1])]


def beyond(one: Curve, varied: str, both: bool = False) -> str:
    """What to add where the best setting, in the mean over seeds, is at an end of the grid; empty if it is inside.

    Unless `both`, only the end with the most noise counts: small batches or large alpha.
    """
    values = [setting[varied] for setting in one.settings]
    best, noisy = values[one.means().best], (min if varied == "batch" else max)(values)
    if best == noisy or (both and best in (min(values), max(values))):
        add = f"above {best:g}" if best == max(values) else f"below {best:g}"
        where = f" with α = {one.settings[0]['alpha']:g}" if varied == "batch" else ""
        words = {"batch": "batch size", "alpha": "α"}[varied]
        return f"the best {words}{where}, {best:g}, is at the end of those tried: add some {add}"
    return ""


def need_best_inside(one: Curve, varied: str, both: bool = True) -> None:
    """Raises Censored if the best setting is at an end of the grid, of which `both` may count."""
    if end := beyond(one, varied, both):
        raise Censored(end)


# ----------------------------------------------------------------------------------- numbers of curves


def gain(plain: Curve, enhanced: Curve, ends: tuple[str, str] = ("", "")) -> Measurement:
    """By how much noise enhancement raises the highest test accuracy.

    `ends`: with and without it, which settings to add where the highest accuracy may be beyond those that were tried.
    """
    return best_of_settings(seeds_of(plain), enhanced.accuracy, plain.accuracy, ends=ends)


def gain_at_best_batches(plain: Curve, enhanced: Curve) -> Measurement:
    """The same, if the best batch sizes are not at the end of those tried."""
    for one in (plain, enhanced):
        need_best_inside(one, "batch")
    return gain(plain, enhanced)


def time_saved(plain: Curve, enhanced: Curve) -> Measurement:
    """log2 of the ratio of the convergence times at the two best batch sizes, each of which seeds may not tell from others."""
    for one in (plain, enhanced):
        need_best_inside(one, "batch")
    saved = np.log2(plain.steps)[:, None] - np.log2(enhanced.steps)[None]
    return at_best_of_settings(seeds_of(plain), saved, plain.accuracy, enhanced.accuracy)


def batch_growth(*curves: Curve) -> Measurement:
    """The slope of log2 of the best batch size over alpha; each curve has one alpha."""
    for one in curves:
        need_best_inside(one, "batch")
    alphas = [one.means().alpha[0] for one in curves]
    grids = [(np.log2(one.means().batch), one.accuracy) for one in curves]
    return at_optima(seeds_of(curves[0]), lambda *batches: slope(alphas, batches), *grids)


def gap_lost(plain: Curve, strong: Curve) -> Measurement:
    """How much the highest test accuracy less that with the largest batches shrinks; at the batch sizes that both have."""
    batches = [[setting["batch"] for setting in one.settings] for one in (plain, strong)]
    common = sorted(set(batches[0]) & set(batches[1]))
    if len(common) < 2:
        raise TooLittle("fewer than two batch sizes converge with both")
    lacks = []
    for one, of_one in zip((plain, strong), batches):
        accuracy = one.accuracy[[of_one.index(batch) for batch in common]]
        lacks.append(accuracy - accuracy[-1])
    return best_of_settings(seeds_of(plain), *lacks)


def peak(varied: str, end: int, one: Curve) -> Measurement:
    """The highest test accuracy inside less that at an end (0 or −1) of the curve, which goes to more noise."""
    if len(one.settings) < 3:
        raise TooLittle("fewer than three settings converge")
    need_best_inside(one, varied, both=False)
    return best_of_settings(seeds_of(one), one.accuracy[1:-1] - one.accuracy[end])


def mean_gain(plain: Means, enhanced: Means) -> float:
    """By how much noise enhancement raises the test accuracy: mean over the batch sizes that both have."""
    accuracies = [dict(zip(one.batch.tolist(), one.accuracy.tolist())) for one in (plain, enhanced)]
    common = accuracies[0].keys() & accuracies[1].keys()
    if not common:
        raise TooLittle("there is no batch size with which both converge")
    return float(np.mean([accuracies[1][batch] - accuracies[0][batch] for batch in common]))


def time_growth(*curves: Means) -> float:
    """The slope of log2 of the convergence time over alpha: mean over the batch sizes that all curves have."""
    common = set(curves[0].batch).intersection(*(one.batch for one in curves))
    if not common:
        raise TooLittle("there is no batch size with which all converge")
    alphas = [one.alpha[0] for one in curves]
    times = [[math.log2(one.steps[list(one.batch).index(batch)]) for one in curves] for batch in common]
    return float(np.mean([slope(alphas, time) for time in times]))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of y over x, by least squares."""
    if len(x) < 2:
        raise TooLittle("fewer than two settings have it measured")
    return float(np.polyfit(x, y, 1)[0])


# -------------------------------------------------------------------------------- pictures and tables


def draw_over_batches(panels: Sequence[Axes], drawn: Curve, look: Stroke) -> None:
    """Test accuracy (left) and convergence time (right) over the batch size, with standard deviations."""
    if not drawn.settings:
        return
    batch = drawn.means().batch
    for axes, values in zip(panels, (drawn.accuracy, drawn.steps)):
        axes.errorbar(
            batch, values.mean(axis=1), values.std(axis=1, ddof=1), color=look.colour, linestyle=look.dash,
            linewidth=look.width, marker="o", markersize=3.2, capsize=2, label=look.label,
        )  # fmt: skip
        axes.set_xscale("log")
        logarithmic(axes.xaxis)
        axes.set_xlabel("batch size B")
    panels[0].set_ylabel("test accuracy")
    panels[1].set_ylabel("convergence time (steps)")
    panels[1].set_yscale("log")
    logarithmic(panels[1].yaxis)


def logarithmic(axis: Axis) -> None:
    """Numbers at 1, 2 and 5 times powers of 10; the scale is set already."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def add_legend(axes: Axes) -> None:
    """Adds a legend if anything was drawn."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def plus_minus(values: np.ndarray, digits: int) -> str:
    """Mean ± standard deviation, as text."""
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def best_batches(results: Results) -> list[Table]:
    """The paper's table 2: the best batch size for each network and alpha."""
    rows = []
    for network in results.study.curves:
        for alpha, settings in results.study.by(network, "alpha").items():
            one = curve(results, settings)
            if one.lacking or not one.settings:
                continue
            best = one.means().best
            rows.append(
                [network, f"{alpha:g}", str(one.settings[best]["batch"]), plus_minus(100 * one.accuracy[best], 2),
                 plus_minus(one.steps[best], 0)]
            )  # fmt: skip
    return [Table(["Network", "α", "Best B", "Test accuracy (%)", "Convergence time"], rows)] if rows else []


# -------------------------------------------------------------------------------------------- claims


def claims_over_batches(results: Results, network: str, place: str) -> list[Claim]:
    """Whether noise enhancement pays, when each alpha has its best batch size. The first alpha is 1."""
    by_alpha = results.study.by(network, "alpha")
    alphas, curves = list(by_alpha), [curve(results, settings) for settings in by_alpha.values()]
    found = []
    for alpha, enhanced in zip(alphas[1:], curves[1:]):
        found += [
            Claim(
                f"{network}: with α = {alpha:g} the test accuracy is higher than without noise enhancement.", place,
                "test accuracy less that with α = 1 in batches of the same size, mean over the sizes that both have",
                judged(partial(by_seed, mean_gain), curves[0], enhanced), 0.0, NONE,
                decided_after=Late("the claim, and that it is of the mean over batch sizes", SEEN),
            ),
            Claim(
                f"{network}: with α = {alpha:g} the test accuracy at the best batch size is higher than without noise "
                "enhancement.",
                f"{place}, table 2", "highest test accuracy less that with α = 1",
                judged(gain_at_best_batches, curves[0], enhanced), 0.0, NONE,
            ),
            Claim(
                f"{network}: with α = {alpha:g} the convergence time at the best batch size is shorter than without.",
                f"{place}, table 2", "log2 of the ratio of the convergence times at the best batch sizes",
                judged(time_saved, curves[0], enhanced), 0.0, NONE,
                decided_after=Late("that the batch sizes are the best ones, of which seeds may not tell which they are"),
            ),
        ]  # fmt: skip
    return [
        *found,
        Claim(
            f"{network}: the best batch size increases with α.", f"{place}, table 2",
            "slope of log2 of the best batch size over α",
            judged(batch_growth, *curves), 0.0, NONE,
            decided_after=Late("how well the seeds tell the best batch size from the others"),
        ),
        Claim(
            f"{network}: the convergence time increases with α at a fixed batch size.", place,
            "slope of log2 of the convergence time over α, mean over batch sizes",
            judged(partial(by_seed, time_growth), *curves), 0.0, NONE,
        ),
        Claim(
            f"{network}: the gap in test accuracy between small and large batches becomes smaller with α.", place,
            f"highest accuracy less that with the largest batches: with α = 1 less that with α = {alphas[-1]:g}; at the batch "
            "sizes that both have", judged(gap_lost, curves[0], curves[-1]), 0.0, NONE,
            decided_after=Late("that both are compared at the same batch sizes, and the claim itself of F1 and C2", SEEN),
        ),
    ]  # fmt: skip
