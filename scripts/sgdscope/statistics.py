"""Intervals, p-values and numbers of seeds: what a verdict rests on.

All of it is Student's t over seeds. Of values x_1 ... x_n, one for each seed, with mean m and standard deviation s:

  interval           m ± t_{0.975, n − 1} s / √n
  p of 'm > border'  P(T_{n − 1} ≥ (m − border) √n / s)
  Holm               p_(k) (N − k + 1), not below those before it, of the p-values in their order
  jackknife          the pseudo-values n f − (n − 1) f_{−i} of a number f of all seeds' means stand for the x_i
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

LEVEL = 0.05  # of a claim, and of all claims of a figure; half of it on either side
FEWEST = 5  # seeds: with fewer, all of them lie on one side of the border by chance in more than LEVEL of the cases
MIN_PERMUTATIONS = 1000  # the real one among them
MOST_SUMS = 2_000_000  # of half of the seeds; where there are more, permutations are drawn
ROUNDING = 1e-12  # differences below are those of arithmetic, of numbers up to 1; relative ones of larger numbers
POWER = 0.8  # with which as many seeds as are told would decide
MOST = 1000  # seeds that are ever told


def spread(values: Sequence[float] | np.ndarray) -> float:
    """The standard deviation of the values; NaN of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """The standard error of the mean; NaN of fewer than two values."""
    return spread(values) / math.sqrt(len(values))


def standard_errors(values: np.ndarray) -> np.ndarray:
    """`standard_error` of each column of `values` [seeds, columns]."""
    if len(values) < 2:
        return np.full(values.shape[1], math.nan)
    return np.std(values, axis=0, ddof=1) / math.sqrt(len(values))


def half_width(count: int, level: float = LEVEL) -> float:
    """Of the interval that covers a mean of `count` values, in standard errors; NaN of fewer than two."""
    return float(special.stdtrit(count - 1, 1 - level / 2)) if count > 1 else math.nan


def interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The interval that covers the mean with probability 1 − level; NaN of fewer than two values."""
    centre, half = float(np.mean(values)), half_width(len(values), level) * standard_error(values)
    return centre - half, centre + half


def p_above(values: Sequence[float] | np.ndarray, border: float) -> float:
    """How probable a mean so far above the border is, were the true one the border; 1 of fewer than FEWEST values.

    Of values that are all equal, such as shares that are exactly 1, no more is known than on which side they lie. Student's t
    would take them for numbers without noise.
    """
    if len(values) < FEWEST:
        return 1.0
    lead = float(np.mean(values)) - border
    if are_equal(values):
        return p_of_equal(len(values)) if lead > 0 and not are_equal([*values, border]) else 1.0
    return float(special.stdtr(len(values) - 1, -lead / standard_error(values)))


def are_equal(values: Sequence[float] | np.ndarray) -> bool:
    """Whether nothing but errors of arithmetic tells the values from one another."""
    return bool(np.ptp(values) <= ROUNDING * max(1.0, float(np.max(np.abs(values)))))


def p_of_equal(count: int) -> float:
    """How probable it is that all of `count` values lie beyond the border, were either side as probable."""
    return 0.5**count


def fewest_equal(level: float = LEVEL) -> int:
    """How many equal values decide."""
    return math.ceil(math.log2(2 / level))


def p_of_worlds(worlds: np.ndarray) -> float:
    """How probable a sum so large is, were each seed's first number drawn at random among its numbers.

    `worlds` [seeds, worlds] has in each row the number of the real data and those of worlds that only chance tells from
    it. The p-value counts all ways to take one of each row, as sums of a half of the seeds with those of the other half;
    of so many that they are not counted, 99,999 drawn ones.
    """
    seeds, count = worlds.shape
    if seeds < FEWEST or count**seeds < MIN_PERMUTATIONS:
        return 1.0
    least = worlds[:, 0].sum() - 1e-12 * np.abs(worlds).sum()
    if count ** (seeds - seeds // 2) > MOST_SUMS:
        chosen = np.random.default_rng(1).integers(count, size=(99_999, seeds))
        sums = worlds[np.arange(seeds), chosen].sum(axis=1)
        return float((1 + np.count_nonzero(sums >= least)) / (1 + sums.size))
    first, rest = (_all_sums(half) for half in (worlds[: seeds // 2], worlds[seeds // 2 :]))
    below = np.searchsorted(np.sort(rest), least - first)  # of each sum of the first half, how many fall short with it
    return float(np.mean(1 - below / rest.size))


def _all_sums(rows: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for row in rows:
        sums = np.add.outer(sums, row).ravel()
    return sums


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: judged at LEVEL, they err in all claims together in at most that share of cases."""
    order, largest, found = np.argsort(ps, kind="stable"), 0.0, [0.0] * len(ps)
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, ps[index] * (len(ps) - place)))
        found[index] = largest
    return found


def seeds_to_decide(values: Sequence[float] | np.ndarray, border: float, level: float = LEVEL) -> int | None:
    """How many seeds would decide with probability POWER, were mean and spread the measured ones; None if over MOST.

    By the noncentral t distribution.
    """
    if len(values) < 2:
        return None
    deviation, distance = spread(values), abs(float(np.mean(values)) - border)
    if are_equal(values):
        return None if are_equal([*values, border]) else fewest_equal(level)
    for seeds in itertools.chain(range(FEWEST, 60), range(60, MOST + 1, 10)):
        least = special.stdtrit(seeds - 1, 1 - level / 2)
        if special.nctdtr(seeds - 1, distance / deviation * math.sqrt(seeds), least) <= 1 - POWER:
            return seeds
    return None


# ------------------------------------------------------------------------------------- the best of several settings
#
# The highest of several means looks better than it is, and which one it is depends on chance. But the highest true mean
# of settings a is above that of settings b by more than d exactly if one of a is so above each of b. So
#
#   p = k_a min_a max_b p(a − b > d)
#
# with the number k_a of settings a, each difference being one of seeds (Bonferroni over a; for b no correction is needed).


def of_best(values: np.ndarray) -> np.ndarray:
    """By seed the values of the setting with the highest mean; `values` [settings, seeds]."""
    return values[int(np.argmax(values.mean(axis=1)))]


def p_of_best(better: np.ndarray, other: np.ndarray, border: float) -> float:
    """How probable such a lead of the highest mean over another's settings is, were it the border."""
    ps = [max(p_above(one - two, border) for two in other) for one in better]
    return min(1.0, len(better) * min(ps))


def interval_of_best(better: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """What covers the difference of the two highest true means with probability 1 − LEVEL."""
    return _lower_end(better, other), -_lower_end(other, better)


def _lower_end(better: np.ndarray, other: np.ndarray) -> float:
    level = LEVEL / len(better)
    return max(min(interval(one - two, level)[0] for two in other) for one in better)


# ------------------------------------------------------------------------- a number at the best of several settings
#
# A number, such as a time, at the settings with the highest true means of another one, an accuracy, one of each of some
# kinds. Which settings these are is not known, but what the number is there is above a border unless an event of small
# probability came about at the true ones (i, j, ...): one of them looks as if others were better, or the number does not
# look as if it were below. These are one more than there are kinds. So, with two kinds,
#
#   p = max_ij 3 min(r_i, r_j, p(number_ij > border)),   r_i = (k − 1) min_k p(accuracy_k > accuracy_i)
#
# and the interval spans those of all settings that may be the best. A number that only says which settings these are, such
# as the distance of two optima, is the same with all seeds; what is not known of it is the choice.


def events(kinds: Sequence[np.ndarray]) -> int:
    """By how many events a conclusion from the best setting of each of these kinds can err."""
    return len(kinds) + 1


def p_of_chosen(numbers: np.ndarray, kinds: Sequence[np.ndarray], border: float) -> float:
    """How probable so large a number at the best settings is, were it the border.

    `numbers` [settings of the first kind, of the second, ..., seeds, or 1 if all seeds have the same]; `kinds`,
    [settings, seeds] each, choose among them.
    """
    chosen = np.array(1.0)
    for values in kinds:
        chosen = np.minimum.outer(chosen, p_of_being_best(values))
    if numbers.shape[-1] == 1:
        above = np.where(numbers[..., 0] > border, 0.0, 1.0)
    else:
        above = np.apply_along_axis(p_above, -1, numbers, border)
    return min(1.0, events(kinds) * float(np.max(np.minimum(chosen, above))))


def interval_of_chosen(numbers: np.ndarray, kinds: Sequence[np.ndarray]) -> tuple[float, float]:
    """What covers the mean of the number at the best settings with probability 1 − LEVEL."""
    places = itertools.product(*(may_be_best(values, events(kinds)) for values in kinds))
    if numbers.shape[-1] == 1:
        found = [float(numbers[place][0]) for place in places]
        return min(found), max(found)
    lows, highs = zip(*(interval(numbers[place], LEVEL / events(kinds)) for place in places))
    return min(lows), max(highs)


def may_be_best(values: np.ndarray, errors: int) -> list[int]:
    """Which settings of `values` [settings, seeds] may have the highest true mean, if one of `errors` events errs so."""
    return [int(place) for place in np.flatnonzero(p_of_being_best(values) > LEVEL / 2 / errors)]


def seeds_to_choose(kinds: Sequence[np.ndarray]) -> int | None:
    """How many seeds would tell which setting of each kind is the best, were means and spreads what they are; None if over MOST."""
    found: list[int | None] = []
    for values in kinds:
        best, others = of_best(values), len(values) - 1
        rest = np.delete(values, int(np.argmax(values.mean(axis=1))), axis=0)
        found += [seeds_to_decide(best - one, 0.0, LEVEL / events(kinds) / others) for one in rest]
    return None if None in found else max((seeds for seeds in found if seeds), default=None)


def p_of_being_best(values: np.ndarray) -> np.ndarray:
    """For each setting how probable it is that others look so much better, had it the highest true mean."""
    found = [[p_above(other - one, 0.0) for other in np.delete(values, i, axis=0)] for i, one in enumerate(values)]
    return np.array([min([1.0, *(len(ps) * p for p in ps)]) for ps in found])


# --------------------------------------------------------------------------------------- the exponent of a ratio
#
# A number y that depends on x and on a size s, all logarithms, may depend on x − p s alone: an accuracy on the ratio of
# learning rate to batch size, where p = 1. Here p is what lets a parabola in x − p s come nearest to all y, least squares.

EXPONENTS = np.linspace(-1, 3, 401)


def exponent(x: np.ndarray, s: np.ndarray, y: np.ndarray) -> float:
    """The p with which a parabola in x − p s fits y best; the first or last of EXPONENTS where it may lie beyond them."""
    place = _centred(x - EXPONENTS[:, None] * s)  # [exponents, numbers], as is all that follows
    linear = _unit(place)
    square = _centred(linear**2)
    quadratic = _unit(square - _along(square, linear))
    rest = _centred(y[None, :])
    rest = rest - _along(rest, linear)
    misfits = np.sum((rest - _along(rest, quadratic)) ** 2, axis=1)
    best = int(np.argmin(misfits))
    if best in (0, EXPONENTS.size - 1):
        return float(EXPONENTS[best])
    before, least, after = misfits[best - 1 : best + 2]  # through which a parabola is laid
    bend = before - 2 * least + after
    shift = (before - after) / (2 * bend) if bend > 0 else 0.0
    return float(EXPONENTS[best] + shift * (EXPONENTS[1] - EXPONENTS[0]))


def _centred(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(axis=1, keepdims=True)


def _along(rows: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Of each row its part along the unit vector of that row."""
    return np.sum(rows * units, axis=1, keepdims=True) * units


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; one that is nothing but rounding has no direction and becomes 0."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > ROUNDING, rows / np.maximum(length, ROUNDING), 0.0)
