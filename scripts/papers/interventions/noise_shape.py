"""interventions: noise of one covariance, Gaussian and not: what small batches owe to either. noise_enhancement, section 4 (ii)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from papers.interventions._means import draw_means, with_interval
from sgdscope.aggregate import measured_values
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample, TooLittle, mean
from sgdscope.document import Table
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

REACHED = "stop.train_loss"  # in a manifest's reason: the run has come to L**
NOISES = {
    "small_batches": "small batches",
    "enhanced": "large batches, enhanced",
    "gaussian": "Gaussian, same covariance",
    "isotropic": "Gaussian, same in all directions",
    "large_batches": "large batches",
}
PLACE = "noise_enhancement, section 4 (ii)"
SAME, WHY_SAME = 0.1, "a tenth: batches of 28 in place of 25 would be as far off"
ALIKE, WHY_ALIKE = (
    0.005,
    "half a per cent of accuracy; the paper's gains for F1 are 0.2 %, which so few seeds would not tell from 0",
)
TIMES = 1.25
WHY_TIMES = f"a factor of {TIMES}, as in noise_enhancement/fig3"


def accuracy(run: Run) -> Sample:
    """The test accuracy at L**."""
    _need_the_end(run)
    return Sample(float(measured_values(run, "eval.test_accuracy")[-1]))


def time(run: Run) -> Sample:
    """log2 of the convergence time: the steps to L**."""
    _need_the_end(run)
    return Sample(math.log2(run.manifest()["steps_done"]))


def kurtosis(run: Run) -> Sample:
    """The excess kurtosis of the noise along random directions, mean over all moments."""
    return mean(measured_values(run, "gradient_noise.estimator.kurtosis"))


def trace_over(expected: float) -> Callable[[Run], Sample]:
    """The noise's trace over what it is to be, `expected` times that of plain SGD with the run's batches: a ratio of sums over training."""

    def ratio(run: Run) -> Sample:
        measured = np.sum(measured_values(run, "gradient_noise.estimator.trace"))
        return Sample(float(measured / (expected * np.sum(measured_values(run, "gradient_noise.sgd.trace")))))

    return ratio


def _need_the_end(run: Run) -> None:
    if REACHED not in run.manifest().get("reason", ""):
        raise TooLittle(f"{run.folder.name} does not come to L**")


def less(of: Callable[[Run], Sample]) -> Callable[[Run, Run], Sample]:
    """A number of one run less that of another."""
    return lambda one, other: Sample(of(one).value - of(other).value)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Test accuracies and convergence times."""
    results.need_some()
    figure = new_figure(9.0, 2.8)
    left, right = figure.subplots(1, 2)
    for axes, of in ((left, accuracy), (right, time)):
        draw_means(axes, [(label, results.measure(of, name)) for name, label in NOISES.items()])
        axes.locator_params(axis="x", nbins=6)
    left.set_xlabel("test accuracy at L**")
    right.set_xlabel("log₂ of the steps to L**")
    right.set_yticklabels([])
    return {"noise_shape": figure}


def tables(results: Results) -> list[Table]:
    """The numbers of all settings."""
    rows = []
    for name, label in NOISES.items():
        found = [results.measure(of, name) for of in (accuracy, time, kurtosis)]
        if all(one.seeds > 1 for one in found):
            rows.append([label, *(with_interval(one, ".4f") for one in found)])
    header = ["Noise, with 95 % intervals", "Test accuracy at L**", "log₂ of the steps to L**", "Excess kurtosis"]
    return [Table(header, rows)] if rows else []


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether anything but the covariance of the noise counts, for the test accuracy and for the convergence time."""

    def difference(of: Callable[[Run], Sample], one: str, other: str) -> Measurement:
        return results.measure(less(of), one, other)

    def better(says: str, one: str, other: str) -> Claim:
        quantity = f"test accuracy at L**: {NOISES[one]}, less {NOISES[other]}"
        return Claim(says, PLACE, quantity, difference(accuracy, one, other), 0.0, NONE)

    def as_long(says: str, name: str) -> Claim:
        quantity = f"log2 of the steps to L**: {NOISES[name]}, less small batches"
        measured = difference(time, name, "small_batches")
        return Claim(says, PLACE, quantity, measured, math.log2(TIMES), WHY_TIMES, about=0.0)

    enhancement = results.study.values["ratio"]
    return [
        Claim(
            "Enhanced, Gaussian and isotropic noise have the covariance's trace of small batches.", PLACE,
            "measured trace over what it is to be, both summed over training",
            {
                NOISES[name]: results.measure(trace_over(expected), name)
                for name, expected in (("enhanced", enhancement), ("gaussian", 1), ("isotropic", 1))
            },
            SAME, WHY_SAME, about=1.0,
            decided_after=Late("that both are summed over training, in place of the mean of ratios", {"quick": range(11, 16)}),
        ),
        Claim(
            "Enhanced and Gaussian noise are nearer to Gaussian than that of small batches.", PLACE,
            "excess kurtosis along random directions, mean over training: small batches, less the other",
            {NOISES[name]: difference(kurtosis, "small_batches", name) for name in ("enhanced", "gaussian")}, 0.0, NONE,
        ),
        better("Noise helps: small batches generalize better than large ones.", "small_batches", "large_batches"),
        better(
            "Non-Gaussianity hurts: Gaussian noise generalizes better than small batches' of the same covariance.", "gaussian",
            "small_batches",
        ),
        better("So does the enhanced noise of large batches, which is nearer to Gaussian.", "enhanced", "small_batches"),
        Claim(
            "The enhanced noise of large batches generalizes as Gaussian noise of the same covariance.", PLACE,
            "test accuracy at L**: large batches, enhanced, less Gaussian, same covariance",
            difference(accuracy, "enhanced", "gaussian"), ALIKE, WHY_ALIKE, about=0.0,
        ),
        better("Directions count: noise alike in all of them, of the same trace, generalizes worse.", "gaussian", "isotropic"),
        as_long("Enhanced noise takes as long to converge as small batches.", "enhanced"),
        as_long("So does Gaussian noise.", "gaussian"),
        as_long("So does noise alike in all directions.", "isotropic"),
    ]  # fmt: skip


FIGURE = Figure(
    title="Noise of one covariance, Gaussian and not",
    did="`noise_enhancement` finds that large batches with enhanced noise generalize better than small batches with noise of the same "
    "covariance, and from that concludes that what is not Gaussian about noise has a negative impact on generalization. The figure has noise of the covariance of small "
    "batches in three forms, and of the same trace in a fourth, each until the training loss is L**.",
    shows={"noise_shape": "Dots are seeds, with their mean and its 95 % interval."},
    departures=(
        "The paper compares the best batch size with the best α. Here the covariance is the same, that of distinct examples.",
        "The Gaussian noise of the quick size is around the mean of the whole training set at each step. That of the full size, and the "
        "isotropic one, are around the mean of other examples, drawn at each step: late in training few examples have most of the "
        "covariance, and whether they are among these makes the noise larger or smaller, which is not Gaussian.",
        "F1 is narrower, and sees fewer examples and smaller batches than the paper's. Sizes were chosen by runs of seed 1, "
        "which is not judged.",
    ),
    draw=draw,
    claims=claims,
    tables=tables,
)
