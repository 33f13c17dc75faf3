"""Numbers of the best runs of settings: what all figures of the paper draw and judge."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from papers.implicit_regularization import CHANCE, FITTED, TEST, TRAIN
from sgdscope.aggregate import aggregate, dropped_by, measured_values
from sgdscope.claims import (
    NONE,
    Censored,
    Claim,
    Late,
    Measurement,
    Sample,
    TooLittle,
    at_optima,
    best_of_settings,
    jackknife,
    over_seeds,
    partly,
)
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
FIT = highest(TRAIN)


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

    names: tuple[str, ...]  # of the settings
    values: np.ndarray  # [settings, seeds]
    worth: np.ndarray  # [settings, seeds]
    kept: int  # of the seeds, the best: for pictures and tables
    problems: tuple[str, ...]  # why numbers are missing: a setting without one of its runs is NaN

    def best(self) -> np.ndarray:
        """The values of the best runs of each setting, [settings, kept]; NaN of runs that diverged."""
        values = np.where(np.isfinite(self.worth), self.values, math.nan)
        return _of_best(values, self.worth, self.kept)

    def means(self) -> np.ndarray:
        """Over the best runs of each setting."""
        return _of_best(self.values, self.worth, self.kept).mean(axis=1)

    def at(self, places: Sequence[int] | np.ndarray) -> Curve:
        """The curve at some of its settings."""
        names = tuple(self.names[place] for place in places)
        return Curve(names, self.values[places], self.worth[places], self.kept, self.problems)


Conditions = Measurement | dict[str, Measurement]  # what a claim is about
Grid = tuple[str, np.ndarray, Curve]  # what varies, the exponents of 2 of its values, and the curve over them


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
    names = tuple(setting.name for setting in settings)
    return Curve(names, np.array(values), np.array(worths), results.study.values["kept"], tuple(problems))


def problems_of(*curves: Curve) -> tuple[str, ...]:
    """Why numbers of these curves are missing, each reason once."""
    return tuple(dict.fromkeys(problem for one in curves for problem in one.problems))


def measured(of: Callable[..., float], *curves: Curve, discrete: bool = False) -> Measurement:
    """`of` the curves' values with each seed; of all seeds, since which ones are good says nothing of settings."""
    problems = problems_of(*curves)
    if problems:
        return Measurement({}, problems)
    places = {seed: [place] for place, seed in enumerate(_seeds_of(curves[0]))}
    found = over_seeds(places, lambda i: Sample(float(of(*[one.values[:, i] for one in curves]))), discrete=discrete)
    lost = {name: int(np.isnan(row).sum()) for one in curves for name, row in zip(one.names, one.values)}
    return replace(found, censored=found.censored or partly("diverges", lost, len(places)))


def measured_of_means(of: Callable[..., float], *curves: Curve) -> Measurement:
    """`of` the curves' means over seeds, by the jackknife."""
    problems = problems_of(*curves)
    if problems:
        return Measurement({}, problems)
    return jackknife(_seeds_of(curves[0]), lambda at: float(of(*[one.values[:, at].mean(axis=1) for one in curves])))


def highest_lead(better: Grid, other: Grid) -> Measurement:
    """By how much the highest mean of a curve is above that of another one; its settings are all tried."""
    problems = problems_of(better[2], other[2])
    if problems:
        return Measurement({}, problems)
    ends = (beyond(*better), beyond(*other))
    return best_of_settings(_seeds_of(better[2]), better[2].values, other[2].values, ends=ends)


def part_of_the_way(first: Curve, last: Curve, part: float) -> Curve:
    """What lies so far from the one setting of the first curve to each of the last one."""
    values = (1 - part) * first.values + part * last.values
    return Curve(last.names, values, last.worth, last.kept, problems_of(first, last))


def rise(what: str, x: np.ndarray, of: Curve) -> Measurement:
    """By how much the highest mean of a curve is above its value at the smallest of the exponents x.

    If it is highest just there, it may be so further on: then no number of seeds says that there is no such lead.
    """
    if of.problems:
        return Measurement({}, of.problems)
    end = beyond(what, x, of) if optimum(x, of.values.mean(axis=1)) == x[0] else ""
    return best_of_settings(_seeds_of(of), of.values[1:] - of.values[0], ends=(end, ""))


def fall(what: str, x: np.ndarray, of: Curve) -> Measurement:
    """By how much the highest mean of a curve is above its value at the largest exponent with which all seeds train.

    Where training collapses, an accuracy is that of guessing, whatever the network: that says nothing of the curve. If it is
    highest just where it ends, no number of seeds says that it does not fall.
    """
    if of.problems:
        return Measurement({}, of.problems)
    known = np.flatnonzero(trained_by_all(of))
    if known.size < 2:
        return Measurement(
            {}, censored=f"there are no two values of {what} with which all seeds train: add smaller ones"
        )
    values, last = of.values[known], x[known[-1]]
    end = ""
    if optimum(x[known], values.mean(axis=1)) == last:
        end = f"the best {what}, 2^{last:g}, is the largest with which all seeds train: "
        end += f"add 2^{last + 1:g}" if last == x[-1] else "try some between it and the next"
    return best_of_settings(_seeds_of(of), values[:-1] - values[-1], ends=(end, ""))


def fitted(found: Conditions, unfit: str) -> Conditions:
    """What was measured; censored where settings have not fitted the training set, as `unfit` says."""
    if isinstance(found, Measurement):
        return replace(found, censored=unfit or found.censored)
    return {words: replace(one, censored=unfit or one.censored) for words, one in found.items()}


def unfitted(fit: Curve, places: Sequence[int]) -> str:
    """At which of these places the training accuracy is higher at a larger learning rate; empty if at none.

    `fit`: training accuracies over rising learning rates. What such settings lack is time, of which a larger learning rate makes up
    for some. That a large one reaches a lower accuracy is no lack of time.
    """
    means = fit.values.mean(axis=1)
    short = [fit.names[place] for place in places if means[place] < means[place:].max() - FITTED]
    return (
        f"{', '.join(short)}: the training set is fitted better at a larger learning rate, take more epochs"
        if short
        else ""
    )


def _seeds_of(one: Curve) -> list[str]:
    return [str(place + 1) for place in range(one.values.shape[1])]


def beyond(what: str, x: np.ndarray, of: Curve) -> str:
    """What to add where the highest mean over seeds of a curve is at an end of its exponents of 2; empty if it is inside."""
    at = optimum(x, of.values.mean(axis=1))
    if at not in (x.min(), x.max()):
        return ""
    add = at - 1 if at == x.min() else at + 1
    return f"the best {what}, 2^{at:g}, is at the end of those tried: add 2^{add:g}"


def at_optimum(of: Callable[..., float], grids: Sequence[Grid]) -> Measurement:
    """`of` the exponents at which curves are highest; censored if one is so, in the mean over seeds, at its grid's end."""
    problems = problems_of(*[one for _, _, one in grids])
    if problems:
        return Measurement({}, problems)
    censored = [end for grid in grids if (end := beyond(*grid))]
    if censored:
        return Measurement({}, censored="; ".join(censored))
    return at_optima(_seeds_of(grids[0][2]), of, *[(x, one.values) for _, x, one in grids])


# ----------------------------------------------------------------------------------- numbers of a curve


def optimum(x: np.ndarray, accuracy: np.ndarray) -> float:
    """Where a curve is highest; of equal ones the last."""
    return float(x[np.flatnonzero(accuracy == accuracy.max())[-1]])


def trained(accuracy: np.ndarray) -> np.ndarray:
    """Where a curve is nearer to its highest point than to guessing: elsewhere training was not stable."""
    return accuracy > (CHANCE + accuracy.max()) / 2


def trained_by_all(of: Curve) -> np.ndarray:
    """With which settings every seed is done and its accuracy nearer to the highest mean than to guessing."""
    done = np.isfinite(of.worth).all(axis=1)
    return done & (of.values > (CHANCE + of.values.mean(axis=1).max()) / 2).all(axis=1)


def largest_stable(x: np.ndarray, accuracy: np.ndarray) -> float:
    """The largest x below which, too, training was stable everywhere; Censored if it was nowhere unstable."""
    stable = trained(accuracy)
    unstable = np.flatnonzero(~stable & (np.arange(x.size) > np.argmax(stable)))
    if not unstable.size:
        raise Censored(f"the largest one tried, 2^{x[-1]:g}, is still stable: add 2^{x[-1] + 1:g}")
    return float(x[unstable[0] - 1])


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


def rise_and_fall(
    grids: tuple[Grid, Grid], place: str, rises: str, falls: str, late: tuple[Late, Late], unfit: str = ""
) -> list[Claim]:
    """That the accuracy rises from its value at the smallest of a grid to a peak, and falls from the peak of another one.

    `unfit`: where the first grid has not fitted the training set, in words, so that whether it rises is not decided.
    """
    (what, x, of), to_fall = grids
    return [
        Claim(
            rises, place, f"highest mean accuracy less that at the smallest {what}", fitted(rise(what, x, of), unfit),
            0.0, NONE, decided_after=late[0],
        ),
        Claim(
            falls, place, f"highest mean accuracy less that at the largest {what} with which all seeds train", fall(*to_fall),
            0.0, NONE, decided_after=late[1],
        ),
    ]  # fmt: skip


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
