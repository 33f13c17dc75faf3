"""coherent_gradients, section 1, observation (f): what is common is learned first, even of random labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgdscope.claims import Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Picture, new_figure, shades
from sgdscope.results import Results
from sgdscope.runs import Run, Table

NAME = "patterns"
BINS = 8  # of the picture, of equally many points
THIRDS = ("the third with the least in common", "the middle third", "the third with the most in common")


# ------------------------------------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Examples:
    """The training examples; [examples] each."""

    digit: np.ndarray  # what they show
    label: np.ndarray  # random
    first_right: np.ndarray  # the evaluated step; infinite if it was not before the end

    @staticmethod
    def of(run: Run) -> Examples:
        """From the run's learned.csv."""
        names = ["original_label", "label", "first_right"]
        table = Table.open(run.folder / "learned.csv", names)
        table.load(names)
        digit, label, first = (table[name] for name in names)
        return Examples(digit.astype(int), label.astype(int), np.where(np.isnan(first), np.inf, first))

    @property
    def cell(self) -> np.ndarray:
        """A number for each pair of digit and label."""
        return self.digit * (self.label.max() + 1) + self.label

    @property
    def common(self) -> np.ndarray:
        """How many times as many examples of the same digit have the same label as chance alone would give it."""
        of_digit, of_label = np.bincount(self.digit)[self.digit], np.bincount(self.label)[self.label]
        return np.bincount(self.cell)[self.cell] * self.digit.size / (of_digit * of_label)

    @property
    def lateness(self) -> np.ndarray:
        """The place of each in the order in which they are right for the first time, from 0 to 1."""
        return (ranks(self.first_right) - 0.5) / self.first_right.size


def ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value in their order, counted from 1; equal ones share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def tie(run: Run) -> Sample:
    """The rank correlation of what examples have in common with how early they are right."""
    examples = Examples.of(run)
    return Sample(float(np.corrcoef(ranks(examples.common), -examples.lateness)[0, 1]))


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """How soon each third is right, every seed a line; and when the examples of each digit and label are."""
    figure = new_figure(9.2, 3.9)
    left, right = figure.subplots(1, 2)
    cells = []
    for i, run in enumerate(results.runs(NAME)):
        examples = Examples.of(run)
        order = np.argsort(examples.common, kind="stable")
        for third, colour, words in zip(np.array_split(order, len(THIRDS)), shades(len(THIRDS)), THIRDS):
            step = np.sort(examples.first_right[third])
            share = np.arange(1, step.size + 1) / step.size
            known = np.isfinite(step)
            left.step(
                step[known] + 1, share[known], where="post", color=colour, linewidth=0.9, label="" if i else words
            )
        _, first, cell = np.unique(examples.cell, return_index=True, return_inverse=True)
        means = np.bincount(cell, examples.lateness) / np.bincount(cell)
        cells.append((examples.common[first], means))
    common, late = np.concatenate(cells, axis=1)
    right.plot(common, late, "o", color="#999999", markersize=2.5, alpha=0.6)
    bins = np.array_split(np.argsort(common), BINS)
    right.plot(
        [common[one].mean() for one in bins], [late[one].mean() for one in bins], "o", color=COLOURS[0], markersize=6
    )
    left.set(xscale="log", xlabel="step, counted from 1", ylabel="share that has been right", ylim=(0, 1))
    left.legend(fontsize=8)
    right.axhline(0.5, color=RED, linewidth=1.0)
    right.set(
        xlabel="how often the digit has the label, 1: as by chance", ylabel="first right: 0 the first, 1 the last"
    )
    right.set_title("each digit with each label")
    return {"patterns": figure}


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether what is common is learned first."""
    return [
        Claim(
            "Gradient descent detects common patterns even when trained with random labels.", "section 1, observation (f)",
            "rank correlation of how often an example's digit has its label, in units of chance, with how early it is right for the "
            "first time, often by chance",
            results.measure(tie, NAME), 0.0, "0: what examples have in common does not matter",
        )
    ]  # fmt: skip


FIGURE = Figure(
    title="What random labels have in common by chance is learned first",
    did="Notes that gradient descent detects common patterns even when trained with random labels, and leaves it for later how "
    "coherent gradients account for it. It shows no picture: this one is ours.",
    shows={
        "patterns": "All labels are random, so that some digits have some labels more often than others by chance alone: what "
        "their examples have in common. Left: each line is one seed, the share of training examples that have been right at an "
        "evaluation so far. Right: each grey point is a digit with one of the labels, of all seeds, the blue ones their means; on the "
        "red line examples are learned neither sooner nor later than others."
    },
    departures=(
        "All of it is ours. The paper has the observation from Chatterjee and Mishchenko (2019), who look for patterns in trained "
        "networks; here examples are taken to be similar if they show the same digit.",
        "An example is right for the first time at one of 20 evaluations a decade. Many are so by chance: in the quick variant "
        "more than half of them have been right by step 10. When an example is learned, the last evaluation at which it was wrong "
        "would tell, which is not recorded.",
        "400 steps on 1,000 images, in the desk variant 10,000 on 24,000, in the full one 25,000 on 60,000: about 40 epochs.",
    ),
    draw=draw,
    claims=claims,
)
