"""The paper `inherent_noise`: what its figures have in common here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reproduction.claims import columns_of
from reproduction.figure import Job, Paper
from reproduction.results import Results
from sgdplot.panels import Cloud

FULL_SEEDS = (1, 2, 3)
QUICK_SEEDS = (1, 2)
UNITS = (64, 2000, 8000)

PAPER = Paper(
    about="all weights move at once, each by a gradient that does not know of the others' moves",
    measured_on="2 cores of an AMD EPYC with AVX-512, LibTorch 2.13.0 and its MKL (full: by the quick ones' time per step)",
    departures=(
        "The paper states neither batch size, nor length, nor initialization. Here: 100 examples, 10 epochs without "
        "replacement, weights and biases uniform within ±1/√fan_in.",
        "It does not say how long ago 'recent' and 'long ago' are. Here: 10 and 300 steps; `inherent_noise/lags` shows "
        "what depends on it.",
        "Pixels are scaled to 0 … 1. The paper does not say how it scaled them.",
        "Fully connected networks on MNIST only: AlexNet and ResNets on CIFAR-10 are not built yet.",
    ),
    quick="2 epochs in place of 10, and 2 seeds in place of 3",
)


def network_job(units: int, seed: int, quick: bool) -> Job:
    """The run of figures 1 to 3 with so many hidden units."""
    seconds = {64: 3, 2000: 55, 8000: 200}[units] * (1 if quick else 5)
    overrides = ("epochs=2", "eval.every=300") if quick else ()
    return Job(f"fc{units}", f"configs/inherent_noise/fig3_fc{units}.json", seed, overrides, seconds)


def network_jobs(units: Sequence[int], quick: bool) -> list[Job]:
    """The runs of figures 1 to 3 with so many hidden units, for all seeds."""
    return [network_job(width, seed, quick) for width in units for seed in (QUICK_SEEDS if quick else FULL_SEEDS)]


def cloud(results: Results, name: str, x: tuple[str, str], y: tuple[str, str]) -> Cloud:
    """Two columns of a job, each with its label, at the steps of all seeds at which both are measured."""
    parts = [columns_of(run, [x[0], y[0], "step"]) for run in results.runs(name)]
    values = [np.concatenate(column) for column in zip(*parts)]
    return Cloud(values[0], values[1], values[2], x[1], y[1])
