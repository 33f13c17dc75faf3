"""Spectral densities that the probe `hessian` has written: what share of the eigenvalues lies where.

Stochastic Lanczos quadrature gives, for each random vector, nodes t_i and weights w_i that add up to 1. The density at t is the
mean over the vectors of sum_i w_i N(t; t_i, s), Gaussians whose s is WIDTH of the range of all nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdscope.errors import DATA, Error
from sgdscope.plots.style import Axes, Picture, new_figure, shades
from sgdscope.runs import Run
from sgdscope.snapshots import Tensors

WIDTH = 0.01
LOWEST = 1e-6  # of the highest density is shown
PLACES = 1000


def draw_densities(runs: Sequence[Run], label: str, title: str | None) -> Picture:
    """A panel for each run, a line for each step, from dark (first) to light (last)."""
    figure = new_figure(5.6 if len(runs) == 1 else 3.7 * len(runs), 3.6)
    for axes, run in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs):
        _draw_run(axes, run, label)
    figure.suptitle(title)
    return figure


def _draw_run(axes: Axes, run: Run, label: str) -> None:
    files = {step: run.snapshot(step, label) for step in run.snapshot_steps(label)}
    if not files or any("nodes" not in found.arrays for found in files.values()):  # as of a probe `snapshot`
        hint = 'give the probe "density_samples", and its label to --density: hessian if it has no other'
        raise Error(str(run.folder / "snapshots"), f"has no spectral density of a probe '{label}'", hint, DATA)
    nodes = np.concatenate([found["nodes"].ravel() for found in files.values()])
    low, high = nodes.min(), nodes.max()
    width = WIDTH * (high - low) or 1.0
    places = np.linspace(low - 5 * width, high + 5 * width, PLACES)
    lines = {step: density(found, places, width) for step, found in files.items()}
    for (step, line), colour in zip(lines.items(), shades(len(lines))):
        axes.plot(places, line, color=colour, linewidth=0.9, label=f"step {step}")
    top = max(line.max() for line in lines.values())
    axes.set(xlabel="eigenvalue", ylabel="density", yscale="log", ylim=(LOWEST * top, 2 * top), title=run.label)
    if len(lines) <= 10:
        axes.legend(fontsize=8)


def density(found: Tensors, places: np.ndarray, width: float) -> np.ndarray:
    """The density at places [n], of nodes and weights [vectors, nodes]."""
    off = (places[:, None, None] - found["nodes"]) / width
    bells = np.exp(-(off**2) / 2) / (width * np.sqrt(2 * np.pi))
    return np.sum(bells * found["weights"], axis=2).mean(axis=1)
