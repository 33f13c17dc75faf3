"""generalization_gap, section 4: for a linear model SGD's implicit regularizer is an L2 penalty."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from papers.generalization_gap import measured_rows, within
from sgdscope.claims import Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import RED, Picture, new_figure, shades
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.snapshots import theta_at

NAME = "linear"
RATE = 0.1  # of the two updates that are tried
TRACE = "overlap.covariance_trace"
DECAY = "sgd_gd_gap.average.decay"
COSINE = "sgd_gd_gap.average.cosine"


# --------------------------------------------------------------------------------- measured, and expected


def squared_weights(folder: Path, step: int) -> float:
    """|W|² of a snapshot."""
    return float(np.sum(np.square(theta_at(folder, step))))


def along_training(run: Run, column: str) -> tuple[np.ndarray, np.ndarray]:
    """|W|² and a column at the measured steps."""
    step, values = measured_rows(run, [column])
    return np.array([squared_weights(run.folder, int(at)) for at in step]), values


def moments(run: Run) -> tuple[float, float]:
    """tr Σ = constant + slope |W|² for x ~ N(0, s² I_d), labels independent of x, and k classes."""
    data = run.config["data"]
    s, d, k = data["std"], math.prod(data["shape"]), data["classes"]
    return 4 * s**2 * d / k**2, 4 * s**4 * (d + 1) / k**2


def expected_decay(run: Run) -> float:
    """The lambda of −λW = −½ ∂ (η tr Σ / n)."""
    return RATE * moments(run)[1] / run.config["batch_size"]


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """tr Σ over |W|² with the line known, and the weight decay that SGD stands for with its value known."""
    runs = results.runs(NAME)
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    constant, slope = moments(runs[0])
    for run, colour in zip(runs, shades(len(runs))):
        left.plot(*along_training(run, TRACE), "o", color=colour, markersize=3.5)
        right.plot(*along_training(run, DECAY), "o", color=colour, markersize=3.5)
    left.axline((0, constant), slope=slope, color=RED, linewidth=1.2, label=f"known: {constant:g} + {slope:g} |W|²")
    right.axhline(expected_decay(runs[0]), color=RED, linewidth=1.2, label=f"known: {expected_decay(runs[0]):g}")
    left.set(ylabel="tr Σ of the training set", ylim=(0, None), xlim=(0, None))
    right.set(ylabel="λ of the L2 penalty in equation 13", ylim=(0, None), xlim=(0, None))
    for axes in (left, right):
        axes.set_xlabel("|W|²")
        axes.legend(fontsize=9, loc="lower right")
    return {"l2": figure}


# -------------------------------------------------------------------------------------------- the claims


def line(which: int) -> Callable[[Run], Sample]:
    """Of the least squares line of tr Σ over |W|² the constant (0) or the slope (1), over the known one."""

    def measure(run: Run) -> Sample:
        fitted = np.polyfit(*along_training(run, TRACE), 1)[::-1]
        return Sample(float(fitted[which]) / moments(run)[which])

    return measure


def straightness(run: Run) -> Sample:
    """The squared correlation of tr Σ and |W|²."""
    return Sample(float(np.corrcoef(*along_training(run, TRACE))[0, 1] ** 2))


def decay(run: Run) -> Sample:
    """The mean λ over the measured steps, over the known one."""
    return Sample(float(along_training(run, DECAY)[1].mean()) / expected_decay(run))


def cosine(run: Run) -> Sample:
    """The cosine of equation 13's right side with −W, mean over the measured steps."""
    return Sample(float(along_training(run, COSINE)[1].mean()))


def claims(results: Results) -> list[Claim]:
    """Whether tr Σ is affine in |W|², and what SGD adds is weight decay."""
    place = "section 4, and equation 9"

    def claim(
        says: str, quantity: str, of: Callable[[Run], Sample], border: float, why: str = "", about: float | None = None
    ) -> Claim:
        return Claim(says, place, quantity, results.measure(of, NAME), border, why or within(border), about)

    return [
        claim("The mean change of the gap, η tr Σ / N, is an L2 penalty and a constant.",
              "squared correlation of tr Σ and |W|² along training", straightness, 0.99,
              "all but a hundredth of the variance"),
        claim("The penalty has the known strength.", "fitted slope over the known one", line(1), 0.05, about=1.0),
        claim("And the constant is the known one.", "fitted constant over the known one", line(0), 0.05, about=1.0),
        claim("What equation 13 says of SGD on half-batches is weight decay of the known strength.",
              "mean λ over the known one", decay, 0.1, about=1.0),
        claim("And little else.", "cosine of equation 13's right side with −W, mean over training", cosine, 0.9, "near to 1"),
    ]  # fmt: skip


FIGURE = Figure(
    title="A linear model with quadratic loss and Gaussian data: SGD's implicit regularizer is an L2 penalty",
    did="States that for a linear model with quadratic loss and Gaussian inputs its results can be evaluated, and that SGD's "
    "implicit regularization behaves like an L2 penalty there. It shows neither formula nor picture: both are ours.",
    shows={
        "l2": "A colour for each seed, which has its own data. |W|² falls in training. Left: all points of a seed are of one "
        "training set. Right: each point is of the batch of its step, and so differs by chance."
    },
    departures=(
        "For x ~ N(0, s² I_d), labels that say nothing of x, k classes and the loss |W x − e_y|² / k: tr Σ = 4 s² d / k² + "
        "(4 s⁴ (d + 1) / k²) |W|². Its derivative is along W; half of it, times η / n, is the weight decay.",
        "No step of SGD is made for this: λ is that of equation 13's right side, −½ ∂ (η tr Σ / n) of the batch, which "
        "`generalization_gap/sgd_gd` compares with steps. All of it follows from the formula above, but for the draw of the data: it "
        "checks formula and program, and is no finding about networks.",
        "The data are 10,000 drawn examples, the steps' batches 200: what is known is the mean over all such draws.",
    ),
    draw=draw,
    claims=claims,
)
