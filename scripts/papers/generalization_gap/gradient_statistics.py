"""generalization_gap, introduction and footnote 5: how ∂ tr Σ grows, and how gradients of training and test set part."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from papers.generalization_gap import GD_KNOWN, measured_rows
from papers.generalization_gap.gap import NAMES, changes, evaluated_gap
from sgdscope.claims import Claim, Late, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import COLOURS, Picture, Stroke, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

CUTS = "cuts160"  # the probe whose average has ∂ tr Σ
LARGE = 1.0  # decimal logarithm of how many times as large is very large
TIED = 0.5  # rank correlation
IN_UNITS = "the units: ‖G_train‖² at first, of which the estimate falls to 0 as the training set is fitted"
FEWEST_PARTS = 5  # of training, between evaluations


# ------------------------------------------------------------------------------------------- what is measured


def slope_of_trace(run: Run) -> Line:
    """|∂ tr Σ| of the batch at the measured steps: equation 13's right side is half of η/n times it."""
    step, norm = measured_rows(run, [f"{CUTS}.average.norm"])
    (probe,) = [one for one in run.config["probes"] if one["label"] == CUTS]
    return Line(step, norm * 2 * run.config["batch_size"] / probe["learning_rate"])


def divergence(run: Run) -> Line:
    """The size of the correction over the average form between evaluations, over the gap at the later one.

    Both are estimated without bias at each step, so that sums over steps are divided, not the single ones.
    """
    step, correction, average = changes(run, "correction", "average")
    gap = evaluated_gap(run)
    edges = np.searchsorted(step, gap.x)
    parts = [slice(begin, end) for begin, end in zip(edges, edges[1:]) if end > begin]
    if len(parts) < FEWEST_PARTS:
        raise TooLittle(f"{run.folder.name} is evaluated {len(parts) + 1} times, of which it takes {FEWEST_PARTS + 1}")
    opened = gap.y[1:][np.diff(edges) > 0]
    return Line(opened, np.array([abs(correction[part].sum() / average[part].sum()) for part in parts]))


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
        panel.set(xlabel="test − training loss since step 0", title=title, yscale="log")
        panel.set_ylabel("|correction| / average form")
    return {"gradient_statistics": figure}


def _looks(lines: Sequence[Line]) -> list[Stroke]:
    return [Stroke("", colour, width=0.9) for colour in (COLOURS * len(lines))[: len(lines)]]


# -------------------------------------------------------------------------------------------- the claims


def growth_of_trace_slope(run: Run) -> Sample:
    """The decimal logarithm of |∂ tr Σ| at the last measured step over that at step 0."""
    line = slope_of_trace(run)
    return Sample(math.log10(line.y[-1] / line.y[0]))


def ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value in their order."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def tie(run: Run) -> Sample:
    """The rank correlation of divergence and gap."""
    line = divergence(run)
    return Sample(float(np.corrcoef(ranks(line.x), ranks(line.y))[0, 1]), steps=line.x.size)


def claims(results: Results) -> list[Claim]:
    """Whether ∂ tr Σ becomes large, and whether gradients part as the gap opens."""
    found = [
        Claim(
            "∂ tr Σ becomes very large over the course of training.", "section 1, below equation 2",
            "decimal logarithm of |∂ tr Σ| of the batch at the last measured step over that at step 0",
            results.measure(growth_of_trace_slope, "sgd_gd"), LARGE, "1: ten times as large is very large",
        )
    ]  # fmt: skip
    for name, title in NAMES.items():
        found.append(
            Claim(
                f"The divergence of the gradients of training and test set is a statistic for overfitting ({title}).",
                "section 4, footnote 5",
                "rank correlation, in the course of training, of the size of the correction over the average form with the gap",
                results.measure(tie, name), TIED, "half: more of a tie than not",
                decided_after=Late(IN_UNITS, GD_KNOWN) if name == "gd" else Late(IN_UNITS),
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
        "the size of section 4's correction, which is 0 where the gradients of training and test set have one distribution, in units "
        "of the average form, between two evaluations; over how far the gap has opened at the second."
    },
    departures=(
        "The runs are those of `generalization_gap/sgd_gd` and `generalization_gap/gap`.",
        "The paper defines no statistic. This one is the size of section 4's correction, η G_train · (G_train − G_test), in "
        "units of η tr Σ/N.",
    ),
    draw=draw,
    claims=claims,
)
