"""coherent_gradients, figure 2: the shares of pristine and corrupt examples in the reduction in loss of each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from figures.coherent_gradients import CORRUPT, MIXED, noise_jobs, noise_name, steps_until
from figures.coherent_gradients._worlds import LOOKS, WORLDS, column, draw_worlds
from reproduction.claims import Claim, Sample, TooLittle, columns_of, mean
from reproduction.figure import Figure, Job
from reproduction.results import Results
from sgdplot.lines import Line
from sgdplot.panels import draw_lines
from sgdplot.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

PARTS = ("f_p", "f_c")
FIRST = 10  # steps: before the curves of the real data cross
LEARNING = (0.5, 0.9)  # of the corrupt examples: in between, they are being learned
PER_DECADE = 12  # means over steps that are drawn


def jobs(quick: bool) -> list[Job]:
    """The shares of noise at which there are both kinds of examples."""
    return noise_jobs(MIXED, quick)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The real data and the null worlds for each share of noise."""
    figure, grid = draw_worlds(results, _draw_panel, True, "step, counted from 1", r"$f^p_t$ and $f^c_t$")
    for axes in grid.flat:
        axes.set_xscale("log")
    return {"fig2": figure}


def _draw_panel(axes: Axes, runs: Sequence[Run], world: str) -> None:
    axes.axhline(0.5, color="#999999", linewidth=0.8, zorder=1)
    for part, look in zip(PARTS, LOOKS):
        draw_lines(axes, [_means(run, column(world, part)) for run in runs], [look] * len(runs))


def _means(run: Run, name: str) -> Line:
    """Over runs of steps that are equally long on a logarithmic scale."""
    step, values = columns_of(run, ["step", name])
    edges = np.unique(np.floor(10 ** (np.arange(0, np.log10(step[-1] + 2), 1 / PER_DECADE))))
    bins = np.digitize(step + 1, edges)
    used = np.unique(bins)
    means = [[(step[bins == one] + 1).mean(), values[bins == one].mean()] for one in used]
    return Line(*np.array(means).T)


# -------------------------------------------------------------------------------------------- the claims


def lead_first(run: Run, world: str) -> Sample:
    """Mean of f_p − f_c over the first steps; of its error no more is known than what seeds tell."""
    run.metrics.load(["step", column(world, "f_p"), column(world, "f_c")])
    lead = run.metrics[column(world, "f_p")] - run.metrics[column(world, "f_c")]
    first = lead[(run.metrics["step"] < FIRST) & np.isfinite(lead)]
    if first.size < FIRST:
        raise TooLittle(f"{run.folder.name} measures {first.size} of the first {FIRST} steps")
    return Sample(float(first.mean()), steps=FIRST)


def lead_later(run: Run, world: str) -> Sample:
    """Mean of f_p − f_c over the steps in which the corrupt examples are being learned."""
    begin, end = (steps_until(run, CORRUPT, share) for share in LEARNING)
    f_p, f_c = columns_of(run, [column(world, "f_p"), column(world, "f_c")], begin, end)
    return mean(f_p - f_c)


def negative(sample: Sample) -> Sample:
    """Of the other sign."""
    return Sample(-sample.value, sample.error, sample.steps)


def least(samples: list[Sample]) -> Sample:
    """The one with the least value."""
    return min(samples, key=lambda sample: sample.value)


def corrupt_later(run: Run) -> Sample:
    """Mean of f_c − f_p over the later steps."""
    return negative(lead_later(run, ""))


def corrupt_throughout(run: Run) -> Sample:
    """Mean of f_c − f_p over the first steps, or over the later ones, where it is less."""
    return least([negative(lead_first(run, "")), negative(lead_later(run, ""))])


def nulls_on_their_side(sign: int) -> Callable[[Run], Sample]:
    """Mean of f_p − f_c, times `sign`, over the later steps of the null worlds: the least."""

    def measure(run: Run) -> Sample:
        leads = [lead_later(run, world) for world in WORLDS[1:]]
        return least(leads if sign > 0 else [negative(lead) for lead in leads])

    return measure


def fall(run: Run, world: str) -> float:
    """Mean of f_p over the first steps less that over the later ones; half of that of f_p − f_c, as they add up to 1."""
    return (lead_first(run, world).value - lead_later(run, world).value) / 2


def falls_more(run: Run) -> Sample:
    """The fall of f_p less the largest of those of the null worlds."""
    return Sample(fall(run, "") - max(fall(run, world) for world in WORLDS[1:]))


def claims(results: Results) -> list[Claim]:
    """Whether pristine examples drive the first steps and corrupt ones the later, and chance does not make it so."""
    measure, place = results.measure, "section 2.4, figure 2"
    first = f"over the first {FIRST} steps"
    later = "while corrupt examples are learned, from half of them to nine tenths"
    found = []
    for percent in MIXED:
        name, where = noise_name(percent), f"({percent} % noise)"
        sign, side = (1, "above") if percent <= 50 else (-1, "below")
        symbol = "fᵖ − fᶜ" if sign > 0 else "fᶜ − fᵖ"
        if percent <= 50:
            found += [
                Claim(
                    f"At first the pristine examples bring down the loss by more than the corrupt ones {where}.",
                    f"{place}, row 1", f"mean of fᵖ − fᶜ {first}", measure(lambda run: lead_first(run, ""), name), 0.0,
                ),
                Claim(
                    f"Then the curves cross: later the corrupt examples bring it down by more {where}.",
                    f"{place}, row 1", f"mean of fᶜ − fᵖ {later}", measure(corrupt_later, name), 0.0,
                ),
            ]  # fmt: skip
        else:
            found.append(
                Claim(
                    f"The curves do not cross: corrupt examples, being so many, bring the loss down by more throughout "
                    f"{where}.",
                    f"{place}, row 1", f"mean of fᶜ − fᵖ {first}, or {later}: the lower one",
                    measure(corrupt_throughout, name), 0.0,
                )  # fmt: skip
            )
        found += [
            Claim(
                f"Where it is random who is corrupt, the curves do not cross: fᵖ is then {side} fᶜ, since there are "
                f"{'more' if sign > 0 else 'fewer'} pristine examples {where}.",
                f"{place}, rows 2 to 4", f"mean of {symbol} {later}: the least of 3 null worlds",
                measure(nulls_on_their_side(sign), name), 0.0,
            ),
            Claim(
                f"The share of the pristine examples falls, and by more than chance would have it {where}.",
                place, f"mean of fᵖ {first} less that {later}; less the largest of 3 null worlds",
                measure(falls_more, name), 0.0,
            ),
        ]  # fmt: skip
    return found


FIGURE = Figure(
    title="Shares of pristine and corrupt examples in the reduction in loss of each step, against null worlds",
    did="Splits the squared norm of the gradient, to which the loss of a step falls in proportion, into what is due to "
    "pristine and what to corrupt examples, fᵖ + fᶜ = 1, and compares it with worlds in which the designations are "
    "permuted.",
    shows={
        "fig2": "First row: the real designations. Other rows: three worlds in which it is random who is called corrupt. "
        "Each line is one seed, the mean over steps that are equally long on this scale; grey: equal shares.",
    },
    departures=(
        "The paper estimates the shares from 400 examples and 600 weights. Here they are exact for each batch: all of its "
        "examples, all weights.",
    ),
    jobs=jobs,
    draw=draw,
    claims=claims,
)
