"""inherent_noise, section 2.1: blocks of weights that move one after another, against all at once. A figure of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sgdscope.claims import NONE, SAME, Claim, Sample
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines
from sgdscope.plots.style import Picture, Stroke, add_header, new_figure, strokes
from sgdscope.results import Results
from sgdscope.runs import Run

DOT, DELTA_LOSS = "taylor.updating.dot", "taylor.updating.delta_loss"
AT_ONCE, TENSORS, UNITS, WEIGHTS = "all at once", "tensor by tensor", "unit by unit", "weight by weight"


@dataclass(frozen=True)
class Network:
    """A network that is trained with several update rules, from the same weights for each seed."""

    words: str
    rules: tuple[tuple[str, str], ...]  # settings: name and words; gradient descent first


LARGE = Network(
    "784-32-10, 1,000 images", (("images_descent", AT_ONCE), ("images_tensor", TENSORS), ("images_unit", UNITS))
)
SMALL = Network(
    "8-12-4, synthetic clusters",
    (("clusters_descent", AT_ONCE), ("clusters_unit", UNITS), ("clusters_weight", WEIGHTS)),
)
# The same look for the same rule in both.
LOOKS = {look.label: look for look in strokes((AT_ONCE, TENSORS, UNITS, WEIGHTS))}


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """For both networks the training loss, and how much of what first order promises each step achieves."""
    figure = new_figure(8.4, 5.6)
    grid = figure.subplots(2, 2, sharex="col")
    for column, network in enumerate((LARGE, SMALL)):
        loss, kept = grid[:, column]
        for name, words in network.rules:
            runs = results.runs(name)
            look = Stroke(words, LOOKS[words].colour, LOOKS[words].dash, 0.9)
            draw_lines(loss, [_line(run, run.metrics["loss"]) for run in runs], [look] * len(runs))
            draw_lines(
                kept, [_line(run, run.metrics[DELTA_LOSS] / run.metrics[DOT]) for run in runs], [look] * len(runs)
            )
        loss.set_title(network.words)
        loss.set_yscale("log")
        loss.set_ylabel("training loss")
        kept.axhline(1, color="#999999", linewidth=0.8, zorder=1)
        kept.set_ylim(0, 1.1)
        kept.set_ylabel(r"$\Delta L\;/\;(-\nabla L\cdot\delta)$ of a step")
        kept.set_xlabel("step")
    add_header(figure, None, list(LOOKS.values()))
    return {"sequential": figure}


def _line(run: Run, values: np.ndarray) -> Line:
    return Line(run.metrics["step"], values)


# -------------------------------------------------------------------------------------------- the claims


def kept_more(descent: Run, sequential: Run) -> Sample:
    """At step 0, from equal weights: the share of the first order that is achieved, less that of gradient descent."""
    shares = [float(run.metrics[DELTA_LOSS][0] / run.metrics[DOT][0]) for run in (descent, sequential)]
    return Sample(shares[1] - shares[0])


def gained_more(descent: Run, sequential: Run) -> Sample:
    """At step 0, from equal weights: the reduction in loss over that of gradient descent."""
    return Sample(float(sequential.metrics[DELTA_LOSS][0] / descent.metrics[DELTA_LOSS][0]))


def ahead(descent: Run, sequential: Run) -> Sample:
    """The share of later steps at which the loss is the lower one."""
    return Sample(float(np.mean(sequential.metrics["loss"][1:] < descent.metrics["loss"][1:])))


def claims(results: Results) -> list[Claim]:
    """Whether what the paper expects of the algorithm is so."""
    found: list[Claim] = []
    for network in (LARGE, SMALL):
        base = network.rules[0][0]
        for name, words in network.rules[1:]:
            found += _claims_of(results, network.words, words, (base, name))
    return found


def _claims_of(results: Results, network: str, words: str, names: Sequence[str]) -> list[Claim]:
    says = f"With moves {words} on fresh gradients, "
    where = f" ({network})"

    def claim(ending: str, quantity: str, of: Callable[..., Sample], border: float, why: str) -> Claim:
        return Claim(says + ending, "section 2.1", quantity + where, results.measure(of, *names), border, why)

    return [
        claim(
            "a step keeps more of what first order promises than when all move at once.",
            "at step 0, from equal weights: ΔL / (−∇L·δ) less that of gradient descent (a shorter step keeps more, too)", kept_more, 0.0, NONE,
        ),
        claim(
            "a step lowers the loss by more.",
            "at step 0, from equal weights: ΔL over that of gradient descent", gained_more, 1.0, SAME,
        ),
        claim(
            "training is ahead of gradient descent at most steps.",
            "share of later steps with a lower training loss", ahead, 0.5, "half: most steps are more than that",
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="One block of weights after another, on fresh gradients, against all at once",
    did="Writes down the algorithm in which every weight moves alone and sees what the weights before it have become, to "
    "set gradient descent apart from it: there no weight suffers from moves that it could not know. It runs no experiment "
    "of it.",
    shows={
        "sequential": "Each line is one seed; lines of one seed start from the same weights. Below, 1 means that a step "
        "achieves all that first order promises; the rest is the penalty."
    },
    departures=(
        "All of it is ours: whole-batch training, learning rate 0.5, 200 steps. Single weights are moved only in the small "
        "network, since each costs a gradient.",
        "What a step keeps is ΔL over −∇L·δ, the gradient of before the step times the move that was made. Moves on fresh gradients "
        "may be shorter, and a shorter step keeps more by itself. By how much a step lowers the loss is free of that.",
    ),
    draw=draw,
    claims=claims,
)
