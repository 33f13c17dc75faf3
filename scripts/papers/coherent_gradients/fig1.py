"""coherent_gradients, figure 1: how fast training sets with noise in their labels are learned."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from papers.coherent_gradients import (
    CORRUPT,
    FIT,
    HALF,
    MIXED,
    NOISE,
    PRISTINE,
    TEST,
    corrupt_later,
    evaluated,
    from_step_1,
    noise_name,
    slowdown_with_noise,
    steps_until,
)
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke, add_header, new_figure, shades
from sgdscope.results import PARTS, Results
from sgdscope.runs import Run

NAMES = tuple(noise_name(percent) for percent in NOISE)
CLEAN, ALL_NOISE = NAMES[0], NAMES[-1]
LEVELS = (0.5, 0.7, 0.9)  # of accuracy
EARLY = 10  # steps: the beginning of training
FITTED = 0.995  # of the training set: what is 100 % to the nearest per cent


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The paper's four panels, every seed a line."""
    looks = [Stroke(f"{percent} % noise", colour, "-", 1.1) for percent, colour in zip(NOISE, shades(len(NOISE)))]
    figure = new_figure(8.4, 6.0)
    grid = figure.subplots(2, 2, sharex=True)
    for name, percent, look in zip(NAMES, NOISE, looks):
        runs = results.runs(name)
        _draw(grid[0, 0], runs, FIT, look)
        _draw(grid[0, 1], runs, TEST, look)
        draw_lines(grid[1, 0], [from_step_1(loss_reduction(run)) for run in runs], [look] * len(runs))
        if percent < 100:
            _draw(grid[1, 1], runs, PRISTINE, look)
        if percent > 0:
            _draw(grid[1, 1], runs, CORRUPT, Stroke(look.label, look.colour, (0, (3, 1.2)), look.width))
    for axes, label in zip(grid.flat, ("training accuracy", "test accuracy", "reduction in training loss", "learned")):
        axes.set_ylabel(label)
        axes.set_xscale("log")
    for axes in (grid[0, 0], grid[0, 1], grid[1, 1]):
        axes.set_ylim(-0.02, 1.02)
    for dash, words in (("-", "pristine"), ((0, (3, 1.2)), "corrupt")):
        grid[1, 1].plot([], [], color="#444444", linestyle=dash, label=words)
    grid[1, 1].legend(loc="upper left")
    for letter, axes in zip("abcd", grid.flat):
        axes.set_title(f"({letter})", loc="left")
    for axes in grid[1]:
        axes.set_xlabel("step")
    add_header(figure, None, looks)
    return {"fig1": figure}


def _draw(axes: Axes, runs: Sequence[Run], column: str, look: Stroke) -> None:
    draw_lines(axes, [from_step_1(evaluated(run, column)) for run in runs], [look] * len(runs))


# -------------------------------------------------------------------------------------------- the claims


def loss_reduction(run: Run) -> Line:
    """The training loss at step 0 less that at the evaluated steps."""
    loss = evaluated(run, "train_loss")
    return Line(loss.x, loss.y[0] - loss.y)


def slowdown(column: str, levels: Sequence[float]) -> Callable[[Run, Run], Sample]:
    """log2 of the steps until a level, mean over levels, less that with the next lower noise."""

    def measure(less: Run, more: Run) -> Sample:
        logarithms = np.log2([[steps_until(run, column, level) for level in levels] for run in (less, more)])
        return Sample(float(np.diff(logarithms.mean(axis=1))[0]))

    return measure


def rate(run: Run, column: str) -> float:
    """The rate of learning: 1 over the steps until half of the examples are learned."""
    return 1 / steps_until(run, column, HALF)


def nearness_to_clean(clean: Run, mixed: Run, noise: Run) -> Sample:
    """Where the rate of the pristine examples lies between that of a run with all noise, 0, and that of one without, 1."""
    with_all, without = rate(noise, FIT), rate(clean, FIT)
    return Sample((rate(mixed, PRISTINE) - with_all) / (without - with_all))


def fit(run: Run) -> Sample:
    """The training accuracy at the end."""
    return Sample(float(evaluated(run, FIT).y[-1]))


def drop_in_test(less: Run, more: Run) -> Sample:
    """The test accuracy at the end less that with the next higher share of noise."""
    return Sample(float(evaluated(less, TEST).y[-1] - evaluated(more, TEST).y[-1]))


def drop_in_reduction(less: Run, more: Run) -> Sample:
    """The reduction in training loss over the early steps less that with the next higher share of noise."""
    first, second = (np.interp(EARLY, line.x, line.y) for line in map(loss_reduction, (less, more)))
    return Sample(float(first - second))


def later(run: Run) -> Sample:
    """log2 of how many times as many steps half of the corrupt examples take as half of the pristine ones."""
    return Sample(math.log2(corrupt_later(run)))


def claims(results: Results) -> list[Claim]:
    """Whether noise slows learning, pristine examples come first, and early stopping helps."""
    measure, agreement = results.measure, "section 2.3, figure 1"
    neighbours = "each share of noise beside the next lower one"

    def of_pairs(of: Callable[[Run, Run], Sample], noise: Sequence[int] = NOISE) -> dict[str, Measurement]:
        pairs = itertools.pairwise(noise)
        return {
            f"{more} % noise beside {less} %": measure(of, noise_name(less), noise_name(more)) for less, more in pairs
        }

    found = [
        Claim(
            f"The more noise in the labels, the longer it takes to reach a training accuracy of {100 * level:.0f} %.",
            f"{agreement}(a), observation 1",
            "log2 of the steps until then: by how much it grows from no noise to all, on the line that fits the five shares best",
            measure(slowdown_with_noise(NOISE, FIT, level), *NAMES), 0.0, NONE,
            decided_after=Late("a trend over the shares of noise in place of each beside the next, as it is said 'in general'"),
        )
        for level in LEVELS
    ]  # fmt: skip
    found.append(
        Claim(
            "Early in training the loss falls the less, the more noise there is.", f"{agreement}(c)",
            f"difference in the reduction in training loss over the first {EARLY} steps; {neighbours}",
            of_pairs(drop_in_reduction), 0.0, NONE,
        )
    )  # fmt: skip
    for percent in MIXED:
        name = noise_name(percent)
        found += [
            Claim(
                f"Pristine examples are learned before corrupt ones ({percent} % noise).",
                f"{agreement}(d), observation 2",
                "log2 of: steps until half of the corrupt examples are learned, over those until half of the pristine are",
                measure(later, name), 0.0, NONE,
            ),
            Claim(
                f"Pristine examples are learned at a rate nearer to that without noise than to that of all noise "
                f"({percent} %).",
                f"{agreement}(d), observation 2",
                "where the rate, 1 over the steps until half is learned, lies between that of all noise, 0, and that without, 1",
                measure(nearness_to_clean, CLEAN, name, ALL_NOISE), 0.5, "a half: the middle between the two rates",
                decided_after=Late("the middle of the rates in place of that of the logarithms of the steps"),
            ),
        ]  # fmt: skip
    found += [
        Claim(
            "The fewer pristine examples there are, the more slowly they are learned.",
            f"{agreement}(d), observation 3",
            "log2 of the ratio of the steps until 50, 70 and 90 % of the pristine examples are learned (geometric mean); "
            f"{neighbours}, 0 to 75 %",
            of_pairs(slowdown(PRISTINE, LEVELS), NOISE[:-1]), 0.0, NONE,
        ),
        Claim(
            "All variants, also that of random labels, come to be fitted.", f"{agreement}(a)",
            "training accuracy at the end, with each share of noise",
            {f"{percent} % noise": measure(fit, noise_name(percent)) for percent in NOISE},
            FITTED, "what is 100 % to the nearest per cent",
            decided_after=Late("99.5 % in place of 99 %"),
        ),
        Claim(
            "They generalize the less, the more noise there is.", f"{agreement}(b)",
            f"difference in the test accuracy at the end; {neighbours}",
            of_pairs(drop_in_test), 0.0, NONE,
        ),
    ]  # fmt: skip
    for percent in MIXED:
        found.append(
            Claim(
                f"Stopping early generalizes better than training to the end ({percent} % noise).",
                "section 2.3, last paragraph",
                f"mean test accuracy in the best of {PARTS} parts of training, evenly on the axis of the picture, less that in the "
                "last fifth of the steps, before which these parts are",
                results.above_end(lambda run: evaluated(run, TEST), noise_name(percent)), 0.0, NONE,
                decided_after=Late("parts of training in place of single evaluations, and which parts"),
            )
        )  # fmt: skip
    return found


FIGURE = Figure(
    title="Training and test accuracy, loss, and what is learned of pristine and corrupt examples, with noisy labels",
    did="Trains a network with one hidden layer of 2048 units on MNIST with 0, 25, 50, 75 and 100 % noise in the training "
    "labels, and draws over the steps how accurate it is on training and test set, how far the training loss has fallen, "
    "and which parts of the pristine and of the corrupt examples it has learned.",
    shows={
        "fig1": "Each line is one seed. (a) Accuracy on the training set, whose labels have the noise. (b) Accuracy on the "
        "test set, whose labels have none. (c) Training loss at step 0 less that now. (d) Share of the pristine and of the "
        "corrupt examples that the network gives the labels of the training set."
    },
    departures=(
        "The paper's lines are of one seed each, as it seems; here there are five.",
        "Where it speaks of a rate of learning, 1 over the number of steps until half of the examples are learned is taken. A rate "
        "is nearer to another one of two if it lies on that side of their middle: that without noise is so much the larger one "
        "that what is learned half as fast lies about there.",
        "That corrupt examples are learned at a rate nearer to that of all noise is not asked by itself: where they are learned "
        "less than half as fast as the pristine ones, which are not learned faster than without noise, it is so.",
    ),
    draw=draw,
    claims=claims,
)
