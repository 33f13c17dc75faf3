"""interventions: is the penalty of inherent_noise curvature? How much of it 1/2 δᵀHδ explains, by network and rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

NETWORKS = {"mlp": "fully connected network", "convnet": "convolutional network"}
RULES = {"sgd": "SGD", "sequential": "tensor by tensor", "sam": "SAM", "small": "small steps"}
PENALTY, SECOND = "taylor.updating.penalty", "taylor.updating.second_order"
NEAR = 0.2
WHY = "a fifth: what higher orders add to curvature is then a correction, and no explanation of its own"
HALF = 0.5  # of the rate times steps of usual runs: what runs with small steps have
PIECES = 20  # of training, for the picture


def share(run: Run, begin: float = 0.0, end: float = 1.0) -> Sample:
    """The sum of 1/2 δᵀHδ over that of the penalties, over a stretch of training, from 0 to 1."""
    run.metrics.load([PENALTY, SECOND])
    penalty, second = -run.metrics[PENALTY], run.metrics[SECOND]
    rows = slice(round(begin * len(penalty)), round(end * len(penalty)))
    return Sample(float(second[rows].sum() / penalty[rows].sum()), len(penalty[rows]))


def early(run: Run) -> Sample:
    """The share over the first tenth of training."""
    return share(run, 0, 0.1)


def late(run: Run) -> Sample:
    """The share over the last third of training."""
    return share(run, 2 / 3)


def nearer(usual: Run, small: Run) -> Sample:
    """By how much the share of small steps is nearer to 1 than that over as long a stretch of usual ones, in rate times steps."""
    return Sample(abs(share(usual, 0, HALF).value - 1) - abs(share(small).value - 1))


def draw(results: Results) -> dict[str, Picture]:
    """The share along training, a panel for each network."""
    results.need_some()
    figure = new_figure(9.0, 3.8)
    centres = (np.arange(PIECES) + 0.5) / PIECES
    for axes, (network, words) in zip(figure.subplots(1, 2, sharey=True), NETWORKS.items()):
        axes.axhline(1, color="#999999", linewidth=0.8)
        for (rule, label), colour in zip(RULES.items(), itertools.cycle(COLOURS)):
            for i, run in enumerate(results.runs(f"{network}_{rule}")):
                shares = [share(run, k / PIECES, (k + 1) / PIECES).value for k in range(PIECES)]
                axes.plot(centres, shares, color=colour, linewidth=0.8, label="" if i else label)
        axes.set(title=words, xlabel="share of training", ylim=(0, 1.6))
    figure.axes[0].set_ylabel("½ δᵀHδ / penalty")
    figure.axes[0].legend(fontsize=8)
    return {"penalty": figure}


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether curvature is the penalty: over training, at its ends, and with other rules."""

    def of(number: Callable[..., Sample], *rules: str) -> dict[str, Measurement]:
        return {
            words: results.measure(number, *[f"{network}_{rule}" for rule in rules])
            for network, words in NETWORKS.items()
        }

    def claim(says: str, when: str, number: Callable[..., Sample], rule: str) -> Claim:
        quantity = f"sum of ½ δᵀHδ over that of the penalties, {when}"
        return Claim(says, "inherent_noise, equation 6", quantity, of(number, rule), NEAR, WHY, about=1.0)

    return [
        claim("With SGD the penalty is curvature.", "all of training", share, "sgd"),
        claim("So it is early in training.", "the first tenth of training", early, "sgd"),
        claim("So it is late in training.", "the last third of training", late, "sgd"),
        claim("So it is where tensors move one after another.", "all of training", share, "sequential"),
        claim("So it is with sharpness-aware minimization.", "all of training", share, "sam"),
        claim("So it is with steps a tenth as large.", "all of training", share, "small"),
        Claim(
            "With small steps it is more nearly so.", "inherent_noise, equation 6",
            "distance of the share from 1 with SGD in its first half, less that with steps a tenth as large, which come as far",
            of(nearer, "sgd", "small"), 0.0, NONE,
            decided_after=Late("the first half in place of all of SGD's training", {"quick": range(11, 16)}),
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Is the penalty curvature?",
    did="`inherent_noise` calls the penalty of a step what it loses against first order, and explains it by gradients that "
    "other weights' moves have made stale. To second order that is the curvature along the step, ½ δᵀHδ, with nothing about "
    "staleness left to explain; the figure shows how much of the penalty that leaves.",
    shows={
        "penalty": "Each line is one seed: the sum over a twentieth of training of ½ δᵀHδ over that of the penalties, on the updating batch. "
        "At 1 the penalty is curvature and nothing else."
    },
    departures=(
        "H is that of the batch at the weights before the step, exact where no unit of the network is at a kink; kinks that a "
        "step crosses count with the higher orders.",
        "Small steps are a tenth of the others and five times as many: they see half of training, with which half of SGD's they are compared.",
    ),
    draw=draw,
    claims=claims,
)
