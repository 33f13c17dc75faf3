"""generalization_gap, equation 9 over realizations of the training set, each of which a seed draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from papers.generalization_gap import measured_rows, within
from papers.generalization_gap.gap import changes
from papers.generalization_gap.l2 import moments, squared_weights
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, DASHES, RED, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.statistics import interval

EXAMPLES = (40, 160)  # N, of the training set
NAMES = tuple(f"realizations_n{examples}" for examples in EXAMPLES)
SEEN = {size: range(101, 181) for size in ("quick", "full")}  # the training sets whose results were known
OVER_SETS = Late(
    "that δg is averaged over the cuts and differs between training sets, in place of cuts of one set", SEEN
)


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


def away_from_decay(run: Run) -> float:
    """How far δg of the first step, averaged over all cuts of the training set, is from its known mean −λW, in units of that."""
    (rate,) = [one["learning_rate"] for one in run.config["probes"] if one["name"] == "sgd_gd_gap"]
    _, norm, decay = measured_rows(run, ["sgd_gd_gap.average.norm", "sgd_gd_gap.average.decay"])
    expected = rate * moments(run)[1] / run.config["batch_size"]  # λ
    of_expected = float(norm[0]) ** 2 / (expected**2 * squared_weights(run.folder, 0))
    return math.sqrt(of_expected - 2 * float(decay[0]) / expected + 1)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Each training set's first step, and the mean over training sets in the course of training."""
    figure = new_figure(9.2, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    looks = {
        "predicted": Stroke("change of the gap δε", COLOURS[4]),
        "average": Stroke("average form η tr Σ/N", COLOURS[0]),
        "correction": Stroke("predicted − average form", COLOURS[2]),
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
    """Whether η tr Σ / N is the mean over training sets, and whether δε and δg self-average."""

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
            "The paper asks whether δε self-averages. If so, it differs the less from one training set to the next, the larger they are.",
            "section 4, 'whether the quantities δε and δg self-average'",
            f"|δε/⟨δε⟩ − 1| at step 0 with N = {EXAMPLES[0]} less that with N = {EXAMPLES[1]}",
            results.measure(less_with_more(away_from_mean), *NAMES), 0.0, NONE,
        ),
        Claim(
            "The paper asks whether δg self-averages. If so, its average over the cuts differs the less from one training set to the "
            "next, the larger they are.",
            "section 4, 'whether the quantities δε and δg self-average'",
            f"|δg/⟨δg⟩ − 1|, of vectors, at step 0 with N = {EXAMPLES[0]} less that with N = {EXAMPLES[1]}",
            results.measure(less_with_more(away_from_decay), *NAMES), 0.0, NONE, decided_after=OVER_SETS,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="The change of the gap by a step on the whole training set, over many training sets",
    did="Takes for its batch B the training set of N examples, and averages over realizations of it: ⟨δε⟩ = η tr Σ/N. It "
    "leaves open whether δε and δg self-average. It shows no picture: this one is ours.",
    shows={
        "realizations": "Left: each grey point is a training set; with it stand mean and 95 % interval, and the known mean "
        "as a line. Right: means over the training sets in the course of training by gradient descent, of its first step and "
        "from step 100 on. The average form goes on although the training gradient falls to 0; the estimate of the correction then is "
        "minus the average form, whatever is learned, as the predicted change is 0."
    },
    departures=(
        "A linear model with quadratic loss on Gaussian inputs, labels that say nothing of them, as in "
        "`generalization_gap/l2`, whose tr Σ is known. Weights are drawn before the training set is seen: only of those is "
        "the mean over training sets η tr Σ/N.",
        "δε is taken to first order in η (equation 9, left), which `generalization_gap/gap` judges.",
        "Sizes and seeds were chosen after runs of 40 other seeds with training sets of 20 and 80: their spread asked for more "
        "seeds, and 20 examples can be fitted altogether, so that the average form goes to 0 as well. Claims and borders stayed.",
        "δg is that of equation 13's right side, the average over all cuts of a training set into halves, each in both orders; its "
        "mean over training sets is −λW, as `generalization_gap/l2` has it. That it nears its mean as averages of more examples do "
        "is no surprise, nor that δε does not, as long as the mean gradient is not 0: ⟨δε⟩ falls as 1/N, how much it differs as 1/√N.",
        "The paper says of neither that it self-averages, and of the correction, which the training set's own batch cannot tell from "
        "the average form, nothing is claimed here any more.",
    ),
    draw=draw,
    claims=claims,
)
