#!/usr/bin/env python3
"""Tests of intervals, p-values and verdicts: python tests/statistics_test.py

The quick part draws few cases. `python tests/statistics_test.py AllCasesSlow` draws those of the tables in
scripts/VERDICTS.md, and `--write` writes these.
"""

from __future__ import annotations

import itertools
import math
import sys
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from run_folders import NAN, ROOT, SEEDS

# isort: split
from sgdscope import statistics
from sgdscope.claims import (
    Censored,
    Claim,
    Measurement,
    Sample,
    TooLittle,
    Verdict,
    adjusted,
    at_best_of_settings,
    at_optima,
    best_of_settings,
    exponent,
    jackknife,
    over_seeds,
    reasons,
)

HOLDS, FAILS, OPEN = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN
PAGE = ROOT / "scripts" / "VERDICTS.md"
BEGIN, END = "<!-- simulation: begin -->", "<!-- simulation: end -->"
POWER_MARKS = "<!-- power: begin -->", "<!-- power: end -->"
SHARES_MARKS = "<!-- shares: begin -->", "<!-- shares: end -->"
CASES = 1000
SKEWED_MOST = 7.5  # per cent, which the page speaks of
GRID = 6  # settings of which the best is taken
FIGURE = 10  # claims of a figure


def measurement(
    values: Sequence[float] | np.ndarray, discrete: bool = False, worlds: np.ndarray | None = None
) -> Measurement:
    """Of one number for each seed."""
    return Measurement({str(i): Sample(float(x)) for i, x in enumerate(values)}, discrete=discrete, worlds=worlds)


def claim(
    measured: Measurement | Mapping[str, Measurement] | Sequence[float] | np.ndarray,
    border: float = 0,
    about: float | None = None,
) -> Claim:
    """A claim about a number, or one for each condition."""
    if not isinstance(measured, (Measurement, Mapping)):
        measured = measurement(measured)
    return Claim("It is so.", "page 1", "a number", measured, border, "because", about)


def numbered(parts: Sequence[Measurement]) -> dict[str, Measurement]:
    """Conditions that are called after their places."""
    return {f"condition {place}": part for place, part in enumerate(parts, 1)}


# ---------------------------------------------------------------------------------------------- simulation

Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def student(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """t with 3 degrees of freedom, of variance 1."""
    return random.standard_t(3, shape) / math.sqrt(3)


def contaminated(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, but for one in ten that is a log-normal number of either sign."""
    far = random.lognormal(0, 1, shape) * random.choice([-1, 1], shape)
    return np.where(random.random(shape) < 0.1, 2 * far, random.standard_normal(shape))


def skewed(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Gamma of shape 4, of mean 0, variance 1 and skewness 1: the long tail is above."""
    return (random.gamma(4, 1, shape) - 4) / 2


SYMMETRIC: dict[str, Noise] = {
    "normal": lambda random, shape: random.standard_normal(shape), "t, 3 degrees": student, "contaminated": contaminated,
}  # fmt: skip
SKEWED: dict[str, Noise] = {"skewed, tail above": skewed, "skewed, tail below": lambda *of: -skewed(*of)}
NOISES = {**SYMMETRIC, **SKEWED}


def difference(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """A difference of two runs of each seed."""
    return claim(effect + noise(random, (seeds,)))


def best(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """The best of several settings less one."""
    lead = np.where(np.arange(GRID) == 2, effect, 0)[:, None]
    labels = [str(seed) for seed in range(seeds)]
    return claim(
        best_of_settings(
            labels, lead + noise(random, (GRID, seeds)) / math.sqrt(2), noise(random, (1, seeds)) / math.sqrt(2)
        )
    )


def few_values(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """A number of which few can come out: each seed's highest point of a grid, by how much beyond its middle."""
    curve = -0.25 * (np.arange(GRID + 1) - GRID / 2 - effect)[:, None] ** 2 + noise(random, (GRID + 1, seeds))
    return claim(measurement(curve.argmax(axis=0) - GRID / 2, discrete=True))


def equivalence(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """That a number is within 1.5 of 0, of which it is off by 1.5 less the effect."""
    return claim(1.5 - effect + noise(random, (seeds,)), 1.5, about=0)


def conditions(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """That a number is above 0 in each of three conditions, of which two are so in any case."""
    return claim(numbered([measurement(value + noise(random, (seeds,))) for value in (effect, 2, 2)]))


def permutation(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """A number of the real data beside those of 3 null worlds."""
    worlds = noise(random, (seeds, 4))
    worlds[:, 0] += effect
    return claim(measurement(worlds[:, 0] - worlds[:, 1:].mean(axis=1), worlds=worlds))


def chosen(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """A time at the best of several settings less that of others' best, where neighbours are nearly as good."""
    labels, accuracy = [str(seed) for seed in range(seeds)], -0.7 * np.abs(np.arange(5) - 2.0)[:, None]
    first, second = (accuracy + noise(random, (5, seeds)) / math.sqrt(2) for _ in range(2))
    times = [np.arange(5.0)[:, None] + noise(random, (5, seeds)) / math.sqrt(2) for _ in range(2)]
    return claim(at_best_of_settings(labels, effect + times[0][:, None] - times[1][None], first, second))


def fitted(random: np.random.Generator, noise: Noise, seeds: int, effect: float) -> Claim:
    """That the exponent of a size is above 1."""
    return claim(exponent_over_seeds(random, noise, seeds, 1 + effect / 8, 0.01), 1)


def exponent_over_seeds(
    random: np.random.Generator, noise: Noise, seeds: int, p: float, deviation: float, each: bool = False
) -> Measurement:
    """The exponent of noisy curves, of their means by the jackknife, or the mean of that of each seed."""
    x, s = (grid.ravel() for grid in np.meshgrid(np.arange(-8.0, -3), np.arange(3.0, 6)))
    place = x - p * s
    y = -0.01 * (place - place.mean()) ** 2 + deviation * noise(random, (seeds, x.size))
    labels = [str(seed) for seed in range(seeds)]
    if each:
        return over_seeds({label: [y[i]] for i, label in enumerate(labels)}, lambda of: Sample(exponent(x, s, of)))
    return jackknife(labels, lambda places: exponent(x, s, y[places].mean(axis=0)))


KINDS = (difference, best, few_values, equivalence, conditions, permutation)
LATER_KINDS = (chosen, fitted)  # which no earlier rule judged


def before(one: Claim) -> bool:
    """Whether the earlier rule said 'holds': the mean beyond the border by two standard errors."""
    for comparison in one.comparisons:
        values = comparison.sign * np.array(comparison.measured.values)
        if not values.size or not values.mean() - 2 * statistics.standard_error(values) > comparison.border:
            return False
    return True


def shares(kind: Callable[..., Claim], noise: Noise, seeds: int, effect: float, cases: int) -> tuple[float, float]:
    """In what share of cases a claim holds, now and by the earlier rule."""
    random = np.random.default_rng([seeds, cases])
    found = [kind(random, noise, seeds, effect) for _ in range(cases)]
    return float(np.mean([one.p(HOLDS) <= statistics.LEVEL / 2 for one in found])), float(
        np.mean([before(one) for one in found])
    )


def of_figures(noise: Noise, seeds: int, cases: int) -> tuple[float, float]:
    """In what share of figures, none of whose claims is so, one of them holds, now and by the earlier rule."""
    random, now, then = np.random.default_rng([seeds, cases, 1]), 0, 0
    for _ in range(cases):
        claims = [kind(random, noise, seeds, 0.0) for kind, _ in zip(itertools.cycle(KINDS), range(FIGURE))]
        now += HOLDS in adjusted(claims)
        then += any(map(before, claims))
    return now / cases, then / cases


def row(kind: Callable[..., Claim], name: str, noise: Noise, seeds: int, cases: int) -> str:
    """A line of the page's table."""
    wrong, right = (shares(kind, noise, seeds, effect, cases) for effect in (0.0, 1.5))
    numbers = [f"{share:.1%}" for share in (wrong[0], wrong[1], right[0], right[1])]
    return f"| {kind.__name__} | {name} | {seeds} | {' | '.join(numbers)} |"


def rows(cases: int) -> Iterator[str]:
    """The table of the page: false 'holds', and power at an effect of 1.5 standard deviations of a seed."""
    yield "| what is claimed | noise | seeds | false 'holds' | before | power | before |"
    yield "|---|---|---|---|---|---|---|"
    for kind, (name, noise), seeds in itertools.product(KINDS, NOISES.items(), (2, 3, 5, 7, 10)):
        if name != "normal" and seeds in (3, 7):
            continue
        yield row(kind, name, noise, seeds, cases)
    for kind, (name, noise), seeds in itertools.product(LATER_KINDS, SYMMETRIC.items(), (5, 10)):
        yield row(kind, name, noise, seeds, cases)
    for (name, noise), seeds in itertools.product(SYMMETRIC.items(), (2, 5, 10)):
        wrong = of_figures(noise, seeds, cases // 2)
        yield f"| any of {FIGURE} claims of a figure (Holm) | {name} | {seeds} | {wrong[0]:.1%} | {wrong[1]:.1%} | | |"


# Mean and deviation of shares; the last three are the borders, and the deviations, of claims that are kept.
SHARES = (
    (0.5, 0.1), (0.8, 0.1), (0.9, 0.05), (0.95, 0.05), (0.99, 0.01), (0.99, 0.02),
    (0.95, 0.014), (0.9, 0.006), (0.995, 0.0005),
)  # fmt: skip


def share_rows(cases: int) -> Iterator[str]:
    """The table of the page: claims that a share is above or below a border that it is at, of beta-distributed shares."""
    yield "| true share | deviation of a seed | skewness | 5 seeds: false 'above' | false 'below' | interval misses | 10 seeds: misses |"
    yield "|---|---|---|---|---|---|---|"
    for mean, deviation in SHARES:
        one, other = (errors_of_shares(mean, deviation, seeds, cases) for seeds in (5, 10))
        numbers = " | ".join(f"{share:.1%}" for share in (*one, sum(one), sum(other)))
        yield f"| {mean:g} | {deviation:g} | {skewness_of_share(mean, deviation):.1f} | {numbers} |"


def errors_of_shares(mean: float, deviation: float, seeds: int, cases: int) -> tuple[float, float]:
    """How often Student's interval of beta-distributed shares is wholly above their true mean, and below it."""
    total = mean * (1 - mean) / deviation**2 - 1
    drawn = np.random.default_rng([seeds, 7]).beta(mean * total, (1 - mean) * total, (cases, seeds))
    half = statistics.half_width(seeds) * drawn.std(axis=1, ddof=1) / math.sqrt(seeds)
    return float(np.mean(drawn.mean(axis=1) - half > mean)), float(np.mean(drawn.mean(axis=1) + half < mean))


def skewness_of_share(mean: float, deviation: float) -> float:
    """Of the beta distribution of this mean and deviation."""
    total = mean * (1 - mean) / deviation**2 - 1
    return 2 * (1 - 2 * mean) * math.sqrt(total + 1) / ((total + 2) * math.sqrt(mean * (1 - mean)))


@dataclass(frozen=True)
class Effect:
    """A difference of two settings' means that a paper reports, with the standard deviations of their runs."""

    what: str
    place: str
    difference: float
    deviations: tuple[float, float]
    settings: int  # of each kind, of which the best are compared

    @property
    def size(self) -> float:
        """In standard deviations of a difference of two runs; the paper says nothing of how runs of one seed go together."""
        return self.difference / math.hypot(*self.deviations)


def times(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    """log2 of the ratio of two convergence times, each with its standard deviation, and the deviations of the logarithms."""
    return math.log2(one[0] / other[0]), (one[1] / one[0] / math.log(2), other[1] / other[0] / math.log(2))


EFFECTS = (
    Effect("C1, α = 1.5: test accuracy", "table 2", 88.69 - 88.05, (0.11, 0.18), 13),
    Effect("C1, α = 2: test accuracy", "table 2", 88.77 - 88.05, (0.30, 0.18), 13),
    Effect("C1, α = 2.5: test accuracy", "table 2", 88.66 - 88.05, (0.22, 0.18), 13),
    Effect("F1, α = 1.5: test accuracy", "table 2", 90.39 - 90.17, (0.17, 0.14), 13),
    Effect("C2, α = 1.5: test accuracy", "table 2", 61.75 - 61.40, (0.48, 0.54), 13),
    Effect("C1, α = 1.5: convergence time", "table 2", *times((24500, 2775), (20825, 2113)), 1),
    Effect("C1, α = 2: convergence time", "table 2", *times((24500, 2775), (15932, 1870)), 1),
    Effect("C1, α = 2.5: convergence time", "table 2", *times((24500, 2775), (10040, 1153)), 1),
    Effect("F1, α = 1.5: convergence time", "table 2", *times((10934, 816), (7914, 528)), 1),
    Effect("C2, α = 1.5: convergence time", "table 2", *times((5292, 935), (5175, 748)), 1),
    Effect("F1, B = 5000, α = 3: test accuracy", "table 3", 90.35 - 90.17, (0.05, 0.14), 11),
    Effect("C1, B = 5000, α = 10: test accuracy", "table 3", 88.26 - 88.05, (0.23, 0.18), 11),
    Effect("C2, B = 5000, α = 5: test accuracy", "table 3", 61.53 - 61.40, (0.35, 0.54), 7),
)  # of noise_enhancement; the other papers give no deviations


def power(effect: Effect, seeds: int, settings: int, cases: int) -> float:
    """How often the best of so many settings is found above another kind's, one leading by the effect, the rest far below."""
    random, found = np.random.default_rng([seeds, settings]), 0
    labels = [str(seed) for seed in range(seeds)]
    below = np.where(np.arange(settings) == 0, 0.0, -1.0)[:, None]
    for _ in range(cases):
        better, other = (below + random.standard_normal((settings, seeds)) / math.sqrt(2) for _ in range(2))
        found += claim(best_of_settings(labels, better + effect.size, other)).p(HOLDS) <= statistics.LEVEL / 2
    return found / cases


def power_rows(cases: int) -> Iterator[str]:
    """The table of the page: the power at the effects that the papers report."""
    yield "| effect | place | in deviations | of how many settings | 5 seeds | 10 seeds | 20 seeds |"
    yield "|---|---|---|---|---|---|---|"
    for effect in EFFECTS:
        found = " | ".join(f"{power(effect, seeds, effect.settings, cases):.0%}" for seeds in (5, 10, 20))
        yield f"| {effect.what} | {effect.place} | {effect.size:.2f} | {effect.settings} | {found} |"


def tables() -> Iterator[tuple[tuple[str, str], Iterator[str]]]:
    """The page's tables, with the lines that stand around them."""
    yield (BEGIN, END), rows(CASES)
    yield SHARES_MARKS, share_rows(4 * CASES)
    yield POWER_MARKS, power_rows(CASES // 2)


def write(page: Path) -> None:
    """Writes the tables into the page."""
    text = page.read_text(encoding="utf-8")
    for (begin, end), lines in tables():
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = "\n".join([head + begin, *lines, end + tail])
    page.write_text(text, encoding="utf-8")


# -------------------------------------------------------------------------------------------------- tests


class FalseVerdicts(unittest.TestCase):
    """Few cases, and so three standard deviations more than 5 % are let pass; the page has many."""

    CASES = 300
    MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / CASES)

    def test_no_kind_of_claim_holds_falsely_too_often(self) -> None:
        for kind, (name, noise) in itertools.product((*KINDS, chosen), SYMMETRIC.items()):
            with self.subTest(kind=kind.__name__, noise=name):
                self.assertLessEqual(shares(kind, noise, 5, 0.0, self.CASES)[0], self.MOST)

    def test_at_the_border_no_kind_of_claim_is_decided_too_often(self) -> None:
        for kind, (name, noise) in itertools.product(KINDS, SYMMETRIC.items()):
            with self.subTest(kind=kind.__name__, noise=name):
                random = np.random.default_rng(5)
                found = [kind(random, noise, 6, 0.0).verdict is not OPEN for _ in range(self.CASES)]
                self.assertLessEqual(np.mean(found), self.MOST)

    def test_intervals_cover_what_they_are_of(self) -> None:
        for (name, noise), others, effect in itertools.product(SYMMETRIC.items(), (1, GRID), (0.0, 1.5)):
            with self.subTest(noise=name, others=others, effect=effect):
                random = np.random.default_rng([6, others])
                lead = np.where(np.arange(GRID) == 2, effect, 0)[:, None]
                pairs = [
                    (lead + noise(random, (GRID, 5)), noise(random, (others, 5))) for _ in range(self.CASES)
                ]  # of the highest means, and of the settings that truly have them
                of_best = [statistics.interval_of_best(*pair) for pair in pairs]
                of_one = [statistics.interval(better[2] - other[0]) for better, other in pairs]
                for intervals in (of_best, of_one):
                    self.assertGreaterEqual(np.mean([low <= effect <= high for low, high in intervals]), 1 - self.MOST)

    def test_no_figure_holds_anything_falsely_too_often(self) -> None:
        self.assertLessEqual(of_figures(NOISES["normal"], 7, 150)[0], 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150))

    def test_effects_are_found(self) -> None:
        for kind in (difference, equivalence, conditions, permutation):
            self.assertGreater(shares(kind, NOISES["normal"], 10, 1.5, 100)[0], 0.85, kind.__name__)

    def test_the_earlier_rule_erred_too_often(self) -> None:
        self.assertGreater(shares(difference, NOISES["normal"], 2, 0.0, self.CASES)[1], 0.1)
        self.assertGreater(shares(best, NOISES["normal"], 5, 0.0, self.CASES)[1], 0.1)

    def test_the_page_has_the_table(self) -> None:
        table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip().splitlines()
        self.assertEqual(len(table), sum(1 for _ in rows(4)))
        for kind, (name, noise) in itertools.product((difference, equivalence, conditions), SYMMETRIC.items()):
            self.assertIn(row(kind, name, noise, 5, CASES), table)
        for line in table[2:]:
            false = float(line.split("|")[4].strip().rstrip("%"))
            self.assertLessEqual(false, SKEWED_MOST if "skewed" in line else 5.0, line)

    def test_the_page_has_the_power_at_the_papers_effects(self) -> None:
        begin, end = POWER_MARKS
        table = PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip().splitlines()
        drawn = list(power_rows(2))
        self.assertEqual([line.split("|")[1:5] for line in table], [line.split("|")[1:5] for line in drawn])


class AllCasesSlow(unittest.TestCase):
    def test_the_page_has_these_tables(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        for (begin, end), lines in tables():
            self.assertEqual(text.partition(begin)[2].partition(end)[0].strip().splitlines(), list(lines))


class Exponents(unittest.TestCase):
    def test_that_of_means_has_less_bias_than_the_mean_of_each_and_is_covered(self) -> None:
        found, each, covered, lost = [], [], [], 0
        random = np.random.default_rng(4)
        for _ in range(100):
            measured = exponent_over_seeds(random, NOISES["normal"], 5, 0.75, 0.02)
            low, high = measured.interval
            found.append(measured.summary.mean)
            covered.append(low <= 0.75 <= high)
            of_each = exponent_over_seeds(random, NOISES["normal"], 5, 0.75, 0.02, each=True)
            lost += bool(of_each.censored)
            each += [] if of_each.censored else [of_each.summary.mean]
        self.assertLess(abs(np.mean(found) - 0.75), 0.04)
        self.assertGreater(np.mean(each) - 0.75, 0.04)  # the earlier rule's bias
        self.assertGreater(lost, 0)  # and it let a seed without an exponent take away the others'
        self.assertGreaterEqual(np.mean(covered), 1 - 0.05 - 3 * math.sqrt(0.05 * 0.95 / 150))

    def test_the_exponent_of_a_size_is_found(self) -> None:
        x, s = (grid.ravel() for grid in np.meshgrid(np.arange(-9.0, -4), np.arange(3.0, 6)))
        random = np.random.default_rng(2)
        for p in (0.0, 0.5, 1.0, 1.5):
            y = 0.8 - 0.01 * (x - p * s + 9) ** 2 + 1e-4 * random.standard_normal(x.size)
            self.assertAlmostEqual(exponent(x, s, y), p, delta=0.03)

    def test_what_does_not_tell_it_is_not_decided(self) -> None:
        x, s = np.arange(6.0), np.repeat([3.0, 4.0], 3)
        with self.assertRaisesRegex(TooLittle, "of which an exponent takes 5"):
            exponent(x[:4], s[:4], x[:4])
        with self.assertRaisesRegex(TooLittle, "of two sizes or more"):
            exponent(x, np.full(6, 3.0), x)
        with self.assertRaisesRegex(Censored, "no exponent from −1 to 3"):
            exponent(x, s, x - 9 * s)


class Verdicts(unittest.TestCase):
    def test_the_whole_interval_decides(self) -> None:
        values = np.array([0.9, 1.0, 1.1, 1.05, 0.95])
        low, high = statistics.interval(values)
        self.assertAlmostEqual(high - low, 2 * 2.7764451051977987 * np.std(values, ddof=1) / math.sqrt(5), places=12)
        for border, verdict in ((low - 1e-6, HOLDS), (low + 1e-6, OPEN), (high - 1e-6, OPEN), (high + 1e-6, FAILS)):
            self.assertEqual(claim(values, border).verdict, verdict)

    def test_monotone_in_mean_error_border_and_seeds(self) -> None:
        order = {FAILS: 0, OPEN: 1, HOLDS: 2}
        random = np.random.default_rng(3)
        for _ in range(200):
            seeds = int(random.integers(2, 11))
            shape = random.standard_normal(seeds)
            shape = (shape - shape.mean()) / np.std(shape, ddof=1)

            def rank(mean: float, error: float = 1.0, border: float = 0.0, shape: np.ndarray = shape) -> int:
                return order[claim(mean + error * shape, border).verdict]

            means = np.linspace(-4, 4, 17)
            for error in (0.1, 1.0, 3.0):
                of_means = [rank(mean, error) for mean in means]
                self.assertEqual(of_means, sorted(of_means))
                of_borders = [rank(0.0, error, border) for border in means]
                self.assertEqual(of_borders, sorted(of_borders, reverse=True))
            for mean in means:
                decided = [abs(rank(mean, error) - 1) for error in (0.01, 0.1, 1, 3)]
                self.assertEqual(decided, sorted(decided, reverse=True))
            for error in (1e-9, 1e-3, 1.0):  # where the numbers do not differ at all, less is known: the page says so
                self.assertGreaterEqual(abs(rank(2.0, error) - 1), abs(rank(2.0, 0.0) - 1))
        exact = [abs(order[claim([0.5 - 0.3, *[0.5] * (n - 2), 0.5 + 0.3]).verdict] - 1) for n in range(2, 30)]
        self.assertEqual(exact, sorted(exact))

    def test_claims_on_the_best_on_equality_and_on_conditions_are_monotone_too(self) -> None:
        order = {FAILS: 0, OPEN: 1, HOLDS: 2}
        random = np.random.default_rng(8)
        for _ in range(40):
            seeds = int(random.integers(5, 11))
            labels = [str(seed) for seed in range(seeds)]
            better, other, one = (random.standard_normal((count, seeds)) for count in (3, 2, 1))
            level = better.mean(axis=1, keepdims=True)
            means = np.linspace(-6, 6, 25)
            of_best = [order[claim(best_of_settings(labels, better + mean, other)).verdict] for mean in means]
            of_all = [
                order[claim(numbered([measurement(one[0] + 9), measurement(better[0] + mean)])).verdict]
                for mean in means
            ]
            for found in (of_best, of_all):
                self.assertEqual((found, {0, 2} - {*found}), (sorted(found), set()))
            centred = one[0] - one[0].mean()
            alike = [order[claim(centred + mean, 3.0, about=0.0).verdict] for mean in means]
            self.assertEqual(alike[:13], sorted(alike[:13]))
            self.assertEqual(alike[12:], sorted(alike[12:], reverse=True))
            wider = [
                abs(order[claim(best_of_settings(labels, 2 + level + error * (better - level), 0 * other)).verdict] - 1)
                for error in (0.01, 0.1, 1, 3, 10)
            ]
            self.assertEqual(wider, sorted(wider, reverse=True))

    def test_fewer_than_five_seeds_decide_nothing(self) -> None:
        values = np.array([1.0, 1.001, 0.999, 1.002, 0.998])
        for seeds in range(1, 5):
            one = claim(values[:seeds])
            self.assertEqual(one.verdict, OPEN)
            self.assertIn("seed", one.reason)
        self.assertEqual(claim(values).verdict, HOLDS)

    def test_numbers_of_a_grid_say_little(self) -> None:
        values = [1.0, 2, 1, 1, 1, 1]
        self.assertEqual(claim(measurement(values[:5], discrete=True)).verdict, OPEN)
        self.assertEqual(claim(measurement(values, discrete=True)).verdict, HOLDS)

    def test_equal_numbers_say_no_more_than_the_side_on_which_they_lie(self) -> None:
        five, six = claim([1.0] * 5, 0.9), claim([1.0] * 6, 0.9)  # shares that are exactly 1 with each seed
        self.assertEqual((five.verdict, five.decided[1]), (OPEN, 2 * 0.5**5))
        self.assertEqual(five.reason, "about 6 seeds would decide it alone, if they go on like this")
        self.assertEqual((six.verdict, six.decided[1]), (HOLDS, 2 * 0.5**6))
        self.assertEqual(claim([0.0] * 6, 0.9).verdict, FAILS)

    def test_equal_leads_of_the_best_and_of_chosen_settings_say_no_more(self) -> None:
        labels = [str(seed) for seed in range(5)]
        best = best_of_settings(labels, np.ones((1, 5)), np.full((1, 5), 0.9))  # an accuracy of 1 over one of guessing
        number = np.full((2, 5), 0.7)
        chosen = at_best_of_settings(labels, number, np.array([[1.0, 1.1, 0.9, 1.0, 1.2], [0.1, 0.2, 0.0, 0.1, 0.3]]))
        for one in (claim(best), claim([0.1 + 0.2, *[0.3] * 4])):  # the latter differs by rounding
            self.assertEqual((one.verdict, one.decided[1]), (OPEN, 2 * 0.5**5))
        self.assertEqual(claim(chosen).verdict, OPEN)
        self.assertEqual(claim([0.3, 0.3 + 1e-9, 0.3, 0.3, 0.3]).verdict, HOLDS)

    def test_numbers_that_are_not_finite_decide_nothing(self) -> None:
        good = measurement([1.0, 1.1, 0.9, 1.05, 0.95])
        for bad in (NAN, math.inf, -math.inf):
            numbers = [1.0, bad, 1.1, 1.0, 1.2]
            rows, labels = np.array([numbers]), list("abcde")
            for found in (
                over_seeds({str(i): [x] for i, x in enumerate(numbers)}, Sample), best_of_settings(labels, rows),
                at_best_of_settings(labels, rows, np.ones((1, 5))), jackknife(labels, lambda at, rows=rows: float(rows[0, at].mean())),
            ):  # fmt: skip
                self.assertIn("finite", found.censored)
                for parts in ([good, found], [found, good]):
                    one = claim(numbered(parts))
                    self.assertEqual((one.verdict, one.decided[1]), (OPEN, 1.0))
        self.assertEqual(jackknife([], lambda at: 0.0).samples, {})

    def test_a_grid_that_ends_too_early_takes_away_one_verdict(self) -> None:
        labels, around = list("abcdef"), np.array([[0.01, -0.01, 0.02, -0.02, 0.0, 0.01]])

        def verdicts(lead: float, ends: tuple[str, str]) -> tuple[Verdict, Verdict, str]:
            found = best_of_settings(labels, around + lead, around[:, ::-1], ends=ends)
            return claim(found).verdict, claim(found, 1.5, about=0.0).verdict, claim(found).reason

        self.assertEqual(verdicts(1.0, ("", "")), (HOLDS, HOLDS, ""))
        self.assertEqual(verdicts(-1.0, ("", "")), (FAILS, HOLDS, ""))
        self.assertEqual(verdicts(1.0, ("add a", "")), (HOLDS, OPEN, ""))
        self.assertEqual(verdicts(-1.0, ("add a", "")), (OPEN, OPEN, "add a"))
        self.assertEqual(verdicts(1.0, ("", "add b")), (OPEN, OPEN, "add b"))
        self.assertEqual(verdicts(-1.0, ("", "add b")), (FAILS, OPEN, ""))
        self.assertEqual(verdicts(-9.0, ("", "add b"))[1], FAILS)  # even lower ones would not be alike
        self.assertEqual(verdicts(-9.0, ("add a", ""))[1], OPEN)

    def test_rounding_is_no_effect(self) -> None:
        self.assertEqual(claim([1e-16] * 8).verdict, OPEN)

    def test_an_equivalence_needs_both_sides(self) -> None:
        for shift, verdict in ((0, HOLDS), (0.5, FAILS), (-0.5, FAILS), (0.19, OPEN), (-0.19, OPEN)):
            values = 1 + shift + np.array([0.01, -0.01, 0.03, -0.03, 0.0])
            self.assertEqual(claim(values, 0.2, about=1.0).verdict, verdict, shift)

    def test_conditions_are_never_replicates(self) -> None:
        around = 0.01 * (np.arange(len(SEEDS)) % 2)
        conditions = [measurement(mean + around) for mean in (1.0, 1.1, 1.2, -0.1)]
        self.assertEqual(claim(numbered(conditions)).verdict, FAILS)
        self.assertEqual(claim(numbered(conditions[:3])).verdict, HOLDS)
        self.assertEqual(claim(numbered([measurement([1.0]) for _ in range(8)])).verdict, OPEN)

    def test_what_is_said_of_one_condition_names_it(self) -> None:
        good = measurement([1.0, 1.1, 0.9, 1.05, 0.95])
        labels, around = list("abcde"), np.array([[0.01, -0.01, 0.02, -0.02, 0.0]])
        few = at_best_of_settings(labels, np.array([[0.0], [1.0]]), np.array([[0.0, 1, 0, 1, 0], [1, 0, 1, 0, 0.5]]))
        for found, words in (
            (Measurement({}, censored="add 2^3"), "large batches: add 2^3"),
            (Measurement({}, ("a run: not run yet",)), "large batches: a run: not run yet"),
            (Measurement({}), "large batches: no run measures it"),
            (best_of_settings(labels, around - 1, ends=("add a", "")), "large batches: add a"),
            (few, "large batches: 5 seeds do not tell which setting is the best"),
        ):
            one = claim({"small batches": good, "large batches": found})
            self.assertTrue(one.reason.startswith(words), one.reason)
            self.assertEqual(one.weakest, ("large batches", found))
            self.assertTrue(claim(found).reason.startswith(words.removeprefix("large batches: ")))
        sides = {"above": measurement(good.values), "far below": measurement([x - 9 for x in good.values])}
        self.assertEqual(claim(sides, 0.5, about=1.0).weakest[0], "far below")
        self.assertEqual(claim(good).weakest, ("", good))

    def test_where_optima_lie_does_not_depend_on_where_grids_end(self) -> None:
        rates, penalties = np.arange(-11.0, -2), np.arange(-8.0, 1)  # whose middles are 3 octaves apart
        random = np.random.default_rng(4)

        def apart(curvature: float, distance: float, seeds: int) -> Measurement:
            labels, middle = [str(seed) for seed in range(seeds)], -5.5 - distance / 2
            first, second = (
                -curvature * (x - at)[:, None] ** 2 + random.standard_normal((x.size, seeds))
                for x, at in ((penalties, middle + distance), (rates, middle))
            )
            return at_optima(labels, lambda penalty, rate: penalty - rate, (penalties, first), (rates, second))

        for curvature in (0.0, 0.05, 0.5):  # in deviations of a seed by octave²; the optima are the same
            held = [claim(apart(curvature, 0, seeds), 0.5).verdict is HOLDS for seeds in (7, 10) for _ in range(40)]
            self.assertLessEqual(np.mean(held), statistics.LEVEL / 2)
        self.assertGreater(np.mean([claim(apart(2, 3, 7), 0.5).verdict is HOLDS for _ in range(40)]), 0.8)
        found = apart(5, 3, 7)
        self.assertEqual((set(found.values), found.interval), ({3.0}, (3.0, 3.0)))

    def test_what_is_censored_is_not_decided(self) -> None:
        one = claim(Measurement({str(i): Sample(1.0) for i in range(9)}, censored="add 2^3"))
        self.assertEqual((one.verdict, one.reason), (OPEN, "add 2^3"))

    def test_permutations_are_all_counted(self) -> None:
        worlds = np.array([[1.0, 0.0, 0.1, 0.2]] * 5)
        self.assertEqual(statistics.p_of_worlds(worlds), 1 / 4**5)
        self.assertEqual(statistics.p_of_worlds(worlds[:4]), 1.0)  # 256 are too few
        self.assertEqual(statistics.p_of_worlds(np.tile(worlds, (1, 3))[:4]), 1.0)  # as are 4 seeds
        self.assertEqual(statistics.p_of_worlds(np.tile(worlds, (3, 1))), 1 / 4**15)
        self.assertEqual(statistics.p_of_worlds(np.tile(worlds, (6, 1))), 1 / 100_000)  # drawn
        random = np.random.default_rng(1)
        for seeds in (5, 6, 7):
            worlds = np.round(random.standard_normal((seeds, 4)), 1)  # many sums are equal
            sums = [sum(way) for way in itertools.product(*worlds)]
            share = np.mean([one >= worlds[:, 0].sum() - 1e-9 for one in sums])
            self.assertAlmostEqual(statistics.p_of_worlds(worlds), share, places=12)

    def test_holm(self) -> None:
        np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
        sure, border = claim([1.0, 1.1, 0.9, 1.05, 0.95]), claim([1.0, 0.2, 0.5, 0.9, 0.6])
        self.assertEqual((border.verdict, adjusted([border])), (HOLDS, [HOLDS]))
        self.assertEqual(adjusted([sure, *[border] * 9]), [HOLDS, *[OPEN] * 9])

    def test_seeds_that_would_decide_do(self) -> None:
        random = np.random.default_rng(5)
        one = claim(0.6 + np.array([-1, 1, -1, 1, 0.1]))
        seeds = one.seeds_to_decide()
        assert seeds is not None
        deviation = np.std(one.parts[0].values, ddof=1)
        found = np.mean([
            claim(np.mean(one.parts[0].values) + deviation * random.standard_normal(seeds)).verdict is HOLDS
            for _ in range(400)
        ])  # fmt: skip
        self.assertAlmostEqual(found, statistics.POWER, delta=4 * math.sqrt(0.16 / 400))
        self.assertIn(f"about {seeds} seeds would decide", one.reason)

    def test_seeds_that_would_decide_beside_other_claims(self) -> None:
        sure, border = claim([1.0, 1.1, 0.9, 1.05, 0.95]), claim([1.0, 0.2, 0.5, 0.9, 0.6])
        self.assertEqual(reasons([border], adjusted([border])), [""])
        claims = [sure, *[border] * 9]
        told = reasons(claims, adjusted(claims))
        needed = border.seeds_to_decide(statistics.LEVEL / 10)
        assert needed is not None
        self.assertEqual(told[0], "")
        self.assertIn(f"decided alone, but not beside the figure's other claims: about {needed} seeds would", told[1])
        random, weak = np.random.default_rng(6), np.array([0.6, 1.4, -0.4, 1.6, -0.2])
        needed = claim(weak).seeds_to_decide(statistics.LEVEL / 10)
        assert needed is not None
        many = [
            claim(np.mean(weak) + np.std(weak, ddof=1) * random.standard_normal(needed)).decided[1] for _ in range(400)
        ]
        found = np.mean(np.array(many) <= statistics.LEVEL / 10)
        self.assertAlmostEqual(found, statistics.POWER, delta=4 * math.sqrt(0.16 / 400))

    def test_seeds_that_would_tell_which_setting_is_the_best(self) -> None:
        random = np.random.default_rng(7)
        means = np.array([[0.0], [1.0], [0.2]])
        few = means + 1.2 * random.standard_normal((3, 5))
        found = at_best_of_settings(list("abcde"), np.array([[0.0], [1.0], [9.0]]), few)
        needed = statistics.seeds_to_choose([few])
        assert needed is not None and needed > 5
        self.assertIn(f"about {needed} would, if they go on like this", claim(found).reason)
        self.assertIsNone(statistics.seeds_to_choose([np.array([[0.0, 1, 0, 1, 0], [1, 0, 0, 1, 0.001]])]))

    def test_the_seeds_for_the_best_are_counted_by_the_kind_that_is_to_be_above(self) -> None:
        labels = [str(seed) for seed in range(8)]
        around = np.random.default_rng(9).standard_normal((13, 8))
        better, other = around[:12], around[12:]
        (above, below) = claim(best_of_settings(labels, better, other), 50.0, about=0.0).comparisons
        lead = [statistics.seeds_to_decide(np.array(one.measured.values) * one.sign, one.border, 0.05 / tries)
                for one, tries in ((above, 12), (below, 1))]  # fmt: skip
        self.assertEqual([above.seeds_to_decide(0.05), below.seeds_to_decide(0.05)], lead)


if __name__ == "__main__":
    if "--write" in sys.argv:
        write(PAGE)
    else:
        suites = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
        names = [type(next(iter(suite))).__name__ for suite in suites if suite.countTestCases()]
        quick = [name for name in names if not name.endswith("Slow")]
        unittest.main(argv=sys.argv if len(sys.argv) > 1 else [sys.argv[0], *quick])
