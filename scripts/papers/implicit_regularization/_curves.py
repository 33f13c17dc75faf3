"""Numbers of the best runs of settings: what all figures of the paper draw and judge."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from papers.implicit_regularization import CHANCE, PEAK, TEST
from sgdscope.aggregate import aggregate, dropped_by, measured_values
from sgdscope.claims import Claim, Measurement, Sample, TooLittle, error_of_draws
from sgdscope.document import Table
from sgdscope.plots.style import Axes, Stroke
from sgdscope.results import Outcome, Results
from sgdscope.runs import Run
from sgdscope.studies import Setting


@dataclass(frozen=True)
class Quantity:
    """A number of a run, and that of a run that diverged."""

    of: Callable[[Run], float]
    lost: float = math.nan


def highest(column: str, epochs: float = math.inf) -> Quantity:
    """The highest accuracy evaluated within so many epochs."""

    def of(run: Run) -> float:
        table, name = run.find(column)
        table.load(["epoch", name])
        return float(np.max(table[name][table["epoch"] <= epochs]))

    return Quantity(of, CHANCE)


def last(column: str) -> Quantity:
    """The last value that was measured."""
    return Quantity(lambda run: float(measured_values(run, column)[-1]))


def mean_late(column: str) -> Quantity:
    """The mean accuracy over the last quarter of the evaluations."""

    def of(run: Run) -> float:
        values = measured_values(run, column)
        return float(np.mean(values[-max(1, values.size // 4) :]))

    return Quantity(of, CHANCE)


ACCURACY = highest(TEST)


def finish(panels: Sequence[Axes]) -> None:
    """Gives the panels their letters and legends."""
    for letter, axes in zip("abc", panels):
        axes.set_title(f"({letter})", loc="left")
        axes.legend(fontsize=8)


# ---------------------------------------------------------------------------------- the runs of settings


def is_lost(outcome: Outcome) -> bool:
    """Whether the run diverged."""
    return outcome.manifest.get("status") == "diverged"


def worth(outcome: Outcome, epochs: float = math.inf) -> float:
    """The highest test accuracy of the whole run; of one that diverged, less than any."""
    return highest(TEST, epochs).of(outcome.run) if outcome.run else -math.inf


@dataclass(frozen=True)
class Curve:
    """A quantity at several settings, for each seed."""

    values: np.ndarray  # [settings, seeds]
    worth: np.ndarray  # [settings, seeds]
    kept: int  # of the seeds, the best
    problems: tuple[str, ...]  # why numbers are missing: a setting without one of its runs is NaN

    def best(self) -> np.ndarray:
        """The values of the best runs of each setting, [settings, kept]; NaN of runs that diverged."""
        values = np.where(np.isfinite(self.worth), self.values, math.nan)
        return _of_best(values, self.worth, self.kept)

    def means(self, seeds: Sequence[int] | None = None) -> np.ndarray:
        """Over the best runs of each setting, of all seeds or of those at these places."""
        chosen = slice(None) if seeds is None else list(seeds)
        return _of_best(self.values[:, chosen], self.worth[:, chosen], self.kept).mean(axis=1)


def _of_best(values: np.ndarray, worth_of: np.ndarray, kept: int) -> np.ndarray:
    order = np.argsort(-worth_of, axis=1, kind="stable")[:, :kept]
    return np.take_along_axis(values, order, axis=1)


def curve(results: Results, settings: Sequence[Setting], quantity: Quantity, epochs: float = math.inf) -> Curve:
    """A quantity of settings; their best runs are those with the highest test accuracy within so many epochs."""
    values, worths, problems = [], [], []
    for setting in settings:
        outcomes = results.of(setting)
        missing = [outcome.problem for outcome in outcomes if not outcome.run and not is_lost(outcome)]
        problems += missing
        if missing:
            values.append([math.nan] * len(outcomes))
            worths.append([math.nan] * len(outcomes))
            continue
        values.append([quantity.of(outcome.run) if outcome.run else quantity.lost for outcome in outcomes])
        worths.append([worth(outcome, epochs) for outcome in outcomes])
    return Curve(np.array(values), np.array(worths), results.study.values["kept"], tuple(problems))


def measured(of: Callable[..., float], *curves: Curve) -> Measurement:
    """`of` the curves' means; its standard error from draws among the seeds, the same of all curves in each draw."""
    problems = tuple(dict.fromkeys(problem for one in curves for problem in one.problems))
    if problems:
        return Measurement({}, problems)
    seeds = curves[0].values.shape[1]
    try:
        value = of(*[one.means() for one in curves])
    except TooLittle as error:
        return Measurement({}, (str(error),))
    doubt = error_of_draws(lambda draw: of(*[one.means(draw) for one in curves]), seeds)
    kept = curves[0].kept
    return Measurement({f"best {kept} of {seeds}": Sample(float(value), doubt, seeds=kept)})


# ----------------------------------------------------------------------------------- numbers of a curve


def optimum(x: np.ndarray, accuracy: np.ndarray) -> float:
    """Where a curve is highest; of equal ones the last."""
    return float(x[np.flatnonzero(accuracy == accuracy.max())[-1]])


def rise(accuracy: np.ndarray) -> float:
    """By how much the highest accuracy exceeds the first one."""
    return float(accuracy.max() - accuracy[0])


def fall(accuracy: np.ndarray) -> float:
    """By how much the last accuracy falls short of the highest one."""
    return float(accuracy.max() - accuracy[-1])


def trained(accuracy: np.ndarray) -> np.ndarray:
    """Where a curve is nearer to its highest point than to guessing: elsewhere training was not stable."""
    return accuracy > (CHANCE + accuracy.max()) / 2


def largest_stable(x: np.ndarray, accuracy: np.ndarray) -> float:
    """The largest x below which, too, training was stable everywhere."""
    stable = trained(accuracy)
    unstable = np.flatnonzero(~stable & (np.arange(x.size) > np.argmax(stable)))
    return float(x[unstable[0] - 1] if unstable.size else x[-1])


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """The slope of log2 y over x, by least squares, where y was measured."""
    known = np.isfinite(y)
    if np.count_nonzero(known) < 2:
        raise TooLittle("fewer than two settings have it measured")
    return float(np.polyfit(x[known], np.log2(y[known]), 1)[0])


def disagreement(places: Sequence[np.ndarray], accuracies: Sequence[np.ndarray]) -> float:
    """Of several curves: the mean distance of two of them, over all pairs and places where both were trained."""
    distances = []
    for (x, a), (other_x, b) in itertools.combinations(zip(places, accuracies), 2):
        first = dict(zip(x[trained(a)], a[trained(a)]))
        second = dict(zip(other_x[trained(b)], b[trained(b)]))
        distances += [abs(first[place] - second[place]) for place in first.keys() & second.keys()]
    if not distances:
        raise TooLittle("there is no place at which two of the curves were trained")
    return float(np.mean(distances))


def rise_and_fall(of: Curve, what: str, place: str, rises: str, falls: str) -> list[Claim]:
    """That the accuracy rises from its value at the smallest of `what` to a peak, and falls to that at the largest."""
    return [
        Claim(rises, place, f"highest accuracy less that at the smallest {what}", measured(rise, of), PEAK),
        Claim(falls, place, f"highest accuracy less that at the largest {what}", measured(fall, of), PEAK),
    ]


# -------------------------------------------------------------------------------- pictures and tables


def draw_curve(axes: Axes, exponents: Sequence[float] | np.ndarray, drawn: Curve, look: Stroke) -> None:
    """Means of the best runs and their standard deviations, over powers of 2; settings with too few runs are left out."""
    best = drawn.best()
    known = np.isfinite(best).all(axis=1)
    if not known.any():
        return
    x = 2.0 ** np.asarray(exponents, float)[known]
    axes.errorbar(
        x, best[known].mean(axis=1), best[known].std(axis=1, ddof=1), color=look.colour, linestyle=look.dash,
        linewidth=look.width, marker="o", markersize=3.2, capsize=2, label=look.label,
    )  # fmt: skip
    axes.set_xscale("log", base=2)


def table_of_best(results: Results) -> list[Table]:
    """For each setting the highest test accuracies: of the best seeds the mean, and those that were dropped."""
    rows = []
    for name in dict.fromkeys(outcome.job.name for outcome in results.outcomes):
        outcomes = {str(o.job.seed): o for o in results.outcomes if o.job.name == name}
        if any(not o.run and not is_lost(o) for o in outcomes.values()):
            continue
        worths = {seed: worth(outcome) for seed, outcome in outcomes.items()}
        values = {seed: max(value, CHANCE) for seed, value in worths.items()}
        found = aggregate(values, dropped_by(results.study.values["kept"], worths))
        words = {seed: f"{100 * value:.2f} %" if outcomes[seed].run else "diverged" for seed, value in values.items()}
        rows.append(
            [f"`{name}`", f"{100 * found.mean:.2f} ± {100 * found.deviation:.2f} %", *(
                "; ".join(f"{seed}: {words[seed]}" for seed in seeds) for seeds in (found.kept, found.dropped)
            )]
        )  # fmt: skip
    return [Table(["Setting", "Highest test accuracy", "Seeds kept", "Seeds dropped"], rows)] if rows else []
