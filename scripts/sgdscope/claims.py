"""A claim of a paper beside the number measured for it, and the verdict.

A number is measured on each seed's run, or on the runs of each seed, which share initial weights and batches: so
differences are paired by seed. Steps of one run follow from one another and never stand for seeds. A claim says that the
number's mean over seeds lies above a border, or within so much of a value. From Student's interval over the seeds it

  holds           if the whole interval lies beyond the border,
  does not hold   if the whole interval lies on the other side,
  is not decided  otherwise; so, too, with fewer than FEWEST seeds, and where the number is censored: a grid of settings
                  ends too early, or a seed gives no number for a reason that lies in its run.

That a grid ends where a curve is highest censors only one of the two verdicts on a difference of highest means: more
settings could make the first one higher, of which the claim then cannot fail, or the second one, when it cannot hold.

A claim about several conditions holds if it does so for each. All claims of a figure together are judged by Holm's
procedure: `adjusted`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from sgdscope import statistics
from sgdscope.aggregate import Summary, aggregate
from sgdscope.runs import Run
from sgdscope.statistics import FEWEST, LEVEL

MIN_STEPS = 50  # fewer decide nothing

# Reasons for borders.
NONE = "0: no difference"
SAME = "1: both are the same"
HALF = "half: no order"

NO_NUMBER = f"as far as one sees no {statistics.MOST} seeds would"  # decide a claim, or tell which setting is the best


class Verdict(Enum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not decided"


class TooLittle(Exception):
    """A run has too little in it for a number to be measured; the message says what is missing."""


class Censored(Exception):
    """A grid of settings ends before what is looked for; the message says which values to add."""


@dataclass(frozen=True)
class Sample:
    """A number measured on the runs of one seed."""

    value: float
    steps: int = 0  # behind it, where it is a mean over steps


@dataclass(frozen=True)
class Measurement:
    """A number measured on the runs of several seeds, and why it is missing on others.

    Of the best of several settings, `samples` has the number of the settings that are the best in the mean over these
    seeds, which looks better than it is; what is concluded comes from `best`. So it is with a number at the best of
    several settings, and `chosen`.
    """

    samples: Mapping[str, Sample]  # by seed
    problems: tuple[str, ...] = ()
    best: tuple[np.ndarray, np.ndarray] | None = None  # two kinds of settings, [settings, seeds]: their highest means
    # Of either kind of `best`: which settings to add where its highest mean may be beyond them, in words.
    ends: tuple[str, str] = ("", "")
    # Of kinds of settings a number [first, second, ..., seeds or 1], and by what they are chosen, [settings, seeds] each.
    chosen: tuple[np.ndarray, Sequence[np.ndarray]] | None = None
    discrete: bool = False  # only a few values can come out, so that equal ones say little
    censored: str = ""  # which settings are missing, or which seeds for a reason that lies in their runs
    worlds: np.ndarray | None = None  # [seeds, worlds]: the first is real, and only chance tells the others from it

    @property
    def summary(self) -> Summary:
        """Mean and standard deviation over the seeds."""
        return aggregate({seed: sample.value for seed, sample in self.samples.items()})

    @property
    def seeds(self) -> int:
        """How many seeds are behind the measurement."""
        return len(self.samples)

    @property
    def error(self) -> float:
        """The standard error of the mean over the seeds; NaN if there is but one."""
        return statistics.standard_error(self.values)

    @property
    def values(self) -> list[float]:
        """By seed."""
        return [sample.value for sample in self.samples.values()]

    @property
    def chosen_of_several(self) -> bool:
        """Whether the seeds do not tell which settings are the best that the number is chosen by."""
        kinds = self.chosen[1] if self.chosen else ()
        return any(len(statistics.may_be_best(by, statistics.events(kinds))) > 1 for by in kinds)

    @property
    def interval(self) -> tuple[float, float]:
        """What covers the mean over seeds, or the difference of the two highest means, with probability 1 − LEVEL."""
        if self.chosen:
            return statistics.interval_of_chosen(*self.chosen)
        return statistics.interval_of_best(*self.best) if self.best else statistics.interval(self.values)


@dataclass(frozen=True)
class Comparison:
    """That sign · number > border."""

    measured: Measurement
    sign: int
    border: float
    condition: str = ""  # under which it was measured, in words; empty if the claim is about one number

    @property
    def lead(self) -> float:
        """By how much the number is beyond the border."""
        return self.sign * float(np.mean(self.measured.values)) - self.border

    def end(self, side: int) -> str:
        """Why the grid of the settings that speak against one side ends too early to decide for it; empty if it does not."""
        return self.measured.ends[:: side * self.sign][1]

    def p(self, side: int) -> float:
        """How probable so much evidence for the comparison (side 1) or against it (−1) is, were there equality."""
        one, sign, border = self.measured, side * self.sign, side * self.border
        if not one.samples or one.censored or self.end(side):
            return 1.0
        if one.worlds is not None:
            return statistics.p_of_worlds(sign * one.worlds)
        if one.best:
            better, other = one.best[::sign]
            return statistics.p_of_best(better, other, border)
        if one.chosen:
            numbers, kinds = one.chosen
            return statistics.p_of_chosen(sign * numbers, kinds, border)
        found = statistics.p_above(sign * np.array(one.values), border)
        return max(found, statistics.p_of_equal(one.seeds)) if one.discrete else found

    def seeds_to_decide(self, level: float) -> int | None:
        """How many seeds would decide at a level, were mean and spread what they are."""
        likely = self.sign if self.lead > 0 else -self.sign  # 1 if the first kind of settings is to be above the second
        tries = len(self.measured.best[::likely][0]) if self.measured.best else 1
        if self.measured.chosen:
            tries = statistics.events(self.measured.chosen[1])
        found = statistics.seeds_to_decide(self.sign * np.array(self.measured.values), self.border, level / tries)
        least = statistics.fewest_equal(level) if self.measured.discrete else FEWEST
        return None if found is None else max(found, least)


@dataclass(frozen=True)
class Late:
    """What of a claim was decided when results were known already."""

    what: str
    known: Mapping[str, Sequence[int]] = field(default_factory=lambda: {"quick": range(1, 6)})  # seeds, by size

    def seen(self, size: str, seeds: Sequence[int]) -> list[int]:
        """With which of these seeds the runs of a size were known."""
        return [seed for seed in seeds if seed in self.known.get(size, ())]

    def words(self, size: str, seeds: Sequence[int]) -> str:
        """What was decided, the results that were known, and which of these runs were among them."""
        of = " and ".join(f"of size {one} with {_seeds_in_words(list(known))}" for one, known in self.known.items())
        seen = self.seen(size, seeds)
        those = "all of these runs" if len(seen) == len(seeds) else f"those of these runs with {_seeds_in_words(seen)}"
        return (
            f"{self.what}; known then were the results {of}, {f'and so {those}' if seen else 'but none of these runs'}"
        )


def _seeds_in_words(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


@dataclass(frozen=True)
class Claim:
    """What a paper says, in our words, and the number that decides whether it is so here."""

    says: str
    place: str  # in the paper
    quantity: str  # what is measured
    measured: Measurement | Mapping[str, Measurement]  # several conditions, each of which the claim is about, by name
    border: float  # the claim is that the quantity is above it; with `about`, that it is within so much of that
    why: str  # this border
    about: float | None = None
    decided_after: Late | None = None

    @property
    def conditions(self) -> Mapping[str, Measurement]:
        """The measurements of all conditions by name; a claim about one number has one, whose name is empty."""
        return {"": self.measured} if isinstance(self.measured, Measurement) else self.measured

    @property
    def parts(self) -> list[Measurement]:
        """The measurements of all conditions."""
        return list(self.conditions.values())

    @property
    def comparisons(self) -> list[Comparison]:
        """All of them must be so."""
        borders = {1: self.border}
        if self.about is not None:
            borders = {sign: sign * self.about - self.border for sign in (1, -1)}
        conditions = self.conditions.items()
        return [Comparison(part, *one, name) for name, part in conditions for one in borders.items()]

    @property
    def weakest(self) -> tuple[str, Measurement]:
        """The condition that speaks the least for the claim: its name, and what was measured."""
        found = max(self.comparisons, key=lambda one: (one.p(1), -one.lead if one.measured.samples else 0))
        return found.condition, found.measured

    def p(self, verdict: Verdict) -> float:
        """How probable so much evidence for a verdict is where the opposite is just so."""
        if any(not part.samples or part.censored for part in self.parts):
            return 1.0
        if verdict is Verdict.HOLDS:
            return max(one.p(1) for one in self.comparisons)
        return min(1.0, len(self.comparisons) * min(one.p(-1) for one in self.comparisons))

    @property
    def decided(self) -> tuple[Verdict, float]:
        """The verdict that is the more probable one, and the p-value of either."""
        verdict = min((Verdict.HOLDS, Verdict.FAILS), key=self.p)
        return verdict, min(1.0, 2 * self.p(verdict))

    @property
    def verdict(self) -> Verdict:
        """Holds, does not hold, or not decided, if this were the only claim."""
        verdict, p = self.decided
        return verdict if p <= LEVEL else Verdict.OPEN

    def seeds_to_decide(self, level: float = LEVEL) -> int | None:
        """How many seeds would decide with probability 0.8; None if nothing is known, or no reasonable number would."""
        if any(part.seeds < 2 or part.censored for part in self.parts) or self.ends_too_early:
            return None
        against = [one.seeds_to_decide(level) for one in self.comparisons if one.lead <= 0 and not one.end(-1)]
        if against:
            return min((seeds for seeds in against if seeds), default=None)
        found = [one.seeds_to_decide(level) for one in self.comparisons]
        return None if None in found else max(seeds for seeds in found if seeds)

    @property
    def ends_too_early(self) -> str:
        """Which settings to add where no number of seeds can decide for the more probable verdict; empty if some can."""
        against = [(one.condition, one.end(-1)) for one in self.comparisons if one.lead <= 0]
        if not all(end for _, end in against):
            return ""
        ends = against or [(one.condition, one.end(1)) for one in self.comparisons]
        return "; ".join(dict.fromkeys(_under(name, end) for name, end in ends if end))

    @property
    def reason(self) -> str:
        """Why the claim is not decided, and what would decide it; empty if it is."""
        if self.verdict is not Verdict.OPEN:
            return ""
        for name, part in self.conditions.items():
            if part.censored:
                return _under(name, part.censored)
            if not part.samples:
                return _under(name, "; ".join(part.problems) or "no run measures it")
        if self.ends_too_early:
            return self.ends_too_early
        seeds, needed = min(part.seeds for part in self.parts), self.seeds_to_decide()
        for name, part in self.conditions.items():
            if part.chosen and seeds >= FEWEST and part.chosen_of_several:
                told = statistics.seeds_to_choose(part.chosen[1])
                more = f"about {max(told, seeds + 1)} would, if they go on like this" if told else f"{NO_NUMBER} tell"
                return _under(name, f"{seeds} seeds do not tell which setting is the best: {more}")
        if seeds < 2:
            return f"one seed does not tell how much seeds differ; take {FEWEST}"
        few = f"{seeds} seeds, and fewer than {FEWEST} decide nothing" if seeds < FEWEST else ""
        if needed is None:
            return few or f"{NO_NUMBER} decide it"
        words = f"about {max(needed, seeds + 1)} seeds would decide it alone, if they go on like this"
        return f"{few}; {words}" if few else words


def _under(condition: str, words: str) -> str:
    """What is so under a condition, which is named; a claim about one number has no condition to name."""
    return f"{condition}: {words}" if condition else words


def adjusted(claims: Sequence[Claim]) -> list[Verdict]:
    """The verdicts on all claims of a figure, so that in all of them together no more than LEVEL of the cases err."""
    decided = [claim.decided for claim in claims]
    ps = statistics.holm([p for _, p in decided])
    return [verdict if p <= LEVEL else Verdict.OPEN for (verdict, _), p in zip(decided, ps)]


def reasons(claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> list[str]:
    """Why each of a figure's claims is not decided beside the others, and what would decide it; empty where it is.

    `verdicts`: those that `adjusted` has of these claims.
    """
    found = []
    for claim, verdict in zip(claims, verdicts):
        if verdict is not Verdict.OPEN or claim.verdict is Verdict.OPEN:
            found.append(claim.reason)
            continue
        needed, seeds = claim.seeds_to_decide(LEVEL / len(claims)), min(part.seeds for part in claim.parts)
        told = f"about {max(needed, seeds + 1)} seeds would" if needed else f"{NO_NUMBER} decide it"
        found.append(f"decided alone, but not beside the figure's other claims: {told}, if they go on like this")
    return found


# ------------------------------------------------------------------------------------- numbers of one run


def columns_of(run: Run, names: Sequence[str], first: float = 0, end: float = math.inf) -> list[np.ndarray]:
    """The columns over those steps in [first, end) at which all of them were measured."""
    run.metrics.load(["step", *names])
    step = run.metrics["step"]
    rows = (step >= first) & (step < end)
    for name in names:
        rows &= np.isfinite(run.metrics[name])
    count = np.count_nonzero(rows)
    if count < MIN_STEPS:
        raise TooLittle(f"{run.folder.name} measures it at {count} steps, of which it takes {MIN_STEPS}")
    return [run.metrics[name][rows] for name in names]


def mean(values: np.ndarray) -> Sample:
    """The mean of a value over steps."""
    return Sample(float(np.mean(values)), values.size)


def ratio_of_means(above: np.ndarray, below: np.ndarray) -> Sample:
    """mean(above) / mean(below)."""
    return Sample(float(above.mean() / below.mean()), above.size)


# --------------------------------------------------------------------------------- numbers of curves of one seed

EXPONENT_NEAR, WHY_EXPONENT = (
    0.25,
    "a quarter: nearer to 1 than to 1/2, with which the square root of the size would count",
)
MIN_PLACES = 5  # one more than a parabola and its exponent are made of


def exponent(x: np.ndarray, s: np.ndarray, y: np.ndarray) -> float:
    """The p with which y is best a function of x − p s; TooLittle or Censored where the places don't tell it."""
    if len(y) < MIN_PLACES or not np.ptp(s):
        raise TooLittle(
            f"{len(y)} settings have it measured, of which an exponent takes {MIN_PLACES}, of two sizes or more"
        )
    found = statistics.exponent(x, s, y)
    if found in statistics.EXPONENTS[[0, -1]]:
        raise Censored("no exponent from −1 to 3 is the best: add settings at which it matters more")
    return found


# ---------------------------------------------------------------------------------- numbers of several seeds


def over_seeds(
    of_seeds: Mapping[str, Sequence[Any]],
    of: Callable[..., Sample],
    problems: Sequence[str] = (),
    discrete: bool = False,
) -> Measurement:
    """Measures `of(*what the seed has)` for each seed, such as its runs; censored if it is so with any of them.

    It is so, too, where seeds have too little, or numbers that are not finite: that lies in their runs, and the others need
    not be like them.
    """
    samples, too_little = {}, []
    for seed, found in of_seeds.items():
        try:
            sample = of(*found)
            if not math.isfinite(sample.value):
                raise TooLittle(f"{sample.value} is no finite number")
            samples[seed] = sample
        except TooLittle as error:
            too_little.append(str(error))
        except Censored as error:
            return Measurement({}, tuple(problems), censored=str(error))
    censored = ""
    if too_little:
        reasons = "; ".join(dict.fromkeys(too_little))
        censored = f"{len(too_little)} of {len(of_seeds)} seeds give no number: {reasons}"
    return Measurement(samples, (*problems, *([censored] if censored else [])), discrete=discrete, censored=censored)


def partly(does: str, counts: Mapping[str, int], seeds: int) -> str:
    """Which settings do something with some of the seeds only, so that their means are not known; empty if none.

    `counts`: with how many seeds each setting does it.
    """
    some = [(name, count) for name, count in counts.items() if 0 < count < seeds]
    return "; ".join(f"{name} {does} with {count} of {seeds} seeds, unlike with the others" for name, count in some)


def jackknife(seeds: Sequence[str], of: Callable[[list[int]], float]) -> Measurement:
    """A number that `of` finds of the means over the seeds at some places, such as what fits them best.

    Its pseudo-values stand for seeds. Their mean has less bias than the number, and than a mean of the numbers of each seed.
    """
    places = list(range(len(seeds)))
    if not places:
        return Measurement({})
    try:
        whole, values = of(places), {}
        for place in places if len(places) > 1 else []:
            without = of([other for other in places if other != place])
            values[seeds[place]] = Sample(len(places) * whole - (len(places) - 1) * without)
    except TooLittle as error:
        return Measurement({}, (str(error),))
    except Censored as error:
        return Measurement({}, censored=str(error))
    return _if_finite(Measurement(values or {seeds[0]: Sample(whole)}), [sample.value for sample in values.values()])


def at_best_of_settings(seeds: Sequence[str], numbers: np.ndarray, *kinds: np.ndarray) -> Measurement:
    """A number [first kind, second, ..., seeds] of those settings whose means of `kinds` [settings, seeds] are the highest.

    The last axis has the length 1 where the number is the same with all seeds.
    """
    place = tuple(int(np.argmax(values.mean(axis=1))) for values in kinds)
    samples = {seed: Sample(float(value)) for seed, value in zip(seeds, np.broadcast_to(numbers[place], len(seeds)))}
    return _if_finite(Measurement(samples, chosen=(numbers, kinds)), numbers, *kinds)


def at_optima(seeds: Sequence[str], of: Callable[..., float], *grids: tuple[np.ndarray, np.ndarray]) -> Measurement:
    """`of` the places x at which curves have their highest true means; each grid: x and its curve [x, seeds].

    Where each seed's curve is highest would depend, where curves are flat, on where their grids begin and end.
    """
    places = np.meshgrid(*[x for x, _ in grids], indexing="ij")
    numbers = np.vectorize(of, otypes=[float])(*places)[..., None]
    return at_best_of_settings(seeds, numbers, *[values for _, values in grids])


def best_of_settings(
    seeds: Sequence[str],
    better: np.ndarray,
    other: np.ndarray | None = None,
    problems: Sequence[str] = (),
    ends: tuple[str, str] = ("", ""),
) -> Measurement:
    """The highest mean over seeds among settings less the highest of others; both [settings, seeds].

    `ends`: of either, which settings are to be added where its highest may lie beyond those that were tried.
    """
    if other is None:
        other = np.zeros((1, len(seeds)))
    values = statistics.of_best(better) - statistics.of_best(other)
    samples = {seed: Sample(float(value)) for seed, value in zip(seeds, values)}
    return _if_finite(Measurement(samples, tuple(problems), best=(better, other), ends=ends), better, other)


def _if_finite(found: Measurement, *numbers: np.ndarray | Sequence[float]) -> Measurement:
    """The measurement, or a censored one where not all of the numbers behind it are finite."""
    if all(np.isfinite(one).all() for one in numbers):
        return found
    return Measurement({}, found.problems, censored="a run gives a number that is not finite")
