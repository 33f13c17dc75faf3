"""Ours, for inherent_noise: how the order of the penalties depends on how long ago 'recent' and 'long ago' are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from papers.inherent_noise import NO_MARGIN, NOISE_PASSES
from sgdscope.claims import HALF, Claim, Late, Measurement, Sample, columns_of, mean, ratio_of_means
from sgdscope.figure import Figure
from sgdscope.plots.style import STYLE, Axes, Picture, Stroke, add_header, new_figure, shades
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.statistics import half_width

UNITS = (64, 2000)
NAMES = tuple(f"lags_fc{units}" for units in UNITS)
# Of training, in steps. A lag is looked at only in stages at all of whose steps there is a batch so long ago.
EDGES = (30, 300, 1200, 3600, math.inf)
STAGES = tuple(itertools.pairwise(EDGES))

PAIRS = Late(
    "the border itself in place of a margin of 0.05 about it, and that each pair of neighbouring lags is to be in order, in place of "
    "the mean over all pairs",
    {"quick": [1, 2]},
)


# ------------------------------------------------------------------------------------- numbers of a stage

Stage = tuple[float, float]


def lag_columns(run: Run) -> dict[int, str]:
    """The columns of the penalty by lag, 0 being the updating batch, from the config's probes."""
    found = {}
    for probe in run.config["probes"]:
        lags = {"updating": 0, "recent": probe["recent_lag"], "long_ago": probe["long_ago_lag"]}
        for batch in probe["batches"]:
            found[lags[batch]] = f"{probe['label']}.{batch}.penalty"
    return dict(sorted(found.items()))


def magnitudes(run: Run, stage: Stage) -> dict[int, np.ndarray]:
    """The penalty's magnitude at the steps of a stage, by lag."""
    columns = {lag: name for lag, name in lag_columns(run).items() if lag <= stage[0]}
    return dict(zip(columns, np.abs(columns_of(run, list(columns.values()), *stage))))


def share_at(lag: int, stage: Stage) -> Callable[[Run], Sample]:
    """The share of steps at which the updating batch's penalty is not below that of a lag."""

    def measure(run: Run) -> Sample:
        penalties = magnitudes(run, stage)
        return mean(penalties[0] >= penalties[lag])

    return measure


def ratio_at(lag: int, stage: Stage) -> Callable[[Run], Sample]:
    """The mean penalty of a lag over that of the updating batch."""

    def measure(run: Run) -> Sample:
        penalties = magnitudes(run, stage)
        return ratio_of_means(penalties[lag], penalties[0])

    return measure


def share_over_longer(lag: int, stage: Stage) -> Callable[[Run], Sample]:
    """The share of steps at which the penalty of a lag is not below that of a longer one, mean over the longer ones."""

    def measure(run: Run) -> Sample:
        penalties = magnitudes(run, stage)
        return mean(np.mean([penalties[lag] >= penalties[longer] for longer in penalties if longer > lag], axis=0))

    return measure


def share_of_pair(shorter: int, longer: int, stage: Stage) -> Callable[[Run], Sample]:
    """The share of steps at which the shorter lag's penalty is not below the longer one's."""

    def measure(run: Run) -> Sample:
        penalties = magnitudes(run, stage)
        return mean(penalties[shorter] >= penalties[longer])

    return measure


def lags_of(results: Results, name: str, stage: Stage) -> list[int]:
    """The lags that are looked at in a stage."""
    found = {
        lag
        for outcome in results.outcomes
        if outcome.job.name == name and outcome.run
        for lag in lag_columns(outcome.run)
    }
    return sorted(lag for lag in found if 0 < lag <= stage[0])


# ------------------------------------------------------------------------------------------- the picture

# What is drawn, its label, where the order turns round, the scale, and whether it needs a longer lag to compare with.
LONGER = r"$|\hat{L}^h_{B_{lag}}|\geq|\hat{L}^h_{B_{longer}}|$"
PANELS = (
    (share_at, "share of steps with\n" + r"$|\hat{L}^h_{B_u}|\geq|\hat{L}^h_{B_{lag}}|$", 0.5, (0.38, 1.02), False),
    (ratio_at, r"mean $|\hat{L}^h_{B_{lag}}|$ / mean $|\hat{L}^h_{B_u}|$", 1.0, (0.0, 1.12), False),
    (share_over_longer, "share of steps with\n" + LONGER, 0.5, (0.38, 1.02), True),
)


def draw(results: Results) -> dict[str, Picture]:
    """A row for each quantity, a column for each network, a line for each stage of training."""
    results.runs(*NAMES)
    last = max(_last_step(results, name) for name in NAMES)
    stages = [stage for stage in STAGES if stage[0] < last]
    looks = [Stroke(_words(stage, last), colour) for stage, colour in zip(stages, shades(len(stages)))]
    figure = new_figure(7.4, 7.8)
    grid = figure.subplots(len(PANELS), len(NAMES), sharex=True, sharey="row", squeeze=False)
    for row, (quantity, label, border, scale, shorter_only) in zip(grid, PANELS):
        for axes, units, name in zip(row, UNITS, NAMES):
            axes.axhline(border, color="#777777", linewidth=0.9, linestyle=(0, (4, 2)))
            for place, (stage, look) in enumerate(zip(stages, looks)):
                lags = lags_of(results, name, stage)[: -1 if shorter_only else None]
                measured = {lag: results.measure(quantity(lag, stage), name) for lag in lags}
                _draw_points(axes, measured, look, 1.05 ** (place - len(stages) / 2))
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            if axes in grid[0]:
                axes.set_title(f"{units} units")
        row[0].set_ylim(*scale)
        row[0].set_ylabel(label, fontsize=10.5)
    figure.supxlabel(
        "lag: how many steps ago the other batch was the updating one\n"
        "(bars: Student's 95 % intervals of the means over seeds)",
        fontsize=STYLE["axes.labelsize"],
    )
    figure.align_ylabels()
    add_header(figure, None, looks)
    return {"lags": figure}


def _last_step(results: Results, name: str) -> float:
    runs = [outcome.run for outcome in results.outcomes if outcome.job.name == name and outcome.run]
    return max((run.metrics["step"][-1] for run in runs), default=math.inf)


def _words(stage: Stage, last: float) -> str:
    end = min(stage[1] - 1, last)
    return f"steps {stage[0]:.0f} to {end:.0f}" if end < math.inf else f"steps from {stage[0]:.0f} on"


def _draw_points(axes: Axes, measured: Mapping[int, Measurement], look: Stroke, shift: float) -> None:
    """Points with their 95 % intervals, moved aside a little so that those of several stages do not hide one another."""
    known = {lag: one for lag, one in measured.items() if one.samples}
    axes.errorbar(
        [lag * shift for lag in known], [one.summary.mean for one in known.values()],
        [half_width(one.seeds) * one.error for one in known.values()], color=look.colour, linewidth=1.0, marker="o",
        markersize=3.5, elinewidth=0.8,
    )  # fmt: skip


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """For each network and stage: updating against all lags, and shorter against longer lags."""
    found, place = [], "section 3, figure 1"
    for units, name in zip(UNITS, NAMES):
        last = _last_step(results, name)
        for stage in (stage for stage in STAGES if stage[0] < last):
            where = f"{units} units, {_words(stage, last)}"
            lags = lags_of(results, name, stage)
            of_lags = {f"lag of {lag} steps": results.measure(share_at(lag, stage), name) for lag in lags}
            of_pairs = {
                f"lag of {shorter} beside {longer} steps": results.measure(share_of_pair(shorter, longer, stage), name)
                for shorter, longer in itertools.pairwise(lags)
            }
            no_runs = results.measure(share_at(0, stage), name)  # which tells what is missing
            found += [
                Claim(
                    "However long ago the other batch was, the updating batch pays the larger penalty.", place,
                    f"{where}: share of steps with |−L̂ʰ(Bᵤ)| ≥ |−L̂ʰ| of a lag, for each lag {NOISE_PASSES}",
                    of_lags or no_runs, 0.5, HALF, decided_after=NO_MARGIN,
                ),
                Claim(
                    "The longer ago a batch was, the smaller its penalty.", place,
                    f"{where}: share of steps at which the shorter of two lags has the larger |−L̂ʰ|, for each lag and the next longer one",
                    of_pairs or no_runs, 0.5, HALF, decided_after=PAIRS,
                ),
            ]  # fmt: skip
    return found


FIGURE = Figure(
    title="How the order of the penalties depends on the lags and on the stage of training",
    did="Speaks of recent batches and of batches that updated long ago, and gives no numbers of steps.",
    shows={
        "lags": "Each line is a stage of training. First row: how often the updating batch pays at least the penalty "
        "of a batch of so many steps ago. Second row: the means of the two. Third row: how often the penalty of a lag "
        "is at least that of a longer lag, mean over the longer ones. Bars are Student's 95 % intervals of the means over "
        "seeds. On the dashed lines there is no order. A lag is missing from stages at whose first step there is no batch so "
        "long ago."
    },
    departures=("A question of ours; the paper has no such figure.",),
    draw=draw,
    claims=claims,
    unjudged={"quick": "there is one seed of each network"},
)
