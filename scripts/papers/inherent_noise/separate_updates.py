"""inherent_noise, equations 5 and 6 by single weights, units and tensors, and what stands in for them. A figure of ours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sgdscope.claims import HALF, Claim, Sample, columns_of, mean
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import RED, draw_lines
from sgdscope.plots.style import Axes, Picture, Stroke, add_header, new_figure, strokes
from sgdscope.results import Results
from sgdscope.runs import Run

UNITS = (64, 2000)
BATCHES = {"updating": "updating batch", "recent": "recent batch", "long_ago": "long-ago batch"}
BLOCKS = {
    "weights": "single weights (equation 6)",
    "units": "the weights into a unit",
    "tensors": "matrices and biases",
}
NEAR = 0.05  # of the exact penalty: how close the stand-in is to be


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """For both widths the stand-in over the exact penalty, and the penalty of coarser blocks over that of weights."""
    figure = new_figure(8.6, 7.4)
    grid = figure.subplots(2, 2)
    batches = [Stroke(words, look.colour) for words, look in zip(BATCHES.values(), strokes(("",) * 3), strict=True)]
    for column, units in enumerate(UNITS):
        runs = results.runs(f"separate_fc{units}")
        grid[0, column].set_title(f"{units} units")
        _scatter(grid[0, column], runs, batches)
        _shares(grid[1, column], runs)
    add_header(figure, None, batches)
    return {"separate_updates": figure}


def _scatter(axes: Axes, runs: list[Run], looks: list[Stroke]) -> None:
    for batch, look in zip(BATCHES, looks):
        for run in runs:
            exact, stand_in = columns_of(run, [f"weights.{batch}.penalty", f"weights.{batch}.taylor_penalty"])
            axes.scatter(exact, stand_in, s=7, color=look.colour, alpha=0.5, linewidths=0, rasterized=True)
    axes.axline((0, 0), slope=1, color=RED, linewidth=1.0, zorder=1)
    axes.set_xscale("symlog", linthresh=1e-3)
    axes.set_yscale("symlog", linthresh=1e-3)
    axes.set_aspect("equal", "datalim")
    axes.set_xlabel(r"penalty: $\Delta L-\sum_i\,[L(w)-L(w^1,\ldots,w^i_{t+1},\ldots,w^d)]$")
    axes.set_ylabel(r"stand-in: $-\hat{L}^h(\nabla B_u)$")


def _shares(axes: Axes, runs: list[Run]) -> None:
    looks = [
        Stroke(words, look.colour, "-", 0.9)
        for words, look in zip(BLOCKS.values(), strokes(("",) * 6)[3:], strict=True)
    ]
    for block, look in zip(BLOCKS, looks):
        draw_lines(axes, [_share_line(run, block) for run in runs], [look] * len(runs))
        axes.plot([], [], color=look.colour, label=look.label)
    axes.set_ylim(0, 1.15)
    axes.set_xlabel("step")
    axes.set_ylabel("penalty by block / stand-in\n(updating batch, running mean)")
    axes.legend(loc="lower left", fontsize=8)


def _share_line(run: Run, block: str) -> Line:
    steps, penalty, stand_in = columns_of(
        run, ["step", f"{block}.updating.penalty", f"{block}.updating.taylor_penalty"]
    )
    kernel = np.ones(9)
    return Line(steps[4:-4], np.convolve(penalty, kernel, "valid") / np.convolve(stand_in, kernel, "valid"))


# -------------------------------------------------------------------------------------------- the claims


def share_near(batch: str) -> Callable[[Run], Sample]:
    """The share of steps at which the stand-in is within NEAR of the exact penalty."""

    def of(run: Run) -> Sample:
        exact, stand_in = columns_of(run, [f"weights.{batch}.penalty", f"weights.{batch}.taylor_penalty"])
        return mean(np.abs(stand_in - exact) <= NEAR * np.abs(exact))

    return of


def share_negative(run: Run) -> Sample:
    """The share of steps at which moving together does less than moving alone."""
    return mean(columns_of(run, ["weights.updating.penalty"])[0] < 0)


def claims(results: Results) -> list[Claim]:
    """How good the stand-in is, and whether the exact penalty has its sign."""
    found = []
    for units in UNITS:
        name, network = f"separate_fc{units}", f"{units} units"
        for batch, words in BATCHES.items():
            found.append(
                Claim(
                    f"On the {words} the first-order term can stand in for the sum over separate moves ({network}).",
                    "section 2.4, between equations 10 and 11",
                    f"share of steps at which −L̂ʰ is within {NEAR:.0%} of the second term of equation 6",
                    results.measure(share_near(batch), name),
                    0.9,
                    "nine tenths: nearly everywhere",
                )  # fmt: skip
            )
        found.append(
            Claim(
                f"Weights that move together lower the loss by less than the sum of what each would alone ({network}).",
                "section 2.1, equation 6",
                "share of steps at which the second term of equation 6 is negative on the updating batch",
                results.measure(share_negative, name),
                0.5,
                HALF,
            )  # fmt: skip
        )
    return found


FIGURE = Figure(
    title="The penalty itself, by single weights, units and tensors, against the first-order stand-in",
    did="Defines its penalty as what all weights together do to the loss, less the sum of what each would do alone, and "
    "then puts the first-order term in the place of that sum. It does not measure how much that changes.",
    shows={
        "separate_updates": "Above, each point is a step: on the line y = x the stand-in is exact. Below, how much of the "
        "stand-in the penalty is when single weights, units, or whole tensors are taken to move alone: the rest arises "
        "within the blocks. Each line is one seed, a running mean over 9 measurements."
    },
    departures=(
        "All of it is ours. Sums are exact for 64 units; for 2000 units those of the first layer's 1,570,000 weights are "
        "sampled, 1000 at a time, with a standard error (weights.updating.separate_se) about 10,000 times smaller than they.",
    ),
    draw=draw,
    claims=claims,
)
