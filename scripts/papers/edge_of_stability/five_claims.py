"""edge_of_stability: what the papers of this folder say of a step, on the way to the edge of stability and at it.

A step is on the way while the largest eigenvalue has not been at the edge and is below BEFORE of 2/η, and at the edge where it
is above EDGE of it; between its measurements it is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from papers.edge_of_stability import TOP, late, setting_of, share_of_threshold
from sgdscope.claims import NONE, Claim, Measurement, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Axes, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

BEFORE, EDGE = 0.8, 0.95  # shares of 2/η
ROWS = 3  # of a phase: fewer tell nothing of it
EXACT = 10  # a distance of fewer times the estimated error of the flow is not taken
PHASES = {"before": "on the way to the edge", "edge": "at the edge"}
SHADES = {"before": COLOURS[0], "between": "#bbbbbb", "edge": COLOURS[4]}

TAYLOR = [f"taylor.updating.{name}" for name in ("dot", "penalty", "remainder", "delta_loss")]
GAP = [f"generalization_gap.{name}" for name in ("predicted", "measured")]
FLOW = [f"modified_flow.halved0.{name}" for name in ("gd_to_plain", "gd_to_gd", "flow_error")]


def course(run: Run, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Where all columns are measured: the eigenvalue's share of 2/η, the phase of each step, and the columns."""
    at, shares = share_of_threshold(run, TOP)
    run.metrics.load(["step", *names])
    rows = np.all([np.isfinite(run.metrics[name]) for name in names], axis=0)
    step = run.metrics["step"][rows]
    share = np.interp(step, at, shares)
    arrived = at[shares > EDGE].min(initial=np.inf)
    phase = np.where((share < BEFORE) & (step < arrived), "before", np.where(share > EDGE, "edge", "between"))
    return share, phase, [run.metrics[name][rows] for name in names]


def of_phase(run: Run, phase: str, names: Sequence[str]) -> list[np.ndarray]:
    """The columns at the steps of a phase at which all of them are measured."""
    _, phases, columns = course(run, names)
    chosen = phases == phase
    if np.count_nonzero(chosen) < ROWS:
        raise TooLittle(f"{run.folder.name} measures {names[0]} at fewer than {ROWS} steps {PHASES[phase]}")
    return [column[chosen] for column in columns]


def left_of_flow(columns: Sequence[np.ndarray]) -> np.ndarray:
    """GD's distance from the flow of its modified loss over that from the loss's own flow; NaN where flows are not exact."""
    plain, modified, error = columns
    return np.where(np.minimum(plain, modified) > EXACT * error, modified / plain, np.nan)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Every measured step by the eigenvalue's share of 2/η, and every run by its end."""
    runs = results.runs(edge_name(results))
    figure = new_figure(9.6, 6.4)
    (course_of, penalties, remainders), (gaps, flows, ends) = figure.subplots(2, 3)
    for run in runs:
        course_of.plot(*share_of_threshold(run, TOP), color=COLOURS[0], linewidth=0.8)
        share, phase, (dot, penalty, remainder, change) = course(run, TAYLOR)
        _scatter(penalties, share, -penalty / dot, phase)
        _scatter(remainders, share, np.abs(remainder / change), phase)
        _, phase, (predicted, changes) = course(run, GAP)
        _scatter(gaps, 1000 * predicted, 1000 * changes, phase)
        share, phase, columns = course(run, FLOW)
        _scatter(flows, share, left_of_flow(columns), phase)
    course_of.axhline(1, color=RED, linewidth=1.0)
    course_of.set(xlabel="step", ylabel="largest eigenvalue / (2/η)")
    penalties.axhline(1, color=RED, linewidth=1.0)
    penalties.set(ylabel="penalty / first order", ylim=(-0.5, 2.5))
    remainders.set(ylabel="|third order and beyond| / |change|", yscale="log")
    flows.set(ylabel="distance left by the modified loss", ylim=(0, 1.2))
    for axes in (penalties, remainders, flows):
        axes.set_xlabel("largest eigenvalue / (2/η)")
    gaps.axline((0, 0), slope=1, color=RED, linewidth=1.0)
    gaps.set(xlabel="change of the gap, predicted [10⁻³]", ylabel="measured [10⁻³]")
    _draw_ends(ends, results)
    return {"five_claims": figure}


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, phase: np.ndarray) -> None:
    axes.scatter(x, y, c=[SHADES[one] for one in phase], s=5, linewidths=0, alpha=0.6, rasterized=True)


def _draw_ends(axes: Axes, results: Results) -> None:
    """A line for each seed, a point for each rate."""
    names = rate_names(results)
    for seed in results.study.seeds:
        of_seed = {outcome.job.name: outcome.run for outcome in results.outcomes if outcome.job.seed == seed}
        runs = [run for name in names if (run := of_seed[name])]
        x, y = [mean_penalty(run) for run in runs], [last_top(run) for run in runs]
        axes.plot(x, y, color=COLOURS[0], marker=".", linewidth=0.6)
    axes.set(xlabel="mean penalty of a step", ylabel="largest eigenvalue at the end", xscale="log", yscale="log")


# -------------------------------------------------------------------------------------------- the claims


def edge_name(results: Results) -> str:
    """The setting in which all is measured."""
    return setting_of(results, "edge").name


def rate_names(results: Results) -> list[str]:
    """The settings of all rates."""
    settings = sorted([*results.study.curve("edge"), *results.study.curve("rates")], key=lambda one: one["rate"])
    return [setting.name for setting in settings]


def spared(phase: str) -> Callable[[Run], Sample]:
    """What the penalty leaves of the first-order decrease in loss, as a share of that; sums over the steps of a phase."""

    def measure(run: Run) -> Sample:
        dot, penalty, _, _ = of_phase(run, phase, TAYLOR)
        return Sample(float(1 + penalty.sum() / dot.sum()), steps=dot.size)

    return measure


def beyond(phase: str) -> Callable[[Run], Sample]:
    """The size of third order and beyond over that of the change in loss; sums over the steps of a phase."""

    def measure(run: Run) -> Sample:
        _, _, remainder, change = of_phase(run, phase, TAYLOR)
        return Sample(float(np.abs(remainder).sum() / np.abs(change).sum()), steps=change.size)

    return measure


def gap_slope(phase: str) -> Callable[[Run], Sample]:
    """The slope of the gap's measured changes over the predicted ones, least squares."""

    def measure(run: Run) -> Sample:
        predicted, changes = of_phase(run, phase, GAP)
        return Sample(float(np.polyfit(predicted, changes, 1)[0]), steps=changes.size)

    return measure


def accounted_for(phase: str) -> Callable[[Run], Sample]:
    """The share of GD's distance from gradient flow that goes where the flow is that of the modified loss."""

    def measure(run: Run) -> Sample:
        left = left_of_flow(of_phase(run, phase, FLOW))
        left = left[np.isfinite(left)]
        if left.size < ROWS:
            raise TooLittle(f"{run.folder.name}: at fewer than {ROWS} steps {PHASES[phase]} the flows are exact enough")
        return Sample(float(1 - left.mean()), steps=left.size)

    return measure


def opposite(of: Callable[[Run], Sample]) -> Callable[[Run], Sample]:
    """The number with the other sign, for claims that it is below a border."""
    return lambda run: Sample(-of(run).value, of(run).steps)


def mean_penalty(run: Run) -> float:
    """Per step, over the whole of training."""
    run.metrics.load(TAYLOR)
    return float(-np.nanmean(run.metrics["taylor.updating.penalty"]))


def last_top(run: Run) -> float:
    """The largest eigenvalue, mean over the last third of training."""
    _, share = share_of_threshold(run, TOP)
    return float(late(share).mean() * run.metrics["stability.threshold"][0])


def flatter(*runs: Run) -> Sample:
    """Over the rates of a seed less the correlation of the logarithms of mean penalty and largest eigenvalue at the end."""
    penalties, tops = [mean_penalty(run) for run in runs], [last_top(run) for run in runs]
    return Sample(-float(np.corrcoef(np.log(penalties), np.log(tops))[0, 1]))


def claims(results: Results) -> list[Claim]:
    """What holds of a step's change in loss, of the gap and of the modified loss in both phases; and what comes of penalties."""
    name = edge_name(results)

    def at(of: Callable[[Run], Sample]) -> Measurement:
        return results.measure(of, name)

    half, tenth = "half", "a tenth: less changes little"
    spares = "share of the first-order decrease that the penalty leaves, sums over steps"
    slope = "slope of the measured over the predicted changes of the gap"
    goes = "share of the distance between GD and gradient flow that goes with the modified loss, mean over steps"
    third = "size of third order and beyond over that of the change in loss, sums over steps"
    before, edge = (words.capitalize() for words in PHASES.values())
    return [
        Claim(
            f"{before} the penalty takes less than half of a step's first-order decrease.", "inherent_noise, section 3", spares,
            at(spared("before")), 0.5, half,
        ),
        Claim(
            f"{edge} it takes all of it.", "inherent_noise, section 3", spares, at(spared("edge")), 0.2, "a fifth of it", about=0.0,
        ),
        Claim(
            f"{before} first and second order are the change in loss.", "inherent_noise, equation 11", f"less {third}",
            at(opposite(beyond("before"))), -0.1, tenth,
        ),
        Claim(
            f"{edge} they are not: third order counts.", "inherent_noise, equation 11", third, at(beyond("edge")), 0.1, tenth,
        ),
        Claim(
            f"{before} a step changes the gap as the first order in η predicts.", "generalization_gap, equation 9", slope,
            at(gap_slope("before")), 0.2, "a fifth, as in generalization_gap/gap", about=1.0,
        ),
        Claim(
            f"{edge} it still does.", "generalization_gap, equation 9", slope,
            at(gap_slope("edge")), 0.2, "a fifth, as in generalization_gap/gap", about=1.0,
        ),
        Claim(
            f"{before} GD follows the flow of its modified loss rather than that of the loss.",
            "implicit_regularization, equation 10", goes, at(accounted_for("before")), 0.5, half,
        ),
        Claim(
            f"{edge} the modified loss no longer accounts for where GD goes.", "implicit_regularization, section 5",
            f"less the {goes}", at(opposite(accounted_for("edge"))), -0.5, half,
        ),
        Claim(
            "Rates with larger penalties end at flatter weights, where at the edge 2/η alone would see to it.",
            "inherent_noise, section 2.2",
            "less the correlation over rates of log mean penalty of a step and log largest eigenvalue at the end",
            results.measure(flatter, *rate_names(results)), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="What the other papers say of a step, on the way to the edge of stability and at it",
    did="Leaves open what becomes of the other papers' sentences at the edge, where 'the modified loss, which is defined as a Taylor "
    "series in powers of the learning rate, does not converge' (implicit_regularization, section 5). Here gradient descent is measured "
    "while its largest eigenvalue is below 0.8 of 2/η, and where it is above 0.95: the penalty of a step beside its first order, the "
    "change of the generalization gap, and gradient flow on the modified loss.",
    shows={
        "five_claims": "All seeds. Blue: steps on the way to the edge, orange: at it, grey: between. Above: the course of the largest "
        "eigenvalue; the penalty over the first-order decrease; what first and second order leave of the change in loss. Below: the "
        "change of the gap against its prediction; the distance between gradient descent and the flow of its modified loss over that "
        "from the loss's own flow; and a line for each seed, with a point for each rate."
    },
    departures=(
        "Gradient descent only: with small batches the largest eigenvalue stays below the edge (mini_batches).",
        "The runs of the several rates last equally long in steps times rate.",
        "At the edge the rate sets both the penalty and, by 2/η, the curvature: that they go together over rates is no evidence that "
        "penalties lead to flat weights, as inherent_noise has it.",
        "noise_enhancement and coherent_gradients speak of the noise of batches and of wrong labels, of which there are none here.",
    ),
    draw=draw,
    claims=claims,
)
