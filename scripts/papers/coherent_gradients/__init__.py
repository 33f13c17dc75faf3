"""The paper `coherent_gradients`: what its figures have in common here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sgdscope.claims import Sample, TooLittle
from sgdscope.figure import Paper
from sgdscope.plots.lines import Line
from sgdscope.runs import Run

NOISE = (0, 25, 50, 75, 100)  # per cent of the training examples
MIXED = (25, 50, 75)  # there are enough pristine and corrupt examples to compare them
NULLS = ("null1", "null2", "null3")  # the probe's worlds in which it is random who is corrupt
FIT = "train_accuracy"
TEST = "test_accuracy"
PRISTINE = "train_pristine_accuracy"
CORRUPT = "train_corrupt_accuracy"
HALF = 0.5  # of the examples of a group: learned
PAPER = Paper(
    about="gradients of similar examples add up, so what many examples have in common is learned first, and generalizes",
    sources=(
        "Satrajit Chatterjee. Coherent Gradients: An Approach to Understanding Generalization in Gradient "
        "Descent-based Optimization. ICLR, 2020; arXiv:2002.10657.",
    ),
    departures=(
        "The paper says 'Xavier' and not which. Here: its uniform form, with biases 0.",
        "It does not say how pixels are scaled, nor how batches are drawn. Here: to 0 … 1, and without replacement within "
        "an epoch.",
        "The winsorized gradient is the mean over the batch, where the paper writes a sum: with its learning rate of 0.1 "
        "the mean must be meant, as for plain SGD.",
        "Its curves are evaluated at log-spaced steps, on the whole training and test set.",
    ),
    sizes={
        "quick": "the first 1,000 (figures 1 to 3), 2,000 (beyond_convnet) or 6,000 (figure 4) training examples in place of "
        "60,000, the first 2,000 (figures 1 to 3) or 5,000 test examples in place of 10,000 (the first 5,000 of MNIST are the "
        "easier half), and 2,500, 1,500 or 2,000 steps in place of 100,000 or 60,000. Figures 1 to 3 go over their examples 250 "
        "times, the paper 170 times, so that random labels can be fitted, too. Figure 4 and beyond_convnet have one seed, from "
        "which nothing is concluded; so has full_batch_and_width, with 300 examples and up to 256 units",
        "desk": "24,000 training examples and 40,000 steps (figures 1 to 3), 30,000 and 30,000 (figure 4 and beyond_convnet), which are "
        "as many epochs as the paper's; full_batch_and_width with 1,000 training and 5,000 test examples and 3,000 steps",
    },
)


def noise_name(percent: int) -> str:
    """The setting of figures 1 to 3 with so much noise."""
    return f"noise{percent}"


def evaluated(run: Run, column: str) -> Line:
    """A column of eval.csv over steps."""
    table, name = run.find(f"eval.{column}")
    table.load(["step", name])
    known = np.isfinite(table[name])
    return Line(table["step"][known], table[name][known])


def steps_until(run: Run, column: str, level: float) -> float:
    """The step at which a column of eval.csv first reaches a level; between evaluations linear in log(1 + step)."""
    line = evaluated(run, column)
    reached = np.flatnonzero(line.y >= level)
    if not reached.size:
        raise TooLittle(f"{run.folder.name}: {column} does not reach {level:g}")
    after = int(reached[0])
    if after == 0:
        return float(line.x[0])
    around = slice(after - 1, after + 1)
    return float(np.expm1(np.interp(level, line.y[around], np.log1p(line.x[around]))))


def from_step_1(line: Line) -> Line:
    """Without step 0, for which a logarithmic axis has no place."""
    return Line(line.x[line.x > 0], line.y[line.x > 0])


def at_step(line: Line, step: float) -> float:
    """The value at a step, between those of the line linear in log(1 + step)."""
    return float(np.interp(np.log1p(step), np.log1p(line.x), line.y))


def corrupt_later(run: Run) -> float:
    """The steps until half of the corrupt examples are learned over those until half of the pristine ones are."""
    return steps_until(run, CORRUPT, HALF) / steps_until(run, PRISTINE, HALF)


def slowdown_with_noise(percents: Sequence[int], column: str, level: float) -> Callable[..., Sample]:
    """log2 of the steps until a level, given a run of each share of noise: by how much it grows from no noise to all.

    That is the slope of the line that fits the shares best: doublings of the steps for each 100 per cent of noise.
    """

    def measure(*runs: Run) -> Sample:
        doublings = np.log2([steps_until(run, column, level) for run in runs])
        return Sample(float(np.polyfit(np.array(percents) / 100, doublings, 1)[0]))

    return measure
