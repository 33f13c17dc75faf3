"""inherent_noise, figure 6: the test loss of AlexNet and small AlexNet, and where the order of figure 4 turns round."""

from __future__ import annotations

import numpy as np

from papers.inherent_noise import UNJUDGED
from papers.inherent_noise.fig4 import NAMES, NEAR, NETWORKS, TURNS, WHY_NEAR, ratios
from sgdscope.claims import NONE, Claim, Late, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.lines import Line
from sgdscope.plots.panels import draw_lines, use_falling_scale
from sgdscope.plots.style import Picture, Stroke, add_header, new_figure, strokes
from sgdscope.results import PARTS, Results
from sgdscope.runs import Run

EVALUATED = ("epoch", "train_loss", "test_loss")


def evaluated(run: Run) -> list[np.ndarray]:
    """Epoch, training and test loss at each evaluation at which all are known."""
    table = run.evaluations
    if table is None:
        raise TooLittle(f"{run.folder.name} has no evaluations")
    table.load(EVALUATED)
    known = np.all([np.isfinite(table[name]) for name in EVALUATED], axis=0)
    return [table[name][known] for name in EVALUATED]


def draw(results: Results) -> dict[str, Picture]:
    """The test loss over epochs and over the training loss; a dot where it is least."""
    figure = new_figure(8.6, 3.9)
    by_epoch, by_loss = figure.subplots(1, 2, sharey=True)
    looks = [Stroke(look.label, look.colour, width=0.9) for look in strokes(NETWORKS[::-1])]
    for look, name in zip(looks, NAMES[::-1], strict=True):
        for run in results.runs(name):
            epoch, train, test = evaluated(run)
            least = test.argmin()
            for axes, x in ((by_epoch, epoch), (by_loss, train)):
                draw_lines(axes, [Line(x, test)], [look])
                axes.plot(x[least], test[least], "o", color=look.colour, markersize=5)
    by_epoch.set_xlabel("epoch")
    by_epoch.set_ylabel("test loss")
    by_loss.set_xlabel("training loss, falling to the right")
    use_falling_scale(by_loss)
    add_header(figure, None, looks)
    return {"fig6": figure}


# -------------------------------------------------------------------------------------------- the claims


def loss_at_overfitting(run: Run) -> float:
    """The training loss at the least test loss."""
    _, train, test = evaluated(run)
    least = int(test.argmin())
    if least == test.size - 1:
        raise TooLittle(f"the test loss of {run.folder.name} falls to the end")
    return float(train[least])


def minus_test_loss(run: Run) -> Line:
    """Minus the test loss over epochs, which is the highest where the loss is the least."""
    epoch, _, test = evaluated(run)
    return Line(epoch, -test)


def claims(results: Results) -> list[Claim]:
    """Whether AlexNet overfits, and whether it begins to where the order of figure 4 turns round."""
    found = [
        Claim(
            "AlexNet begins to overfit.",
            "appendix A.1, figure 6",
            f"mean test loss in the last fifth of training less that in the one of {PARTS} parts before it in which it is least",
            results.above_end(minus_test_loss, "alexnet"),
            0.0,
            NONE,
            decided_after=Late("how the rise is measured: noise alone could rise"),
        )
    ]
    for words, loss_at in TURNS:
        found.append(
            Claim(
                "Where AlexNet starts to have the smaller dot products tracks where it begins to overfit.",
                "section 4; appendix A.1, figure 6",
                f"log2 of the ratio of the training loss {words}, to that at its least test loss, for the sums of dot products on "
                "each batch",
                ratios(results, loss_at, loss_at_overfitting, ["dot products"]),
                NEAR,
                WHY_NEAR,
                about=0.0,
                decided_after=Late(
                    "that recent and long-ago batches count, too, and what follows where AlexNet leads to the end",
                    {"quick": [1]},
                ),
            )
        )
    return found


FIGURE = Figure(
    title="Test loss of AlexNet and small AlexNet",
    did="Draws the test loss of figure 4's networks, to compare where AlexNet begins to overfit with where its dot "
    "products become smaller than small AlexNet's.",
    shows={
        "fig6": "Each line is one seed, a dot its least test loss: from there on, if it is not the last, the network overfits."
    },
    departures=("A network is said to begin to overfit at its least test loss, of one evaluation in an epoch.",),
    draw=draw,
    claims=claims,
    unjudged=UNJUDGED,
)
