"""implicit_regularization, section 2.2: how single sequences of batches scatter, by the learning rate."""

from __future__ import annotations

from collections.abc import Mapping

from papers.implicit_regularization.modified_flow import NEAR, SECOND, THIRD, WHY_NEAR, distances, order
from sgdscope.claims import Claim, Measurement
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Axes, Picture, Stroke, new_figure
from sgdscope.results import Results

NAME, LABEL = "variance", "sgd"
FIRST = 1  # order in the learning rate
SCATTER = {
    "redrawn_spread": Stroke("one epoch, each batch drawn anew from all examples", COLOURS[1]),
    "once_spread": Stroke("one epoch, each batch once in random order", COLOURS[0]),
    "mirrored_spread": Stroke("two epochs, the second one backwards", COLOURS[4]),
}
FLOWS = {
    "sgd_to_plain": Stroke("mean of all orders to the flow of the loss C", COLOURS[0]),
    "sgd_to_sgd": Stroke("… to that of SGD's modified loss", COLOURS[2]),
    "mirrored_to_sgd": Stroke("… single runs of two epochs, the second backwards", COLOURS[4]),
}


def draw(results: Results) -> dict[str, Picture]:
    """How ends scatter, and how far they are from gradient flows; every seed a line."""
    figure = new_figure(9.2, 4.2)
    left, right = figure.subplots(1, 2)
    _draw(left, results, SCATTER, {"redrawn_spread": FIRST, "once_spread": SECOND, "mirrored_spread": THIRD})
    _draw(right, results, FLOWS, {"sgd_to_plain": SECOND, "sgd_to_sgd": THIRD, "mirrored_to_sgd": THIRD})
    left.set_ylabel("how far the weights at the end scatter")
    right.set_ylabel("how far from where the flow arrives")
    return {"variance": figure}


def _draw(axes: Axes, results: Results, looks: dict[str, Stroke], slopes: dict[str, int]) -> None:
    for name, look in looks.items():
        for i, run in enumerate(results.runs(NAME)):
            rate, y = distances(run, LABEL, name)
            label = "" if i else look.label + (f" (slope {slopes[name]})" if name in slopes else "")
            axes.plot(rate, y, color=look.colour, linewidth=0.9, marker=".", markersize=3, label=label)
            if i == 0 and name in slopes:
                guide = y[-1] * (rate / rate[-1]) ** slopes[name]
                axes.plot(rate, guide, color="#555555", linewidth=0.8, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 30)  # room for the legend
    axes.set_xlabel("learning rate ε")
    axes.legend(fontsize=7.5, loc="lower right")


def claims(results: Results) -> list[Claim]:
    """Whether single sequences scatter at the orders that the paper says."""
    place = "section 2.2, remarks on the analysis"

    def claim(says: str, of: str, measured: Measurement | Mapping[str, Measurement], about: int) -> Claim:
        quantity = f"slope of {of} at the three smallest learning rates, both logarithmic"
        return Claim(says, place, quantity, measured, NEAR, WHY_NEAR, about=about)

    def slope(name: str) -> Measurement:
        return results.measure(order(LABEL, name), NAME)

    scatter = "the root of the mean squared distance of the iterates from their mean"
    return [
        claim(
            "Where each minibatch is randomly sampled from the full dataset, the variance in the iterates arises at O(ε).",
            f"{scatter}, after m steps,", slope("redrawn_spread"), FIRST,
        ),
        claim(
            "Where each example is sampled once per epoch, both the variance and the bias arise at O(ε²).",
            f"{scatter}, and of the distance of that mean from the flow of the loss, after an epoch,",
            {"variance": slope("once_spread"), "bias": slope("sgd_to_plain")}, SECOND,
        ),
        claim(
            "With the second epoch in the opposite order the variance at O(ε²) vanishes.",
            f"{scatter}, after two epochs,", slope("mirrored_spread"), THIRD,
        ),
        claim(
            "And each such run coincides with gradient flow on the modified loss.",
            "the root of the mean squared distance of single runs from the flow of the modified loss, after two epochs,",
            slope("mirrored_to_sgd"), THIRD,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="How single runs of SGD scatter: with replacement, without, and with every second epoch backwards",
    did="Remarks that the variance of SGD's iterates arises at first order in the learning rate where batches are sampled from the "
    "full dataset, but only at second order where each example is sampled once per epoch; and that even this vanishes in two "
    "epochs, the second of which has the batches of the first in reverse: such a run follows gradient flow on the modified loss. "
    "It shows no picture of it: this one is ours.",
    shows={
        "variance": "Each line is one seed: 40 random sequences of batches, from the same weights. Halving the learning rate "
        "divides a line of slope 1 by 2, of slope 2 by 4, of slope 3 by 8; the dashed lines have exactly these slopes. Left: how far "
        "the sequences come apart. Right: how far they are from gradient flows of the same time."
    },
    departures=(
        "A small tanh network on synthetic data in double precision, as in `implicit_regularization/modified_flow`: four batches of "
        "8 of 32 examples, all from the initial weights.",
        "'Variance at O(ε)' is read as a deviation of that order, as only so the paper's orders of variance and bias compare.",
    ),
    draw=draw,
    claims=claims,
)
