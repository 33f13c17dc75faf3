"""coherent_gradients, section 4 and observation (d): the whole training set as the batch, and wider networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from papers.coherent_gradients import FIT, HALF, TEST, corrupt_later, evaluated, from_step_1, slowdown_with_noise
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke, add_header, new_figure, shades
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.studies import Setting

SHARES = (0, 50, 100)  # per cent of noise
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


def drop(one: Run, other: Run) -> Sample:
    """The test accuracy at the end less that of another run."""
    return Sample(at_end(one, TEST) - at_end(other, TEST))


def claims(results: Results) -> list[Claim]:
    """Whether full batches lead to results like those of small ones, and whether width helps."""
    clean, mixed, random = (full_batch(results, noise) for noise in SHARES)
    place = "section 4, 'to use full batch leads to similar qualitative generalization results'"

    def of_widths() -> dict[str, Measurement]:
        return {
            f"{more['units']} units beside {less['units']}": results.measure(
                lambda one, other: drop(other, one), less.name, more.name
            )
            for less, more in itertools.pairwise(results.study.curve("widths"))
        }

    return [
        Claim(
            "With the whole training set as the batch, too, real labels generalize and random ones do not.", place,
            "test accuracy at the end without noise less that with all noise",
            results.measure(drop, clean, random), HALF, "half: most of what can be got",
        ),
        Claim(
            f"The test accuracy is within {SIMILAR:.0%} of that of batches of 100.",
            "ours: section 4 says only that results are similar in quality",
            "test accuracy at the end with the whole training set as the batch less that with batches of 100, without noise",
            results.measure(drop, clean, batches(results)), SIMILAR, "ours: two per cent of accuracy at most", about=0.0,
        ),
        Claim(
            "The more noise in the labels, the longer they take to learn there.", place,
            "log2 of the steps until half are fitted: by how much it grows from no noise to all, on the line that fits the shares best",
            results.measure(slowdown_with_noise(SHARES, FIT, HALF), *(full_batch(results, noise) for noise in SHARES)), 0.0, NONE,
            decided_after=Late("a trend over the shares of noise in place of each beside the next", {"quick": [1]}),
        ),
        Claim(
            f"Pristine examples are learned before corrupt ones there ({SHARES[1]} % noise).", place,
            "log2 of: steps until half of the corrupt examples are learned, over those until half of the pristine are",
            results.measure(lambda run: Sample(math.log2(corrupt_later(run))), mixed), 0.0, NONE,
        ),
        Claim(
            "Increasing capacity improves generalization.", "section 1, observation (d)",
            "difference in the test accuracy at the end, batches of 100; each width beside the next smaller one",
            of_widths(), 0.0, NONE,
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
