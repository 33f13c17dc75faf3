"""The paper `inherent_noise`: what its figures have in common here."""

from __future__ import annotations

import numpy as np

from sgdscope.claims import Late, columns_of
from sgdscope.figure import Paper
from sgdscope.plots.panels import Cloud
from sgdscope.results import Results

PAPER = Paper(
    about="all weights move at once, each by a gradient that does not know of the others' moves",
    sources=("Arushi Gupta. Inherent Noise in Gradient Based Methods. arXiv:2005.12743, 2020.",),
    departures=(
        "Of its experiments on MNIST the paper states neither batch size nor length, of those on CIFAR-10 not the length, "
        "of none the initialization. Here: on MNIST 100 examples and 10 epochs; on CIFAR-10 its batches of 150 examples, "
        "200 epochs for the AlexNets and 30 for the residual networks; all without replacement, weights and biases "
        "uniform within ±1/√fan_in.",
        "Its 'two layer' networks on MNIST are read as one hidden layer and the outputs. `inherent_noise/fig3_two_hidden` is the "
        "other reading, two hidden layers of so many units each.",
        "It does not say how long ago 'recent' and 'long ago' are. Here: 10 and 300 steps; `inherent_noise/lags` shows "
        "what depends on it.",
        "That the updating batch pays more than another is to be expected of any model: the step is made from its own "
        "gradient. A linear model that is shown noise with random labels, at weights that have seen neither batch, passes, too. So "
        "that this claim holds is no evidence of what the paper says; that it did not hold would speak against it.",
        "The paper does not say how it scaled pixels. Here: on MNIST to 0 … 1, on CIFAR-10 each channel to mean 0 and "
        "standard deviation 1.",
        "It gives no form of its networks for images of 32 × 32. Here: AlexNet's first convolution is 3 × 3 with stride 2, "
        "its pools are 2 × 2, and both are without batch normalization and dropout; the residual networks begin with a "
        "3 × 3 convolution and have batch normalization, each batch by its own mean and variance.",
    ),
    sizes={
        "quick": "on MNIST 1 epoch of 50,000 images in place of 10 of 60,000, and in figures 1 to 3 a long-ago batch is one of 100 "
        "steps ago (lags: 3 epochs, and one seed; "
        "fig3_two_hidden: layers of 64, 150 and 500 units, and one seed). On CIFAR-10 one seed and 2,000 training images, from which "
        "nothing is concluded. The AlexNets have "
        "an eighth of their channels and units, he_normal weights, batches of 50 examples and 16 epochs; the residual "
        "networks a sixteenth of their channels, batches of 20 examples, 2 epochs, and a long-ago batch is one of 30 steps ago",
        "desk": "figures 1 to 3 alone, which are the full ones",
    },
)

# What was decided of borders when results were known.
NO_MARGIN = Late("the border itself in place of a margin of 0.05 about it")
QUICK_LAG = "that on MNIST at size quick a long-ago batch is one of 100 steps ago, in place of 300"

# What is to be said where the updating batch is set beside another one.
NOISE_PASSES = "(a model of noise alone passes, too)"

# Why quick runs on CIFAR-10 decide nothing.
UNJUDGED = {
    "quick": "the networks have an eighth or a sixteenth of the paper's channels, and one seed; the runs only try the machinery"
}

# On CIFAR-10, by the names of their settings: as one calls them.
IMAGE_NETWORKS = {
    "alexnet": "AlexNet",
    "alexnet_small": "small AlexNet",
    "resnet18": "ResNet-18",
    "wide_resnet50_2": "Wide ResNet-50",
}


def cloud(results: Results, name: str, x: tuple[str, str], y: tuple[str, str]) -> Cloud:
    """Two columns of a job, each with its label, at the steps of all seeds at which both are measured."""
    parts = [columns_of(run, [x[0], y[0], "step"]) for run in results.runs(name)]
    values = [np.concatenate(column) for column in zip(*parts)]
    return Cloud(values[0], values[1], values[2], x[1], y[1])
