"""A claim of a paper beside the number measured for it, and the verdict.

A number is measured on each seed's run. Its standard error is the larger of two: the one from within the runs, where it
is a mean over steps, and the one from the spread over the seeds. Steps that follow one another are not independent, so
the former comes from means over blocks of steps. A claim says that the number lies above a threshold. It

  holds           if the mean over seeds lies above the threshold by more than two standard errors,
  does not hold   if it lies below, by as much, what is more than negligibly above the threshold,
  is not decided  otherwise, or where nothing could be measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from sgdscope.aggregate import Summary, aggregate
from sgdscope.runs import Run

BLOCKS = 20  # of steps within a run
MIN_STEPS = 50  # fewer decide nothing
CERTAIN = 2.0  # standard errors
DRAWS = 400  # of the seeds, for standard errors


class Verdict(Enum):
    """What became of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "not decided"


class TooLittle(Exception):
    """A run has too little in it for a number to be measured; the message says what is missing."""


@dataclass(frozen=True)
class Sample:
    """A number measured on one run."""

    value: float
    error: float = math.nan  # standard error within the run, where it is known
    steps: int = 0  # behind it, where it is a mean over steps
    seeds: int = 1  # behind it, where it is a number of several runs


@dataclass(frozen=True)
class Measurement:
    """A number measured on the runs of several seeds, and why it is missing on others."""

    samples: Mapping[str, Sample]  # by seed
    problems: tuple[str, ...] = ()

    @property
    def summary(self) -> Summary:
        """Mean and standard deviation over the seeds."""
        return aggregate({seed: sample.value for seed, sample in self.samples.items()})

    @property
    def seeds(self) -> int:
        """How many seeds are behind the measurement."""
        return sum(sample.seeds for sample in self.samples.values())

    @property
    def error(self) -> float:
        """The standard error of the mean over the seeds; NaN if there is but one, and none is known within its run."""
        count = len(self.samples)
        within = math.sqrt(sum(sample.error**2 for sample in self.samples.values())) / count
        return float(np.fmax(within, self.summary.deviation / math.sqrt(count)))


@dataclass(frozen=True)
class Claim:
    """What a paper says, in our words, and the number that decides whether it is so here."""

    says: str
    place: str  # in the paper
    quantity: str  # what is measured
    measured: Measurement
    threshold: float  # the claim is that the quantity is above it
    negligible: float = 0  # less than this above the threshold is nothing to speak of

    @property
    def verdict(self) -> Verdict:
        """Holds, does not hold, or not decided."""
        if not self.measured.samples:
            return Verdict.OPEN
        mean, doubt = self.measured.summary.mean, CERTAIN * self.measured.error
        if mean - doubt > self.threshold:
            return Verdict.HOLDS
        if mean + doubt < self.threshold + self.negligible:
            return Verdict.FAILS
        return Verdict.OPEN

    @property
    def reason(self) -> str:
        """Why the claim is not decided; empty if it is."""
        if self.verdict is not Verdict.OPEN:
            return ""
        if not self.measured.samples:
            return "; ".join(self.measured.problems) or "no run measures it"
        if math.isnan(self.measured.error):
            return "one seed does not tell how much seeds differ"
        doubt = CERTAIN * self.measured.error
        return f"within {doubt:.2g}, two standard errors, of the border: take more steps or seeds"


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
    blocks = [block.mean() for block in np.array_split(values.astype(float), BLOCKS)]
    return Sample(float(np.mean(values)), float(np.std(blocks, ddof=1)) / math.sqrt(BLOCKS), values.size)


def ratio_of_means(above: np.ndarray, below: np.ndarray) -> Sample:
    """mean(above) / mean(below); its error to first order."""
    ratio = float(above.mean() / below.mean())
    return Sample(ratio, mean((above - ratio * below) / below.mean()).error, above.size)


def error_of_draws(of: Callable[[Sequence[int]], float], seeds: int) -> float:
    """The standard error of `of(all seeds)` from draws with replacement among 0 ... seeds - 1.

    Draws of which `of` says that they have too little are left out.
    """
    random = np.random.default_rng(1)
    drawn = []
    for draw in random.integers(seeds, size=(DRAWS, seeds)):
        try:
            drawn.append(of(draw))
        except TooLittle:
            continue
    # A draw with replacement has (n - 1) / n of the variance of the seeds that it stands for.
    return float(np.std(drawn, ddof=1)) * math.sqrt(seeds / (seeds - 1))


def over_seeds(
    runs_by_seed: Mapping[str, Sequence[Run]], of: Callable[..., Sample], problems: Sequence[str] = ()
) -> Measurement:
    """Measures `of(*runs)` on the runs of each seed."""
    samples, too_little = {}, []
    for seed, runs in runs_by_seed.items():
        try:
            samples[seed] = of(*runs)
        except TooLittle as error:
            too_little.append(str(error))
    return Measurement(samples, (*problems, *too_little))
