"""Figures 3 and 6: whether batch sizes agree at equal ratios to the batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from papers.implicit_regularization import Setting, same_epochs, same_steps
from papers.implicit_regularization._curves import ACCURACY, curve, disagreement, draw_curve, measured
from sgdscope.claims import Measurement
from sgdscope.plots.style import Stroke, shades
from sgdscope.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT_OUT = (  # a departure
    "Where two batch sizes are compared, settings in which one of them was not trained (an accuracy nearer to guessing "
    "than to its best) are left out, and equal learning rates, or λ, are those that the two have in common."
)
ByBatch = Mapping[int, Mapping[int, Setting]]  # batch size, exponent of the learning rate or of lambda


def scaled(exponents: Sequence[int], of_batch: int, batch: int) -> list[int]:
    """The exponents that have, with a batch size, the ratios that `exponents` have with `of_batch`."""
    return [exponent + round(math.log2(batch / of_batch)) for exponent in exponents]


def rates_by_batch(
    name: str, exponents: Sequence[int], of_batch: int, batches: Sequence[int], quick: bool
) -> dict[int, dict[int, Setting]]:
    """Equal epochs, and equal ratios of learning rate to batch size."""
    return {
        batch: {rate: same_epochs(name, rate, batch, quick) for rate in scaled(exponents, of_batch, batch)}
        for batch in batches
    }


def penalties_by_batch(
    name: str, small: int, exponents: Sequence[int], of_batch: int, batches: Sequence[int], quick: bool
) -> dict[int, dict[int, Setting]]:
    """Equal steps at the small learning rate, and equal ratios of lambda to batch size."""
    return {
        batch: {
            penalty: same_steps(name, small, penalty, batch, quick) for penalty in scaled(exponents, of_batch, batch)
        }
        for batch in batches
    }


def looks(batches: Sequence[int]) -> list[Stroke]:
    """A stroke for each batch size."""
    return [Stroke(f"B = {batch}", colour) for batch, colour in zip(batches, shades(len(batches)))]


def draw_ratios(axes: Axes, results: Results, by_batch: ByBatch) -> None:
    """Test accuracy over the ratio."""
    for (batch, settings), look in zip(by_batch.items(), looks(list(by_batch))):
        ratios = np.array(list(settings)) - math.log2(batch)
        draw_curve(axes, ratios, curve(results, list(settings.values()), ACCURACY), look)


def better_by_ratio(results: Results, by_batch: ByBatch) -> Measurement:
    """How much more the batch sizes' test accuracies differ at equal numbers than at equal ratios."""
    numbers = [np.array(list(settings)) for settings in by_batch.values()]
    ratios = [number - math.log2(batch) for batch, number in zip(by_batch, numbers)]
    curves = [curve(results, list(settings.values()), ACCURACY) for settings in by_batch.values()]
    return measured(lambda *means: disagreement(numbers, means) - disagreement(ratios, means), *curves)
