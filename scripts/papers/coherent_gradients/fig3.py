"""coherent_gradients, figure 3: what a mean pristine and a mean corrupt example contribute to the first steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.coherent_gradients import MIXED, noise_name
from papers.coherent_gradients._worlds import LOOKS, WORLDS, column, draw_worlds
from sgdscope.claims import Claim, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import DASHES, Axes, Picture, Stroke
from sgdscope.results import Results
from sgdscope.runs import Run

OF = "batch."  # the probe's columns
PARTS = ("i_p", "i_c")
FIRST = 10  # steps


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
    for part, look in zip(PARTS, LOOKS):
        lines = [Line(np.arange(1, FIRST + 1), first_steps(run, column(OF, world, part))) for run in runs]
        draw_lines(axes, lines, [Stroke(look.label, look.colour, dash, look.width) for dash in DASHES[: len(runs)]])


# -------------------------------------------------------------------------------------------- the claims


def lead(run: Run, world: str) -> float:
    """(i_p − i_c) / (|i_p| + |i_c|) after the first steps: -1 to 1, however long the gradients are."""
    i_p, i_c = (float(first_steps(run, column(OF, world, part))[-1]) for part in PARTS)
    return (i_p - i_c) / (abs(i_p) + abs(i_c))


def lead_over_nulls(run: Run) -> Sample:
    """The lead of the real data less the largest of the null worlds."""
    return Sample(lead(run, "") - max(lead(run, world) for world in WORLDS[1:]))


def claims(results: Results) -> list[Claim]:
    """Whether a pristine example contributes more than a corrupt one, and more so than chance would have it."""
    quantity = f"(iᵖ − iᶜ) / (|iᵖ| + |iᶜ|) after {FIRST} steps"
    found = []
    for percent in MIXED:
        name, where = noise_name(percent), f"({percent} % noise)"
        found += [
            Claim(
                f"In the first steps a mean pristine example brings the loss down by more than a mean corrupt one {where}.",
                "section 2.4, figure 3, row 1", quantity,
                results.measure(lambda run: Sample(lead(run, "")), name), 0.0,
            ),
            Claim(
                f"The difference is larger than chance would have it {where}.",
                "section 2.4, figure 3, rows 2 to 4",
                f"{quantity}, less the largest of 3 null worlds",
                results.measure(lead_over_nulls, name), 0.0,
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
        "in the scale of the real ones. One seed is drawn in full lines, the other dashed."
    },
    departures=(
        "The paper samples 400 examples and 600 weights. Here it is all weights and all examples of each batch.",
        "It divides by the number of pristine (or corrupt) examples. Here each step is divided by their number in its own "
        "batch, which differs from step to step.",
    ),
    draw=draw,
    claims=claims,
)
