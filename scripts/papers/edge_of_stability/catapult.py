"""edge_of_stability: at rates above 2/λ₀ the loss grows, until the curvature has fallen below 2/η; far above, without end."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np

from papers.edge_of_stability import TOP, course, setting_of, share_of_threshold
from sgdscope.claims import NONE, Claim, Measurement, Sample, TooLittle, over_seeds
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Picture, new_figure
from sgdscope.results import Outcome, Results
from sgdscope.runs import Run, open_run

# Of each curve the values of η λ₀ / 2 for which it stands; λ₀ is measured at each run's own initial weights.
PHASES = {"lazy": (0.0, 1.0), "catapult": (1.0, 2.0), "above": (2.0, np.inf)}
GROWN = 2.0  # powers of ten
SAME = 0.2


def run_of(outcome: Outcome) -> Run | None:
    """The run, even if it has diverged; None if it has not ended."""
    return open_run(str(outcome.folder)) if outcome.ended else None


def draw(results: Results) -> dict[str, Picture]:
    """The training loss at every step, and the largest eigenvalue over 2/η."""
    results.need_some()
    figure = new_figure(9.0, 3.8)
    left, right = figure.subplots(1, 2)
    right.axhline(1, color=RED, linewidth=1.0)
    for curve, colour in zip(PHASES, itertools.cycle(COLOURS)):
        for outcome in results.of(setting_of(results, curve)):
            if run := run_of(outcome):
                left.plot(run.metrics["step"], run.metrics["loss"], color=colour, linewidth=0.8)
            if outcome.run:
                right.plot(*share_of_threshold(outcome.run, TOP), color=colour, linewidth=0.8)
        left.plot([], [], color=colour, label=f"η = {setting_of(results, curve)['rate']:g}")
    left.set(ylabel="training loss", xlabel="step", yscale="log", ylim=(5e-3, 1e2))
    left.legend(fontsize=8)
    right.set(ylabel="largest eigenvalue / (2/η)", xlabel="step", ylim=(0, 2))
    return {"catapult": figure}


# -------------------------------------------------------------------------------------------- the claims


def measured(results: Results, curve: str, of: Callable[[Run], float]) -> Measurement:
    """A number of a curve's runs, also of those that have diverged, if η λ₀ / 2 is where the curve stands for it.

    A run that begins elsewhere is not one of those that the claim is about, whatever becomes of it.
    """
    low, high = PHASES[curve]
    outcomes = results.of(setting_of(results, curve))
    problems = [outcome.problem for outcome in outcomes if not outcome.ended]
    meant = {}
    for outcome in outcomes:
        if run := run_of(outcome):
            run.metrics.load([TOP, "stability.threshold"])
            ratio = run.metrics[TOP][0] / run.metrics["stability.threshold"][0]
            if low < ratio < high:
                meant[str(outcome.job.seed)] = [run]
            else:
                problems.append(f"{run.folder.name} begins at {ratio:.2f} of 2/η, not between {low:g} and {high:g}")
    return over_seeds(meant, lambda run: Sample(of(run)), problems)


def powers_of_ten(run: Run) -> np.ndarray:
    """The logarithm of the training loss over that at the first step, at all steps at which it is a number."""
    losses = run.metrics["loss"]
    return np.log10(losses[np.isfinite(losses)] / losses[0])


def highest(run: Run) -> float:
    """How far the loss rises above that at the first step."""
    return float(powers_of_ten(run)[1:].max())


def last(run: Run) -> float:
    """How far above that at the first step it is in the end."""
    return float(powers_of_ten(run)[-1])


def lowest_share(run: Run) -> float:
    """The lowest eigenvalue over 2/η that is measured after the loss was highest."""
    step, share = share_of_threshold(run, TOP)
    after = share[step > run.metrics["step"][int(powers_of_ten(run).argmax())]]
    if not after.size:
        raise TooLittle(f"{run.folder.name}: the loss is highest at the end")
    return float(after.min())


def kept(run: Run) -> float:
    """The eigenvalue at the end over that at the beginning."""
    top = course(run, [TOP])[1]
    return float(top[-1] / top[0])


def claims(results: Results) -> list[Claim]:
    """What becomes of loss and curvature below 2/λ₀, above it, and far above it."""
    place, steps = "Lewkowycz et al. 2020, section 1", results.study.values["steps"]
    of = functools.partial(measured, results)
    return [
        Claim(
            "Where η λ₀ is between 2 and 4, the loss first grows.", place, "log₁₀ of its highest value over that at the first step",
            of("catapult", highest), 0.0, "0: it does not grow",
        ),
        Claim(
            "Then the curvature falls until it is below 2/η.", place,
            "1 less the lowest share of 2/η that the largest eigenvalue has after the loss was highest",
            of("catapult", lambda run: 1 - lowest_share(run)), 0.0, "0: the threshold",
        ),
        Claim(
            "After that training converges.", place, "log₁₀ of the loss at the first step over that at the last one",
            of("catapult", lambda run: -last(run)), float(np.log10(2)), "half the loss: more than to be back",
        ),
        Claim(
            f"Below 2/λ₀ the curvature barely changes in {steps} steps.", place, "largest eigenvalue at the end over that at the beginning",
            of("lazy", kept), SAME, "a fifth of it: what a catapult takes away from 1.25 times 2/η", about=1.0,
        ),
        Claim(
            "Below 2/λ₀ the loss does not grow.", place, "less log₁₀ of its highest value over that at the first step",
            of("lazy", lambda run: -highest(run)), 0.0, NONE,
        ),
        Claim(
            "Well above 4/λ₀ training diverges.", place, "log₁₀ of the last loss that is a number over that at the first step",
            of("above", last), GROWN, "a hundredfold: no loss from which training has come back",
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="The catapult: rates above 2/λ₀, where λ₀ is the largest eigenvalue at the initial weights",
    did="Trains wide networks by gradient descent on the squared loss and finds three kinds of rates: below 2/λ₀ the curvature hardly "
    "changes; up to about 4/λ₀ the loss grows at first and the curvature falls, until it is below 2/η and training converges; above, "
    "training diverges.",
    shows={
        "catapult": "Each line is a seed. Left: the training loss at every step. Right: the largest eigenvalue over 2/η, of the runs "
        "that did not diverge."
    },
    departures=(
        "One hidden layer of 100 units, tanh, on 128 images of MNIST (full variant: 2,000 and 1,000), in the usual parametrization and "
        "not that of the neural tangent kernel.",
        "Rates were chosen by λ₀ with seed 1; each run is judged by η λ₀ / 2 of its own λ₀, and left out where that is elsewhere.",
        "Below 2/λ₀ the curvature still rises when runs end: how far it would by the time the loss is as small as after a catapult is not judged.",
        "The highest rate is about 6/λ₀. Where exactly divergence begins depends on the nonlinearity (with ReLU near 12/λ₀, they find); "
        "no claim is made of it.",
    ),
    draw=draw,
    claims=claims,
)
