"""Test accuracies over learning rates: how explicit and inverse_covariance measure and draw them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdscope.aggregate import measured_values
from sgdscope.claims import TooLittle
from sgdscope.plots.style import Axes, Stroke
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.studies import Setting

TEST = "eval.test_accuracy"
GAP = "gap"
LATE = 0.25  # of the evaluations, the last ones


def late(run: Run, what: str) -> float:
    """The mean of the test accuracy, or of test − training loss, over the last quarter of the evaluations."""
    if what == GAP:
        values = measured_values(run, "eval.test_loss") - measured_values(run, "eval.train_loss")
    else:
        values = measured_values(run, what)
    return float(np.mean(values[-max(1, round(LATE * values.size)) :]))


def seeds_of(results: Results, name: str, what: str) -> list[float]:
    """The late value of each finished run of a job."""
    return [late(run, what) for run in results.runs(name)]


def draw_over_rates(
    axes: Axes,
    results: Results,
    settings: Sequence[Setting],
    what: str,
    look: Stroke,
    shift: float,
    lowest: float = -np.inf,
) -> None:
    """Mean and standard deviation of the seeds, drawn at the learning rate times `shift`; no mean below `lowest`."""
    found = []
    for setting in settings:
        try:
            values = seeds_of(results, setting.name, what)
        except TooLittle:
            continue
        if np.mean(values) >= lowest:
            found.append((setting["rate"], np.mean(values), np.std(values, ddof=1) if len(values) > 1 else 0.0))
    if not found:
        return
    x, y, error = np.array(found).T
    axes.errorbar(
        shift * x,
        y,
        error,
        color=look.colour,
        linestyle=look.dash,
        marker="o",
        markersize=3.2,
        capsize=2,
        label=look.label,
    )
    axes.set_xscale("log", base=2)
    rates = [setting["rate"] for setting in settings]
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xlabel("learning rate η")
