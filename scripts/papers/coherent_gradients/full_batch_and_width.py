"""coherent_gradients, section 4 and observation (d): the whole training set as the batch, and wider networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from papers.coherent_gradients import FIT, HALF, TEST, corrupt_later, evaluated, from_step_1, steps_until
from sgdscope.claims import NONE, Claim, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke, add_header, new_figure, shades
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.studies import Setting

MIXED, ALL_NOISE = 50, 100  # per cent
SIMILAR = 0.02  # of test accuracy


def full_batch(results: Results, noise: int) -> str:
    """The setting with the whole training set as the batch and so much noise."""
    (setting,) = results.study.curve("full_batch", noise=noise)
    return setting.name


def batches(results: Results) -> str:
    """The setting with batches of 100, without noise."""
    (setting,) = results.study.curve("batches")
    return setting.name


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Training (dashed) and test accuracy over the steps, for shares of noise and for widths; every seed a line."""
    results.need_some()
    figure = new_figure(9.0, 3.9)
    panels = figure.subplots(1, 2, sharey=True)
    _draw(
        panels[0], results, results.study.curve("full_batch"), "{noise} % noise", "the whole training set as the batch"
    )
    _draw(panels[1], results, results.study.curve("widths"), "{units} units", "batches of 100, no noise")
    panels[0].set_ylabel("accuracy")
    add_header(figure, None, [Stroke("test set", "#444444"), Stroke("training set", "#444444", (0, (3, 1.2)))])
    return {"full_batch_and_width": figure}


def _draw(axes: Axes, results: Results, settings: Sequence[Setting], words: str, title: str) -> None:
    for setting, colour in zip(settings, shades(len(settings))):
        runs = [outcome.run for outcome in results.of(setting) if outcome.run]
        for column, dash in ((TEST, "-"), (FIT, (0, (3, 1.2)))):
            draw_lines(
                axes, [from_step_1(evaluated(run, column)) for run in runs], [Stroke("", colour, dash, 0.9)] * len(runs)
            )
        axes.plot([], [], color=colour, label=words.format(**setting.values))
    axes.set(xscale="log", xlabel="step", title=title, ylim=(-0.02, 1.02))
    axes.legend(fontsize=8)


# -------------------------------------------------------------------------------------------- the claims


def at_end(run: Run, column: str) -> float:
    """The last value of a column."""
    return float(evaluated(run, column).y[-1])


def less(one: Run, other: Run) -> Sample:
    """The test accuracy at the end less that of another run."""
    return Sample(at_end(one, TEST) - at_end(other, TEST))


def slower(one: Run, other: Run) -> Sample:
    """The binary logarithm of how many times as many steps the second of two runs takes to fit half of its labels."""
    return Sample(math.log2(steps_until(other, FIT, HALF) / steps_until(one, FIT, HALF)))


def claims(results: Results) -> list[Claim]:
    """Whether full batches lead to results like those of small ones, and whether width helps."""
    clean, mixed, random = (full_batch(results, noise) for noise in (0, MIXED, ALL_NOISE))
    place = "section 4, 'to use full batch leads to similar qualitative generalization results'"

    def of_pairs(of: Callable[[Run, Run], Sample], curve: str, value: str, words: str) -> dict[str, Measurement]:
        return {
            words.format(more[value], less[value]): results.measure(of, less.name, more.name)
            for less, more in itertools.pairwise(results.study.curve(curve))
        }

    return [
        Claim(
            "With the whole training set as the batch, too, real labels generalize and random ones do not.", place,
            "test accuracy at the end without noise less that with all noise",
            results.measure(less, clean, random), HALF, "half: most of what can be got",
        ),
        Claim(
            "The test accuracy is similar to that of batches of 100.", place,
            "test accuracy at the end with the whole training set as the batch less that with batches of 100, without noise",
            results.measure(less, clean, batches(results)), SIMILAR, "two per cent of accuracy at most", about=0.0,
        ),
        Claim(
            "The more noise in the labels, the longer they take to learn there.", place,
            "log2 of the ratio of the steps until half are fitted; each share of noise beside the next lower one",
            of_pairs(slower, "full_batch", "noise", "{} % noise beside {} %"), 0.0, NONE,
        ),
        Claim(
            f"Pristine examples are learned before corrupt ones there ({MIXED} % noise).", place,
            "log2 of: steps until half of the corrupt examples are learned, over those until half of the pristine are",
            results.measure(lambda run: Sample(math.log2(corrupt_later(run))), mixed), 0.0, NONE,
        ),
        Claim(
            "Increasing capacity improves generalization.", "section 1, observation (d)",
            "difference in the test accuracy at the end, batches of 100; each width beside the next smaller one",
            of_pairs(lambda one, other: less(other, one), "widths", "units", "{} units beside {}"), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Noisy labels with the whole training set as the batch, and networks of several widths",
    did="Says that the experiment of figure 1 leads to similar results where the whole training set is the batch, and leaves for "
    "later how coherent gradients account for it that wider networks generalize better. It shows neither.",
    shows={"full_batch_and_width": "Each line is one seed."},
    departures=(
        "All of it is ours. The whole training set has few examples at the desk: 1,000, in 3,000 steps; batches of 100 make as "
        "many steps.",
    ),
    draw=draw,
    claims=claims,
    unjudged={"quick": "the networks have up to 256 units, there are 300 examples, and one seed"},
)
