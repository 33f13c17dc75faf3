"""coherent_gradients, figure 3: what a mean pristine and a mean corrupt example contribute to the first steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.coherent_gradients import MIXED, evaluated, noise_name
from papers.coherent_gradients._shares import MIN_FIRST, share
from papers.coherent_gradients._worlds import LOOKS, WORLDS, column, draw_worlds
from sgdscope.claims import NONE, Claim, Late, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke
from sgdscope.results import Results
from sgdscope.runs import Run

OF = "batch."  # the probe's columns
PARTS = ("i_p", "i_c")
FIRST = 10  # steps
THIN = 0.8  # of a line, of which there is one for each seed


def first_steps(run: Run, name: str) -> np.ndarray:
    """A column of the probe at the first steps."""
    run.metrics.load(["step", name])
    values = run.metrics[name][run.metrics["step"] < FIRST]
    if values.size < FIRST or not np.isfinite(values).all():
        raise TooLittle(f"{run.folder.name} does not measure {name} at each of the first {FIRST} steps")
    return values


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The real data and the null worlds for each share of noise."""
    figure, grid = draw_worlds(results, _draw_panel, "col", "steps so far", r"$i^p_t$ and $i^c_t$")
    for axes in grid[0]:
        axes.set_ylim(bottom=0)
    return {"fig3": figure}


def _draw_panel(axes: Axes, runs: Sequence[Run], world: str) -> None:
    for part, look in zip(PARTS, LOOKS, strict=True):
        lines = [Line(np.arange(1, FIRST + 1), first_steps(run, column(OF, world, part))) for run in runs]
        draw_lines(axes, lines, [Stroke(look.label, look.colour, look.dash, THIN)] * len(runs))


# -------------------------------------------------------------------------------------------- the claims


def lead(run: Run, world: str) -> float:
    """Of the whole training set: fᵖ / |p| − fᶜ / |c| over the sum of their magnitudes, mean over the first steps; −1 to 1.

    Among the examples of a batch each one's part holds the square of its own gradient, which is much of it; among all
    examples, for which the paper wishes, it is little.
    """
    pristine = float(evaluated(run, "proper_accuracy").y[-1])
    f_p, f_c = (share(run, world, part) for part in ("f_p", "f_c"))
    first = f_p.x < FIRST
    if np.count_nonzero(first) < MIN_FIRST:
        raise TooLittle(f"{run.folder.name} measures the whole set at too few of the first {FIRST} steps")
    of_p, of_c = f_p.y[first] / pristine, f_c.y[first] / (1 - pristine)
    return float(np.mean((of_p - of_c) / (abs(of_p) + abs(of_c))))


def claims(results: Results) -> list[Claim]:
    """Whether a pristine example contributes more than a corrupt one, and more so than chance would have it."""
    quantity = f"(p − c) / (|p| + |c|), mean over the measured ones of the first {FIRST} steps; p, c: what a mean pristine and a "
    quantity += "mean corrupt example of the whole training set contribute"
    after = Late("the whole training set in place of batches")
    found = []
    for percent in MIXED:
        name, where = noise_name(percent), f"({percent} % noise)"
        found += [
            Claim(
                f"In the first steps a mean pristine example brings the loss down by more than a mean corrupt one {where}.",
                "section 2.4, figure 3, row 1", quantity,
                results.measure(lambda run: Sample(lead(run, "")), name), 0.0, NONE, decided_after=after,
            ),
            Claim(
                f"The difference is larger than chance would have it {where}.",
                "section 2.4, figure 3, rows 2 to 4",
                f"{quantity}; less the mean of 3 null worlds, against all permutations of the worlds",
                results.of_worlds(lambda run: [lead(run, world) for world in WORLDS], name), 0.0, NONE, decided_after=after,
            ),
        ]  # fmt: skip
    return found


FIGURE = Figure(
    title="What a mean pristine and a mean corrupt example contribute to the first 10 steps, against null worlds",
    did="Adds up over the first ten steps what a mean pristine and a mean corrupt example contribute to the squared norm "
    "of the gradient, which allows for there being more of one kind, and compares it with worlds in which the designations "
    "are permuted. It finds the result 'somewhat significant but not overwhelmingly so', and wishes for all examples and "
    "all weights in place of a sample.",
    shows={
        "fig3": "First row: the real designations. Other rows: three worlds in which it is random who is called corrupt, "
        "in the scale of the real ones. Each line is one seed."
    },
    departures=(
        "The paper samples 400 examples and 600 weights. The picture has all weights and all examples of each batch, the claims "
        "those of the whole training set.",
        "It divides by the number of pristine (or corrupt) examples. Here each step is divided by their number in its own "
        "batch, which differs from step to step.",
    ),
    draw=draw,
    claims=claims,
)
