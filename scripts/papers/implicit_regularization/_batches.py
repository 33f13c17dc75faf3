"""Figures 3 and 6: whether batch sizes agree at equal ratios to the batch size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from papers.implicit_regularization._curves import (
    ACCURACY,
    curve,
    disagreement,
    draw_curve,
    measured,
    measured_of_means,
    trained,
)
from sgdscope.claims import EXPONENT_NEAR, NONE, WHY_EXPONENT, Claim, Late, Measurement, TooLittle, exponent
from sgdscope.plots.style import Axes, Stroke, shades
from sgdscope.results import Results

LEFT_OUT = (  # a departure
    "Where two batch sizes are compared, settings in which one of them was not trained (an accuracy nearer to guessing "
    "than to its best) are left out, and equal learning rates, or λ, are those that the two have in common."
)

AFTER = Late(
    "the claim and its border, and that an exponent is that of the means of seeds, by the jackknife, in place of the mean"
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


def leads_of_smaller(results: Results, name: str) -> dict[str, Measurement]:
    """By how much the smaller of two batch sizes is better at equal ratios, mean over these, for each pair in words."""

    def lead(smaller: np.ndarray, larger: np.ndarray) -> float:
        both = trained(smaller) & trained(larger)
        if not both.any():
            raise TooLittle("there is no ratio at which both batch sizes were trained")
        return float(np.mean(smaller[both] - larger[both]))

    by_batch = results.study.by(name, "batch")
    curves = {batch: curve(results, by_batch[batch], ACCURACY) for batch in sorted(by_batch)}
    return {
        f"batches of {smaller} and {larger}": measured(lead, curves[smaller], curves[larger])
        for smaller, larger in itertools.combinations(curves, 2)
    }


def exponent_of_batch(results: Results, name: str, number: str) -> Measurement:
    """The p with which the accuracy is best a function of the learning rate (or λ) over B^p."""
    settings = results.study.curve(name)
    x, s = np.array([[setting[number], np.log2(setting["batch"])] for setting in settings]).T

    def of(accuracy: np.ndarray) -> float:
        known = trained(accuracy)
        return exponent(x[known], s[known], accuracy[known])

    return measured_of_means(of, curve(results, settings, ACCURACY))


def claims_of_ratio(results: Results, name: str, number: str, symbol: str, place: str, alike: float) -> list[Claim]:
    """Whether batch sizes agree at equal ratios of learning rate, or lambda, to the batch size."""
    return [
        Claim(
            f"Batch sizes agree in test accuracy rather at equal {symbol}/B than at equal {symbol}.", place,
            f"mean difference of two batch sizes at equal {symbol} less that at equal {symbol}/B",
            better_by_ratio(results, name, number), 0.0, NONE,
        ),
        Claim(
            f"They agree at equal {symbol}/B.", place,
            f"accuracy of the smaller of two batch sizes less that of the larger, mean over the ratios {symbol}/B, for each pair",
            leads_of_smaller(results, name), alike, f"{alike:.1%} of accuracy: the paper says 'similar' and gives no number",
            about=0.0, decided_after=AFTER,
        ),
        Claim(
            f"The accuracy is a function of {symbol}/B.", place,
            f"p with which it is best a parabola in log {symbol}/Bᵖ", exponent_of_batch(results, name, number),
            EXPONENT_NEAR, WHY_EXPONENT, about=1.0, decided_after=AFTER,
        ),
    ]  # fmt: skip
