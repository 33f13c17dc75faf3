"""generalization_gap, introduction and footnote 5: how ∂ tr Σ grows, and how gradients of training and test set part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from papers.generalization_gap import KNOWN, measured_rows
from papers.generalization_gap.gap import NAMES, correction, evaluated_gap
from sgdscope.claims import Claim, Late, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import COLOURS, Picture, Stroke, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

# The probes whose averages have ∂ tr Σ: of moments spaced evenly in log, and of the last step.
CUTS, END = "cuts160", "end"
WHOLE = "whole"  # the probe of the whole training set
LARGE = 1.0  # decimal logarithm of how many times as large is very large
TIED = 0.5  # rank correlation
AT_END = Late("the last step in place of step 1000, which was the last measured one", KNOWN)
BESIDE = Late("the claim", KNOWN)
SIGNED = Late(
    "the units, ‖G_train‖² at first, of which the estimate falls to 0 as the training set is fitted; and that the sign counts, which "
    "the size alone hides where it changes",
    KNOWN,
)
AGREES = Late("the claim", KNOWN)
FEWEST_PARTS = 5  # of training, between evaluations


# ------------------------------------------------------------------------------------------- what is measured


def slope_of_trace(run: Run) -> Line:
    """|∂ tr Σ| of the batch at the measured steps and the last one: equation 13's right side is half of η/n times it."""
    found = [measured_rows(run, [f"{label}.average.norm"]) for label in (CUTS, END)]
    rates = {one["label"]: one["learning_rate"] for one in run.config["probes"]}
    norms = [norm * 2 * run.config["batch_size"] / rates[label] for (_, norm), label in zip(found, (CUTS, END))]
    return Line(np.append(found[0][0], found[1][0][-1]), np.append(norms[0], norms[1][-1]))


def whole_gradient(run: Run) -> Line:
    """‖G‖ of the training set at the first step and at the last, without the part that tr Σ has in it."""
    step, squares = measured_rows(run, [f"{WHOLE}.squared_norm"])
    if np.any(squares <= 0):
        raise TooLittle(f"{run.folder.name} has a ‖G‖² so near to 0 that it is not told from it")
    return Line(step, np.sqrt(squares))


def divergence(run: Run, part: slice = slice(None)) -> Line:
    """Section 4's correction over the average form between evaluations, over the gap at the later one.

    Both are estimated at each step, so that sums over steps are divided, not the single ones; `part`: of which of the steps.
    """
    step, found, average = (values[part] for values in correction(run))
    gap = evaluated_gap(run)
    edges = np.searchsorted(step, gap.x)
    parts = [slice(begin, end) for begin, end in zip(edges, edges[1:]) if end > begin]
    if len(parts) < FEWEST_PARTS:
        raise TooLittle(f"{run.folder.name} is evaluated {len(parts) + 1} times, of which it takes {FEWEST_PARTS + 1}")
    opened = gap.y[1:][np.diff(edges) > 0]
    return Line(opened, np.array([found[one].sum() / average[one].sum() for one in parts]))


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """|∂ tr Σ| over the steps, and the divergence over the gap for both kinds of training, every seed a line."""
    figure = new_figure(9.6, 3.6)
    axes = figure.subplots(1, 1 + len(NAMES))
    of_trace = [slope_of_trace(run) for run in results.runs("sgd_gd")]
    draw_lines(axes[0], [Line(line.x + 1, line.y) for line in of_trace], _looks(of_trace))
    axes[0].set(xscale="log", yscale="log", xlabel="step, counted from 1", ylabel="|∂ tr Σ|", title=NAMES["sgd"])
    for panel, (name, title) in zip(axes[1:], NAMES.items()):
        lines = [divergence(run) for run in results.runs(name)]
        draw_lines(panel, lines, _looks(lines))
        panel.axhline(0, color="#999999", linewidth=0.8, zorder=1)
        panel.set(xlabel="test − training loss since step 0", title=title, ylabel="correction / average form")
    return {"gradient_statistics": figure}


def _looks(lines: Sequence[Line]) -> list[Stroke]:
    return [Stroke("", colour, width=0.9) for colour in (COLOURS * len(lines))[: len(lines)]]


# -------------------------------------------------------------------------------------------- the claims


def growth_of_trace_slope(run: Run) -> Sample:
    """The decimal logarithm of |∂ tr Σ| at the last step over that at step 0."""
    line = slope_of_trace(run)
    return Sample(math.log10(line.y[-1] / line.y[0]))


def growth_beside_gradient(run: Run) -> Sample:
    """The decimal logarithm of how many times |∂ tr Σ| / ‖G‖ at the last step is that at step 0."""
    gradient = whole_gradient(run)
    return Sample(growth_of_trace_slope(run).value - math.log10(gradient.y[-1] / gradient.y[0]))


def ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value in their order."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Of values without ties."""
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def tie(run: Run) -> Sample:
    """The rank correlation of divergence and gap."""
    line = divergence(run)
    return Sample(rank_correlation(line.x, line.y), steps=line.x.size)


def agreement(run: Run) -> Sample:
    """The rank correlation of the divergence by steps of even number with that by those of odd number; 0 were it all noise."""
    even, odd = (divergence(run, slice(first, None, 2)) for first in (0, 1))
    return Sample(rank_correlation(even.y, odd.y), steps=even.x.size)


def claims(results: Results) -> list[Claim]:
    """Whether ∂ tr Σ becomes large, whether gradients part as the gap opens, and whether noise lets one see it."""
    place = "section 1, below equation 2"
    very = "1: ten times as large is very large; how much is so the paper does not say"
    found = [
        Claim(
            "∂ tr Σ becomes very large over the course of training.", place,
            "decimal logarithm of |∂ tr Σ| of the batch at the last step over that at step 0",
            results.measure(growth_of_trace_slope, "sgd_gd"), LARGE, very, decided_after=AT_END,
        ),
        Claim(
            "∂ tr Σ becomes very large beside the gradient, too (ours).", place,
            "decimal logarithm of |∂ tr Σ| / ‖G‖, G of the training set, at the last step over that at step 0",
            results.measure(growth_beside_gradient, "sgd_gd"), LARGE, very, decided_after=BESIDE,
        ),
    ]  # fmt: skip
    for name, title in NAMES.items():
        found.append(
            Claim(
                f"The divergence of the gradients of training and test set is a statistic for overfitting: it rises with the gap "
                f"({title}).",
                "section 4, footnote 5",
                "rank correlation, in the course of training, of the correction over the average form with the gap; a step counter "
                "has 1, too",
                results.measure(tie, name), TIED, "half: more of a tie than not", decided_after=SIGNED,
            )
        )  # fmt: skip
    found.append(
        Claim(
            f"Noise does not hide the course of this statistic ({NAMES['sgd']}; ours).", "section 4, footnote 5",
            "rank correlation of what steps of even number give with what those of odd number do, 0 were it all noise",
            results.measure(agreement, "sgd"), TIED, "half: more of a tie than not", decided_after=AGREES,
        )
    )  # fmt: skip
    return found


FIGURE = Figure(
    title="How ∂ tr Σ grows in training, and how the gradients of training and test set part as the gap opens",
    did="Says that ∂ tr Σ 'tends to become very large over the course of training', and that the divergence of the gradients "
    "on test and training set 'is easy to measure and could serve as a new statistic for overfitting'. It shows no picture: "
    "this one is ours.",
    shows={
        "gradient_statistics": "Each line is one seed. Left: the length of ∂ tr Σ of the batch's own examples. Middle and right: "
        "section 4's correction, which is 0 where the gradients of training and test set have one distribution, in units "
        "of the average form, between two evaluations; over how far the gap has opened at the second."
    },
    departures=(
        "The runs are those of `generalization_gap/sgd_gd` and `generalization_gap/gap`.",
        "The paper defines no statistic. This one is section 4's correction, η G_train · (G_train − G_test), in units of "
        "η tr Σ/N, with what `generalization_gap/gap` puts back into its estimate. With gradient descent it is the predicted change "
        "over its average form.",
        "That it rises with the gap in the course of one training says little where both only rise: a counter of the steps has the "
        "same rank correlation, 1. Runs with unlike gaps at one moment were not compared.",
        "With SGD it is a few hundredths at most and there are 10 evaluations: were it all noise, the rank correlation of "
        "one seed would scatter by a third about 0. The last claim says how much is noise.",
        "|∂ tr Σ| is that of a batch of 100, which is longer than that of the training set by what differs from batch to batch, at "
        "step 0 and at the last one.",
    ),
    draw=draw,
    claims=claims,
)
