"""The paper `inherent_noise`: what its figures have in common here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from sgdscope.claims import columns_of
from sgdscope.figure import Job, Paper
from sgdscope.plots.panels import Cloud
from sgdscope.results import Results

FULL_SEEDS = (1, 2, 3)
QUICK_SEEDS = (1, 2)
UNITS = (64, 2000, 8000)

PAPER = Paper(
    about="all weights move at once, each by a gradient that does not know of the others' moves",
    measured_on="2 cores of an AMD EPYC with AVX-512, LibTorch 2.13.0 and its MKL (full: by the quick ones' time per step, "
    "on CIFAR-10 by their arithmetic; these are meant for a GPU)",
    departures=(
        "Of its experiments on MNIST the paper states neither batch size nor length, of those on CIFAR-10 not the length, "
        "of none the initialization. Here: on MNIST 100 examples and 10 epochs; on CIFAR-10 its batches of 150 examples, "
        "200 epochs for the AlexNets and 30 for the residual networks; all without replacement, weights and biases "
        "uniform within ±1/√fan_in.",
        "It does not say how long ago 'recent' and 'long ago' are. Here: 10 and 300 steps; `inherent_noise/lags` shows "
        "what depends on it.",
        "The paper does not say how it scaled pixels. Here: on MNIST to 0 … 1, on CIFAR-10 each channel to mean 0 and "
        "standard deviation 1.",
        "It gives no form of its networks for images of 32 × 32. Here: AlexNet's first convolution is 3 × 3 with stride 2, "
        "its pools are 2 × 2, and both are without batch normalization and dropout; the residual networks begin with a "
        "3 × 3 convolution and have batch normalization, each batch by its own mean and variance.",
    ),
    quick="2 seeds in place of 3; on MNIST 2 epochs in place of 10. On CIFAR-10 2,000 training images. The AlexNets have "
    "an eighth of their channels and units, he_normal weights, batches of 50 examples and 38 epochs; the residual "
    "networks a sixteenth of their channels, batches of 20 examples, 2 epochs, and a long-ago batch is one of 30 steps ago",
)

# On CIFAR-10, by the names of their jobs: as one calls them, and their configs.
IMAGE_NETWORKS = {
    "alexnet": ("AlexNet", "fig4_alexnet"),
    "alexnet_small": ("small AlexNet", "fig4_alexnet_small"),
    "resnet18": ("ResNet-18", "fig5_resnet18"),
    "wide_resnet50_2": ("Wide ResNet-50", "fig5_wide_resnet50_2"),
}
QUICK_ALEXNET = (
    "model.channels=8", "model.init=he_normal", "batch_size=50", "epochs=38",
    "data.train_limit=2000", "data.test_limit=1000",
)  # fmt: skip
QUICK_RESNET = (
    "model.channels=4", "batch_size=20", "epochs=2", "probes[0].long_ago_lag=30",
    "data.train_limit=2000", "data.test_limit=200",
)  # fmt: skip
IMAGE_SECONDS = {"alexnet": (50, 2e5), "alexnet_small": (45, 2e5), "resnet18": (22, 3e5), "wide_resnet50_2": (65, 2e6)}


def network_job(units: int, seed: int, quick: bool) -> Job:
    """The run of figures 1 to 3 with so many hidden units."""
    seconds = {64: 3, 2000: 55, 8000: 200}[units] * (1 if quick else 5)
    overrides = ("epochs=2", "eval.every=300") if quick else ()
    return Job(f"fc{units}", f"configs/inherent_noise/fig3_fc{units}.json", seed, overrides, seconds)


def network_jobs(units: Sequence[int], quick: bool) -> list[Job]:
    """The runs of figures 1 to 3 with so many hidden units, for all seeds."""
    return [network_job(width, seed, quick) for width in units for seed in (QUICK_SEEDS if quick else FULL_SEEDS)]


def image_jobs(names: Sequence[str], quick: bool) -> list[Job]:
    """The runs on CIFAR-10 of figures 1, 2 and 4 to 6, for all seeds."""
    found = []
    for name, seed in itertools.product(names, QUICK_SEEDS if quick else FULL_SEEDS):
        overrides = (QUICK_ALEXNET if name.startswith("alexnet") else QUICK_RESNET) if quick else ()
        config = f"configs/inherent_noise/{IMAGE_NETWORKS[name][1]}.json"
        found.append(Job(name, config, seed, overrides, IMAGE_SECONDS[name][0 if quick else 1]))
    return found


def cloud(results: Results, name: str, x: tuple[str, str], y: tuple[str, str]) -> Cloud:
    """Two columns of a job, each with its label, at the steps of all seeds at which both are measured."""
    parts = [columns_of(run, [x[0], y[0], "step"]) for run in results.runs(name)]
    values = [np.concatenate(column) for column in zip(*parts)]
    return Cloud(values[0], values[1], values[2], x[1], y[1])
