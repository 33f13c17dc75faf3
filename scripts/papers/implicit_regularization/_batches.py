"""Figures 3 and 6: whether batch sizes agree at equal ratios to the batch size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from papers.implicit_regularization import LAST
from papers.implicit_regularization._curves import (
    ACCURACY,
    FIT,
    Conditions,
    curve,
    disagreement,
    draw_curve,
    fitted,
    measured,
    measured_of_means,
    problems_of,
    trained,
    trained_by_all,
    unfitted,
)
from sgdscope.claims import EXPONENT_NEAR, NONE, WHY_EXPONENT, Claim, Late, Measurement, TooLittle, exponent
from sgdscope.plots.style import Axes, Stroke, shades
from sgdscope.results import Results

LEFT_OUT = (  # a departure
    "Where two batch sizes are compared, settings in which one of them was not trained (an accuracy nearer to guessing "
    "than to its best) are left out, and equal learning rates, or λ, are those that the two have in common."
)
EQUAL_TIME = (  # a departure
    "After equal epochs a ratio ε/B stands for a length of training, the number of steps times ε. Where a larger learning rate of the "
    "same batch size has a mean training accuracy more than 2 % higher, networks lack epochs, equal ratios agree by that alone, and "
    "nothing is decided."
)

FITS = "that learning rates must have fitted the training set"
AFTER = "the claim and its border, and that an exponent is that of the means of seeds, by the jackknife, in place of the mean"
EACH = "the claim and its border, and that it must be so at each ratio, in place of the mean over them"


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


def differences(results: Results, name: str) -> Conditions:
    """By how much the smaller of two batch sizes is better, for each pair and each ratio at which all seeds train, in words."""
    by_batch = results.study.by(name, "batch")
    curves = {batch: curve(results, by_batch[batch], ACCURACY) for batch in sorted(by_batch)}
    if problems := problems_of(*curves.values()):
        return Measurement({}, problems)
    places = {
        batch: {by_batch[batch][place]["ratio"]: place for place in np.flatnonzero(trained_by_all(one)).tolist()}
        for batch, one in curves.items()
    }
    found = {
        f"batches of {smaller} and {larger} at 2^{ratio:g}": measured(
            lambda one, other: float(one[0] - other[0]),
            *[curves[batch].at([places[batch][ratio]]) for batch in (smaller, larger)],
        )
        for smaller, larger in itertools.combinations(curves, 2)
        for ratio in sorted(places[smaller].keys() & places[larger].keys())
    }
    return found or Measurement({}, censored="at no ratio do two batch sizes train with all seeds: add smaller ones")


def unfitted_of_batches(results: Results, name: str) -> str:
    """Which settings lack epochs, after which a ratio to the batch size stands for the length of training; empty if none."""
    fits = [curve(results, settings, FIT) for settings in results.study.by(name, "batch").values()]
    return "; ".join(words for fit in fits if (words := unfitted(fit, range(len(fit.names)))))


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
    unfit, fits = (unfitted_of_batches(results, name), f"; {FITS}") if number == "rate" else ("", "")
    return [
        Claim(
            f"Batch sizes agree in test accuracy rather at equal {symbol}/B than at equal {symbol}.", place,
            f"mean difference of two batch sizes at equal {symbol} less that at equal {symbol}/B",
            fitted(better_by_ratio(results, name, number), unfit), 0.0, NONE, decided_after=Late(FITS, LAST) if fits else None,
        ),
        Claim(
            f"They agree at equal {symbol}/B.", place,
            f"accuracy of the smaller of two batch sizes less that of the larger, for each pair and each ratio {symbol}/B",
            fitted(differences(results, name), unfit), alike, f"{alike:.1%} of accuracy: the paper says 'similar' and gives no number",
            about=0.0, decided_after=Late(EACH + fits, LAST),
        ),
        Claim(
            f"The accuracy is a function of {symbol}/B.", place,
            f"p with which it is best a parabola in log {symbol}/Bᵖ", fitted(exponent_of_batch(results, name, number), unfit),
            EXPONENT_NEAR, WHY_EXPONENT, about=1.0, decided_after=Late(AFTER + fits, LAST) if fits else Late(AFTER),
        ),
    ]  # fmt: skip
