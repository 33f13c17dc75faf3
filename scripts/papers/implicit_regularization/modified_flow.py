"""implicit_regularization, equations 1, 10 and 39, measured: an epoch against gradient flow on modified losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sgdscope.aggregate import measured_values
from sgdscope.claims import Claim, Late, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Axes, Picture, Stroke, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

NAME = "modified_flow"
EXACT = 10  # a distance of fewer times the estimated error of the flow is not taken
LABELS = {"sgd": "SGD", "n_step": "4-step SGD"}  # of the config's probes
LOOKS = {
    "sgd_to_plain": Stroke("mean of SGD to the flow of C", COLOURS[0]),
    "sgd_to_gd": Stroke("… of GD's modified loss", COLOURS[1]),
    "sgd_to_sgd": Stroke("… of SGD's modified loss", COLOURS[4]),
    "gd_to_plain": Stroke("GD to the flow of C", COLOURS[0], (0, (1, 1.2))),
    "gd_to_gd": Stroke("… of its modified loss", COLOURS[1], (0, (1, 1.2))),
}
SECOND, THIRD = 2, 3  # orders in the learning rate
NEAR = 0.2  # of an order
OFF = 0.2
WHY_NEAR = "a fifth of an order around it"
AFTER = Late("the margin on both sides, in place of one")


def distances(run: Run, label: str, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates, and the distances at the first step, where they are far above the flow's error."""
    halvings = sum(
        column.startswith(f"{label}.halved") and column.endswith(f".{distance}") for column in run.metrics.columns
    )
    if not halvings:
        raise TooLittle(f"{run.folder.name} has no {label}.halved0.{distance}")
    stems = [f"{label}.halved{k}" for k in range(halvings)]
    run.metrics.load([f"{stem}.{value}" for stem in stems for value in ("learning_rate", distance, "flow_error")])
    rate, y, error = (
        np.array([run.metrics[f"{stem}.{value}"][0] for stem in stems])
        for value in ("learning_rate", distance, "flow_error")
    )
    exact = y > EXACT * error
    return rate[exact], y[exact]


def order(label: str, distance: str) -> Callable[[Run], Sample]:
    """The slope of log distance over log learning rate at the three smallest learning rates."""

    def of(run: Run) -> Sample:
        rate, y = distances(run, label, distance)
        if rate.size < 3:
            raise TooLittle(f"{run.folder.name}: fewer than three distances are far above the flow's error")
        return Sample(float(np.polyfit(np.log(rate[-3:]), np.log(y[-3:]), 1)[0]))

    return of


def shuffled_over_gamma(run: Run) -> Sample:
    """Equation 32's left side, over random partitions, over its right one, by single examples; both are means of epochs."""
    left, right = (
        measured_values(run, f"implicit_regularizer.{name}").mean() for name in ("shuffled_error", "gamma_error")
    )
    return Sample(float(left / right))


def draw(results: Results) -> dict[str, Picture]:
    """A panel for each kind of SGD, every seed a line."""
    runs = results.runs(NAME)
    figure = new_figure(8.8, 4.2)
    panels = figure.subplots(1, len(LABELS), sharey=True)
    for axes, (label, title) in zip(panels, LABELS.items()):
        _draw_distances(axes, runs, label)
        axes.set_title(title)
        axes.set_xlabel("learning rate ε")
    panels[0].set_ylabel("distance after one epoch")
    panels[0].legend(fontsize=8)
    return {"modified_flow": figure}


def _draw_distances(axes: Axes, runs: Sequence[Run], label: str) -> None:
    for distance, look in LOOKS.items():
        for i, run in enumerate(runs):
            rate, y = distances(run, label, distance)
            axes.plot(
                rate, y, color=look.colour, linestyle=look.dash, linewidth=0.9, marker=".", markersize=3,
                label="" if i else look.label,
            )  # fmt: skip
    for power, below in ((SECOND, "sgd_to_gd"), (THIRD, "gd_to_gd")):
        rate, y = min((distances(run, label, below) for run in runs), key=lambda line: line[1][0])
        guide = y[0] / 3 * (rate / rate[0]) ** power
        axes.plot(rate, guide, color="#999999", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"slope {power}", (rate[-1], guide[-1]), (3, -9), textcoords="offset points", fontsize=7.5, color="#666666"
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")


def claims(results: Results) -> list[Claim]:
    """Whether each distance has the order that the theory gives it."""
    found = []
    for label, title in LABELS.items():
        equation = "equations 1 and 20" if label == "sgd" else "appendix B, equation 39"
        found.append(
            Claim(
                f"{title} is a third-order distance from the flow of its modified loss.",
                equation,
                "slope of the distance at the three smallest learning rates, both logarithmic",
                results.measure(order(label, "sgd_to_sgd"), NAME),
                NEAR,
                WHY_NEAR,
                about=THIRD,
                decided_after=AFTER,
            )  # fmt: skip
        )
        for distance, flow in (("sgd_to_plain", "the loss itself"), ("sgd_to_gd", "gradient descent's modified loss")):
            found.append(
                Claim(
                    f"{title} is only a second-order distance from the flow of {flow}.",
                    equation,
                    "slope of the distance at the three smallest learning rates, both logarithmic",
                    results.measure(order(label, distance), NAME),
                    NEAR,
                    WHY_NEAR,
                    about=SECOND,
                    decided_after=AFTER,
                )  # fmt: skip
            )
    found.append(
        Claim(
            "Full-batch gradient descent is a third-order distance from the flow of its modified loss.",
            "equation 10",
            "slope of the distance at the three smallest learning rates, both logarithmic",
            results.measure(order("sgd", "gd_to_gd"), NAME),
            NEAR,
            WHY_NEAR,
            about=THIRD,
            decided_after=AFTER,
        )  # fmt: skip
    )
    found.append(
        Claim(
            "The mean squared error of a batch's gradient over all ways to draw the batches is (N − B) / (N − 1) Γ / B.",
            "appendix A, equation 32",
            "that over 20 random ways over what the gradients of single examples give",
            results.measure(shuffled_over_gamma, NAME),
            OFF,
            f"off by {OFF:.0%} at most; a mean of 20 ways leaves some to chance",
            about=1.0,
            decided_after=Late("the claim; its border before its number"),
        )  # fmt: skip
    )
    return found


FIGURE = Figure(
    title="The theorem measured: an epoch of SGD against gradient flow on modified losses",
    did="Proves that the mean of where an epoch of SGD ends, over all orders of its batches, is of third order in the learning "
    "rate away from gradient flow on the modified loss of equation 1. It shows no picture of it: this one is ours.",
    shows={
        "modified_flow": "Each line is one seed. The distance of the mean over all orders of four batches, after one epoch from "
        "the initial weights, to where gradient flows arrive in the same time; and of full-batch gradient descent, dotted."
    },
    departures=("A small tanh network on synthetic data in double precision: the analysis needs smooth losses.",),
    draw=draw,
    claims=claims,
)
