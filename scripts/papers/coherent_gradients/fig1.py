"""coherent_gradients, figure 1: how fast training sets with noise in their labels are learned."""

from __future__ import annotations

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
    steps_until,
)
from sgdscope.claims import Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke, add_header, new_figure, shades
from sgdscope.results import Results
from sgdscope.runs import Run

NAMES = tuple(noise_name(percent) for percent in NOISE)
CLEAN, ALL_NOISE = NAMES[0], NAMES[-1]
LEVELS = (0.5, 0.7, 0.9)  # of accuracy
EARLY = 10  # steps: the beginning of training
FITTED = 0.99  # of the training set: memorized
PEAK = 0.01  # of test accuracy: less is no loss to speak of, the highest of several being always above the last


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


def slowdown(column: str, levels: Sequence[float]) -> Callable[..., Sample]:
    """The steps until a level, geometric mean over levels, over those with the next lower noise: the least of all runs."""

    def measure(*runs: Run) -> Sample:
        logarithms = np.log([[steps_until(run, column, level) for level in levels] for run in runs])
        return Sample(float(np.exp(np.diff(logarithms.mean(axis=1)).min())))

    return measure


def nearness_to_noise(column: str) -> Callable[..., Sample]:
    """Of the steps until half of a group is learned: (group / no noise) / (all noise / group). 1 is in the middle."""

    def measure(clean: Run, mixed: Run, noise: Run) -> Sample:
        of_group = steps_until(mixed, column, HALF)
        return Sample(of_group**2 / (steps_until(clean, FIT, HALF) * steps_until(noise, FIT, HALF)))

    return measure


def nearness_to_clean(column: str) -> Callable[..., Sample]:
    """The inverse of nearness_to_noise: how near a group's rate of learning is to that without noise."""
    return lambda *runs: Sample(1 / nearness_to_noise(column)(*runs).value)


def worst_fit(*runs: Run) -> Sample:
    """The training accuracy at the end, of the run with the least."""
    return Sample(min(float(evaluated(run, FIT).y[-1]) for run in runs))


def least_drop(numbers: Sequence[float]) -> Sample:
    """The least drop from a number to the one after it."""
    return Sample(float(np.min(-np.diff(numbers))))


def drop_in_test(*runs: Run) -> Sample:
    """The least drop in the test accuracy at the end from one share of noise to the next."""
    return least_drop([evaluated(run, TEST).y[-1] for run in runs])


def drop_in_reduction(*runs: Run) -> Sample:
    """The least drop in the reduction in training loss over the early steps from one share of noise to the next."""
    lines = [loss_reduction(run) for run in runs]
    return least_drop([np.interp(EARLY, line.x, line.y) for line in lines])


def lost_after_peak(run: Run) -> Sample:
    """The highest test accuracy less the last one."""
    test = evaluated(run, TEST).y
    return Sample(float(test.max() - test[-1]))


def claims(results: Results) -> list[Claim]:
    """Whether noise slows learning, pristine examples come first, and early stopping helps."""
    measure, agreement = results.measure, "section 2.3, figure 1"
    found = [
        Claim(
            f"The more noise in the labels, the longer it takes to reach a training accuracy of {100 * level:.0f} %.",
            f"{agreement}(a), observation 1",
            "steps until then, over those with the next lower share of noise: the least of all",
            measure(slowdown(FIT, [level]), *NAMES), 1.0,
        )
        for level in LEVELS
    ]  # fmt: skip
    found.append(
        Claim(
            "Early in training the loss falls the less, the more noise there is.",
            f"{agreement}(c)",
            f"reduction in training loss over the first {EARLY} steps less that with the next higher share of noise: the "
            "least of all",
            measure(drop_in_reduction, *NAMES),
            0.0,
        )  # fmt: skip
    )
    for percent in MIXED:
        name = noise_name(percent)
        found += [
            Claim(
                f"Pristine examples are learned before corrupt ones ({percent} % noise).",
                f"{agreement}(d), observation 2",
                "steps until half of the corrupt examples are learned, over those until half of the pristine ones are",
                measure(lambda run: Sample(corrupt_later(run)), name), 1.0,
            ),
            Claim(
                f"Pristine examples are learned at a rate nearer to that without noise than to that of all noise "
                f"({percent} %).",
                f"{agreement}(d), observation 2",
                "steps until half is learned: (100 % noise / pristine) over (pristine / 0 % noise)",
                measure(nearness_to_clean(PRISTINE), CLEAN, name, ALL_NOISE), 1.0,
            ),
            Claim(
                f"Corrupt examples are learned at a rate nearer to that of all noise than to that without ({percent} %).",
                f"{agreement}(d), observation 2",
                "steps until half is learned: (corrupt / 0 % noise) over (100 % noise / corrupt)",
                measure(nearness_to_noise(CORRUPT), CLEAN, name, ALL_NOISE), 1.0,
            ),
        ]  # fmt: skip
    found += [
        Claim(
            "The fewer pristine examples there are, the more slowly they are learned.",
            f"{agreement}(d), observation 3",
            "steps until 50, 70 and 90 % of the pristine examples are learned (geometric mean), over those with the next "
            "lower share of noise: the least, 0 to 75 % noise",
            measure(slowdown(PRISTINE, LEVELS), *NAMES[:-1]), 1.0,
        ),
        Claim(
            "All variants, also that of random labels, come to be fitted.",
            f"{agreement}(a)",
            "training accuracy at the end of the variant with the least",
            measure(worst_fit, *NAMES), FITTED,
        ),
        Claim(
            "They generalize the less, the more noise there is.",
            f"{agreement}(b)",
            "test accuracy at the end less that with the next higher share of noise: the least of all",
            measure(drop_in_test, *NAMES), 0.0,
        ),
    ]  # fmt: skip
    for percent in MIXED:
        found.append(
            Claim(
                f"Stopping early generalizes better than training to the end ({percent} % noise).",
                "section 2.3, last paragraph",
                "highest test accuracy less that at the end",
                measure(lost_after_peak, noise_name(percent)),
                PEAK,
            )  # fmt: skip
        )
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
        "The paper's lines are of one seed each, as it seems; here there are two.",
        "Where it speaks of a rate of learning, the number of steps until half of the examples are learned is taken, and "
        "'nearer' is meant of its logarithm.",
    ),
    draw=draw,
    claims=claims,
)
