"""generalization_gap, equation 7: how much a step lowers the loss on a batch that shares examples with its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from papers.generalization_gap import measured_rows, within
from sgdscope.claims import Claim, Late, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, STYLE, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

NAME = "overlap"
BATCH = 100  # |A| = |B|
OVERLAPS = (0, 25, 50, 75, 100)  # |A ∩ B|
PANELS = 6  # of all measured moments, evenly
WIDTHS = 3  # standard errors
SUMS = Late(
    "sums in place of the mean of ratios, of which one prediction near 0 made 21",
    {"quick": [*range(1, 6), *range(11, 16)], "full": range(1, 6)},
)


@dataclass(frozen=True)
class Falls:
    """What the loss on A falls by for each 1 of the learning rate, [moments, overlaps]."""

    step: np.ndarray
    trace: np.ndarray  # tr Σ of the training set, [moments]
    measured: np.ndarray
    error: np.ndarray
    predicted: np.ndarray


def falls(run: Run) -> Falls:
    """The falls of the loss at all measured moments of a run."""
    values = ("measured", "measured_error", "predicted")
    names = [f"overlap.shared{shared}.{value}" for value in values for shared in OVERLAPS]
    step, trace, *columns = measured_rows(run, ["overlap.covariance_trace", *names])
    measured, error, predicted = np.array(columns).reshape(len(values), len(OVERLAPS), step.size).transpose(0, 2, 1)
    return Falls(step, trace, measured, error, predicted)


def weights() -> np.ndarray:
    """|A ∩ B| / (|A| |B|) of each overlap."""
    return np.array(OVERLAPS) / BATCH**2


def draw(results: Results) -> dict[str, Picture]:
    """Some moments of the first seed's training; all of the seeds are in the claims."""
    run = results.runs(NAME)[0]
    found = falls(run)
    figure = new_figure(9.0, 5.6)
    grid = figure.subplots(2, PANELS // 2, sharex=True)
    for axes, at in zip(grid.flat, np.linspace(0, found.step.size - 1, PANELS).round().astype(int)):
        axes.plot(weights(), found.predicted[at], color=RED, linewidth=1.2)
        axes.errorbar(
            weights(),
            found.measured[at],
            WIDTHS * found.error[at],
            color=COLOURS[0],
            fmt="o",
            markersize=3.5,
            capsize=3,
        )
        axes.set_title(f"step {found.step[at]:.0f}")
        axes.set_ylim(0, None)
    figure.supxlabel("|A ∩ B| / (|A| |B|)", fontsize=STYLE["axes.labelsize"])
    figure.supylabel("−⟨δℓ⟩ / η", fontsize=STYLE["axes.labelsize"])
    looks = [
        Stroke("measured, ± 3 standard errors", COLOURS[0]),
        Stroke("equation 7: ‖G‖² + |A ∩ B| / (|A| |B|) tr Σ", RED),
    ]
    add_header(figure, None, looks)
    return {"overlap": figure}


# -------------------------------------------------------------------------------------------- the claims


def share_within(run: Run) -> Sample:
    """Of all moments and overlaps, how many are within three standard errors of equation 7."""
    found = falls(run)
    return Sample(float(np.mean(np.abs(found.measured - found.predicted) < WIDTHS * found.error)))


def narrowness(run: Run) -> Sample:
    """The standard errors in units of what is predicted, both summed: a single prediction may be near 0."""
    found = falls(run)
    return Sample(float(np.sum(found.error) / np.sum(np.abs(found.predicted))))


def slope(run: Run) -> Sample:
    """Over the overlap, in units of tr Σ, mean over the moments."""
    found = falls(run)
    slopes = np.polyfit(weights(), found.measured.T, 1)[0] / found.trace
    return Sample(float(slopes.mean()))


def claims(results: Results) -> list[Claim]:
    """Whether the points lie on equation 7's line, and how much their error bars would let pass."""
    return [
        Claim(
            "A step lowers the loss as equation 7 says, at every moment and for every overlap.", "equation 7",
            "share of moments and overlaps whose mean is within 3 standard errors",
            results.measure(share_within, NAME), 0.95, "of normal numbers 99.7 % are within three standard errors",
        ),
        Claim(
            "The standard errors are small enough for that to say something.", "equation 7",
            "sum of the standard errors over the sum of what is predicted, without signs",
            results.measure(narrowness, NAME), 0.15, within(0.15), about=0.0, decided_after=SUMS,
        ),
        Claim(
            "Linearly in the overlap, with the slope tr Σ.", "equation 7",
            "slope over tr Σ, mean over the moments",
            results.measure(slope, NAME), 0.1, within(0.1), about=1.0,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="How much a step on B lowers the loss on A, by the number of examples that the two share",
    did="Finds that the mean fall of the loss is the learning rate times ‖G‖², which is what new examples gain by, and a part "
    "proportional to tr Σ and to the overlap of the two batches. It shows no picture: this one is ours.",
    shows={
        "overlap": "One seed, at moments of its training from the first step to the last. Each point is the mean of 100 "
        "drawn pairs of batches."
    },
    departures=(
        "Batches are drawn from the training set, without replacement. ‖G‖² and tr Σ are those of the whole training set, "
        "‖G‖² without the part that tr Σ has in it: equation 7's average is then exact, but for the second order in η.",
        "The quick variant has the first 10,000 training examples. For a while it had runs with 2,000, late in which ‖G‖² "
        "is so near to 0 that whether the errors are small was not decided. Claims and thresholds stayed.",
        "The steps that are tried have η = 0.001, whatever that of the training.",
    ),
    draw=draw,
    claims=claims,
)
