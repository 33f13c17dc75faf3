"""Figures 3 and 6: whether batch sizes agree at equal ratios to the batch size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.implicit_regularization._curves import ACCURACY, curve, disagreement, draw_curve, measured
from sgdscope.claims import Measurement
from sgdscope.plots.style import Axes, Stroke, shades
from sgdscope.results import Results

LEFT_OUT = (  # a departure
    "Where two batch sizes are compared, settings in which one of them was not trained (an accuracy nearer to guessing "
    "than to its best) are left out, and equal learning rates, or λ, are those that the two have in common."
)


def looks(batches: Sequence[int]) -> list[Stroke]:
    """A stroke for each batch size."""
    return [Stroke(f"B = {batch}", colour) for batch, colour in zip(batches, shades(len(batches)))]


def draw_ratios(axes: Axes, results: Results, name: str) -> None:
    """Test accuracy over the ratio of learning rate, or lambda, to batch size."""
    by_batch = results.study.by(name, "batch")
    for settings, look in zip(by_batch.values(), looks(list(by_batch))):
        ratios = [setting["ratio"] for setting in settings]
        draw_curve(axes, ratios, curve(results, settings, ACCURACY), look)


def better_by_ratio(results: Results, name: str, number: str) -> Measurement:
    """How much more the batch sizes' test accuracies differ at equal numbers (learning rates or lambda) than at equal ratios."""
    by_batch = results.study.by(name, "batch").values()
    numbers, ratios = (
        [np.array([setting[value] for setting in settings]) for settings in by_batch] for value in (number, "ratio")
    )
    curves = [curve(results, settings, ACCURACY) for settings in by_batch]
    return measured(lambda *means: disagreement(numbers, means) - disagreement(ratios, means), *curves)
