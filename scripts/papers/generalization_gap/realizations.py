"""generalization_gap, equation 9 over realizations of the training set, each of which a seed draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from papers.generalization_gap import measured_rows, within
from papers.generalization_gap.gap import changes, late_correction
from papers.generalization_gap.l2 import moments, squared_weights
from sgdscope.claims import NONE, Claim, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, DASHES, RED, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.statistics import interval

EXAMPLES = (40, 160)  # N, of the training set
NAMES = tuple(f"realizations_n{examples}" for examples in EXAMPLES)
DRAWS = 40  # cuts of the training set into halves


# --------------------------------------------------------------------------------- measured, and known


def known(run: Run) -> float:
    """η tr Σ / N of the distribution at the weights of step 0."""
    constant, slope = moments(run)
    trace = constant + slope * squared_weights(run.folder, 0)
    return float(run.config["update"]["learning_rate"] * trace / run.config["batch_size"])


def of_known(run: Run) -> float:
    """δε of the first step, to first order in η, in units of its known mean."""
    step, predicted = changes(run, "predicted")
    if step[0] != 0:
        raise ValueError(f"{run.folder.name} does not measure step 0")
    return float(predicted[0]) / known(run)


def spread_of_cuts(run: Run) -> float:
    """The standard deviation of δg over the cuts of the training set into halves, in units of its mean."""
    _, error = measured_rows(run, ["sgd_gd_gap.average.error"])
    return float(error[0]) * math.sqrt(DRAWS)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Each training set's first step, and the mean over training sets in the course of training."""
    figure = new_figure(9.2, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    looks = {
        "predicted": Stroke("change of the gap δε", COLOURS[4]),
        "average": Stroke("average form η tr Σ/N", COLOURS[0]),
        "correction": Stroke("correction of section 4", COLOURS[2]),
    }
    for place, (examples, name, dash, marker) in enumerate(zip(EXAMPLES, NAMES, DASHES[:2], "os", strict=True)):
        runs = results.runs(name)
        ratios = [of_known(run) for run in runs]
        left.plot(np.full(len(ratios), place), ratios, "o", color="#999999", markersize=3, alpha=0.6)
        low, high = interval(ratios)
        left.errorbar(
            [place + 0.15], [np.mean(ratios)], [[np.mean(ratios) - low], [high - np.mean(ratios)]],
            color=COLOURS[4], fmt="o", markersize=4, capsize=3,
        )  # fmt: skip
        for value, look in looks.items():
            step, means = changes(runs[0], value)[0], np.mean([changes(run, value)[1] / known(run) for run in runs], 0)
            # The first step stands apart: nothing between it and the next one is measured, where most changes.
            right.plot(step[1:] + 1, means[1:], color=look.colour, linestyle=dash, linewidth=1.2)
            right.plot(step[:1] + 1, means[:1], marker, color=look.colour, markersize=4, fillstyle="none")
        right.plot([], [], color="#444444", linestyle=dash, marker=marker, fillstyle="none", label=f"N = {examples}")
    left.axhline(1, color=RED, linewidth=1.0)
    left.set_xticks(range(len(EXAMPLES)), [f"N = {examples}" for examples in EXAMPLES])
    left.set(xlim=(-0.5, len(EXAMPLES) - 0.5), ylabel="δε / (η tr Σ/N) of the first step")
    right.axhline(0, color="#999999", linewidth=0.8, zorder=1)
    right.set(xscale="log", xlabel="step, counted from 1", ylabel="mean over training sets / (η tr Σ/N at step 0)")
    right.legend(fontsize=8)
    add_header(figure, None, list(looks.values()))
    return {"realizations": figure}


# -------------------------------------------------------------------------------------------- the claims


def less_with_more(of: Callable[[Run], float]) -> Callable[[Run, Run], Sample]:
    """By how much a number of the larger training set is below that of the smaller one."""
    return lambda few, many: Sample(of(few) - of(many))


def away_from_mean(run: Run) -> float:
    """How far δε of the first step is from its known mean, in units of that."""
    return abs(of_known(run) - 1)


def claims(results: Results) -> list[Claim]:
    """Whether η tr Σ / N is the mean over training sets, what becomes of it, and whether it self-averages."""

    def measure(of: Callable[[Run], Sample]) -> dict[str, Measurement]:
        return {f"N = {examples}": results.measure(of, name) for examples, name in zip(EXAMPLES, NAMES, strict=True)}

    sizes = " and ".join(str(examples) for examples in EXAMPLES)
    return [
        Claim(
            "On average over training sets the gap changes by η tr Σ/N with the size N of the training set.",
            "equation 9, right",
            f"change of the gap at step 0 over its known mean, N = {sizes}",
            measure(lambda run: Sample(of_known(run))), 0.2, within(0.2), about=1.0,
        ),
        Claim(
            "As the model is fitted to the training set, a correction is needed.", "section 4",
            f"size of the mean correction over the mean average form, last quarter of the steps, N = {sizes}",
            measure(late_correction), 0.1, "a tenth: less changes little",
        ),
        Claim(
            "δε self-averages: it differs the less from one training set to the next, the larger they are.",
            "section 4, 'whether the quantities δε and δg self-average'",
            f"|δε/⟨δε⟩ − 1| at step 0 with N = {EXAMPLES[0]} less that with N = {EXAMPLES[1]}",
            results.measure(less_with_more(away_from_mean), *NAMES), 0.0, NONE,
        ),
        Claim(
            "δg self-averages: it differs the less from one cut into half-batches to the next, the larger they are.",
            "section 4, 'whether the quantities δε and δg self-average'",
            f"standard deviation over the cuts, in units of ⟨δg⟩, with N = {EXAMPLES[0]} less that with N = {EXAMPLES[1]}",
            results.measure(less_with_more(spread_of_cuts), *NAMES), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="The change of the gap by a step on the whole training set, over many training sets",
    did="Takes for its batch B the training set of N examples, and averages over realizations of it: ⟨δε⟩ = η tr Σ/N. It "
    "leaves open whether δε and δg self-average. It shows no picture: this one is ours.",
    shows={
        "realizations": "Left: each grey point is a training set; with it stand mean and 95 % interval, and the known mean "
        "as a line. Right: means over the training sets in the course of training by gradient descent, of its first step and "
        "from step 100 on; the average form goes on although the training gradient falls to 0, and the correction takes it back."
    },
    departures=(
        "A linear model with quadratic loss on Gaussian inputs, labels that say nothing of them, as in "
        "`generalization_gap/l2`, whose tr Σ is known. Weights are drawn before the training set is seen: only of those is "
        "the mean over training sets η tr Σ/N.",
        "δε is taken to first order in η (equation 9, left), which `generalization_gap/gap` judges.",
        "Sizes and seeds were chosen after runs of 40 other seeds with training sets of 20 and 80: their spread asked for more "
        "seeds, and 20 examples can be fitted altogether, so that the average form goes to 0 as well. Claims and borders stayed.",
        "δg is that of one training set, over its cuts into halves, each in both orders.",
    ),
    draw=draw,
    claims=claims,
)
