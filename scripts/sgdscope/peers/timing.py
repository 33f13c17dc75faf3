"""Rounds in which all candidates take turns, and ratios and verdicts made of their times."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

SGDSCOPE, PYTORCH, JAX = "sgdscope", "PyTorch", "JAX"

# What --clock means: time that passes; the processor time of this process, which waits for others don't lengthen; or that of
# all its threads beside the time that passes, as a kind of step of its own.
CLOCKS = ("wall", "cpu", "both")
PROCESSOR = ", processor time"


def readings(clock: str, kind: str, wall: float, processor: float) -> dict[str, float]:
    """What the clock reads, by kind of step."""
    if clock == "both":
        return {kind: wall, kind + PROCESSOR: processor}
    return {kind: wall if clock == "wall" else processor}


@dataclass
class Turns:
    """How candidates take their turns: `rounds` times, for about `seconds` by `clock`; of a network, no round but the first
    begins that would end after `budget` seconds."""

    rounds: int
    seconds: float
    clock: str = "wall"
    budget: float = math.inf


@dataclass
class Candidate:
    """Something that takes part in every round and reports microseconds by kind of step."""

    program: str
    variant: str
    measure: Callable[[], Mapping[str, float]]


def timed(
    program: str,
    kind: str,
    variant: str,
    step: Callable[[], object],
    finish: Callable[[], object],
    turns: Turns,
    least: int = 3,
) -> Candidate:
    """Warms the step up, and chooses how many of it, `least` or more, make a turn. `finish` awaits the device."""

    def block(steps: int) -> dict[str, float]:
        finish()
        start = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step()
        finish()
        wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
        return readings(turns.clock, kind, wall / steps, processor / steps)

    block(least)
    estimate = block(least)[kind]
    if least * estimate < turns.seconds / 4:
        estimate = block(round(turns.seconds / 4 / estimate))[kind]
    steps = max(least, round(turns.seconds / estimate))
    return Candidate(program, variant, lambda: {name: time * 1e6 for name, time in block(steps).items()})


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Measured:
    """What was measured for one network: microseconds of every round by program, kind of step and variant."""

    network: str
    times: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)  # from double precision: [kind][variant]
    remarks: list[str] = field(default_factory=list)

    def of(self, program: str, kind: str) -> dict[str, list[float]]:
        """Each variant's times; none where it was not measured."""
        return self.times.get(program, {}).get(kind, {})

    def best_variant(self, program: str, kind: str) -> str:
        """The fastest variant by its median."""
        variants = self.of(program, kind)
        return min(variants, key=lambda name: statistics.median(variants[name]))

    def best(self, program: str, kind: str) -> list[float]:
        """The fastest variant's times; [] where none was measured."""
        return self.of(program, kind)[self.best_variant(program, kind)] if self.of(program, kind) else []


def measure_rounds(measured: Measured, candidates: Sequence[Candidate], turns: Turns) -> None:
    """All candidates in turn, round by round; each round begins with another one."""
    start = time.monotonic()
    for i in range(turns.rounds):
        if i > 0 and (time.monotonic() - start) * (i + 1) / i > turns.budget:
            break
        first = i % len(candidates)
        for candidate in [*candidates[first:], *candidates[:first]]:
            kinds = measured.times.setdefault(candidate.program, {})
            for kind, microseconds in candidate.measure().items():
                kinds.setdefault(kind, {}).setdefault(candidate.variant, []).append(microseconds)


@dataclass
class Ratio:
    """The median of the rounds' ratios, with what they spread between."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        median, low, high = (f"{x:.2f}" if x >= 0.1 else f"{x:.4f}" for x in (self.median, self.low, self.high))
        return f"{median} ({low} to {high})"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Round by round, because the two of a round were measured at nearly the same time."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    of_rounds = ratios(numerators, denominators)
    return Ratio(statistics.median(of_rounds), min(of_rounds), max(of_rounds))


def quartiles(values: Sequence[float]) -> Ratio:
    """The median with the quartiles in place of the extremes."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
    return Ratio(median, low, high)


@dataclass
class Target:
    """A number that was measured and the bound that it shall keep."""

    what: str
    ratio: Ratio
    bound: float
    at_least: bool

    def met(self) -> bool:
        return self.ratio.median >= self.bound if self.at_least else self.ratio.median <= self.bound

    def __str__(self) -> str:
        sign = "at least" if self.at_least else "at most"
        return f"{self.what:<52} {self.ratio!s:<24} {sign} {self.bound:<5g} {'met' if self.met() else 'NOT MET'}"
