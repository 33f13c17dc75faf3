"""interventions: what SGD owes to the length of its steps, and what to the temperature of an SDE. implicit_regularization, section 4."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from papers.interventions._means import draw_means, with_interval
from sgdscope.aggregate import measured_values
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample, TooLittle
from sgdscope.document import Table
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Axes, Picture, add_header, new_figure, strokes
from sgdscope.results import Results
from sgdscope.runs import Run

DRAWN = {"shuffled": "without replacement", "drawn_anew": "with replacement"}
RULES = {
    "sgd": "SGD",
    "small": "SGD, ε/8",
    "steps_n2": "2-step SGD",
    "steps_n8": "8-step SGD",
    "svag_l2": "SVAG, l = 2",
    "svag_l4": "SVAG, l = 4",
    "svag_l8": "SVAG, l = 8",
}
LAST = 3  # moments at the end of training
AT_END = f"test accuracy, mean of the last {LAST} of 10 evaluations"
LATE = Late(
    f"the mean of the last {LAST} evaluations in place of the highest of 10, which favours noise",
    {"quick": range(11, 16)},
)
SDE, MOVES, SMALL = "svag_l8", "steps_n8", "small"
LEVEL = 0.1  # of the training loss, at which regularizers are compared
SIMILAR, WHY_SIMILAR = 0.01, "a hundredth of accuracy: less is no reason to draw batches in another way"


def accuracy(run: Run) -> Sample:
    """The mean test accuracy of the last of ten moments that are equally far apart in learning rate times steps.

    The highest of ten would favour rules whose accuracies scatter more.
    """
    return Sample(float(measured_values(run, "eval.test_accuracy")[-LAST:].mean()))


def regularizer(run: Run) -> Sample:
    """log2 of C_reg where the training loss first comes down to LEVEL; between measurements linear in both logarithms."""
    loss, found = (measured_values(run, f"implicit_regularizer.{name}") for name in ("loss", "regularizer"))
    below = np.flatnonzero(loss <= LEVEL)
    if not below.size or below[0] == 0:
        raise TooLittle(f"{run.folder.name}: the training loss does not come down to {LEVEL:g}")
    around = slice(below[0] - 1, below[0] + 1)
    falling = np.log2(loss[around])[::-1]
    return Sample(float(np.interp(math.log2(LEVEL), falling, np.log2(found[around])[::-1])))


def less(of: Callable[[Run], Sample]) -> Callable[[Run, Run], Sample]:
    """A number of one run less that of another."""
    return lambda one, other: Sample(of(one).value - of(other).value)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """The test accuracies of all settings, and the regularizer as the loss falls."""
    results.need_some()
    figure = new_figure(10.0, 3.8)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.1, 1.1, 1.2))
    for axes, of in ((left, accuracy), (middle, regularizer)):
        for drawn, colour, shift in zip(DRAWN, COLOURS[:2], (-0.12, 0.12), strict=True):
            rows = [(label, results.measure(of, f"{drawn}_{rule}")) for rule, label in RULES.items()]
            draw_means(axes, rows, colour, shift)
    left.set_xlabel("test accuracy at the end")
    middle.set_xlabel(f"log₂ C_reg at a training loss of {LEVEL:g}")
    middle.set_yticklabels([])
    add_header(figure, None, strokes(list(DRAWN.values())))
    _draw_regularizers(right, results)
    return {"finite_steps": figure}


def _draw_regularizers(axes: Axes, results: Results) -> None:
    for rule, colour in zip(("sgd", SMALL, MOVES, SDE), itertools.cycle(COLOURS)):
        for place, run in enumerate(results.runs(f"drawn_anew_{rule}")):
            loss, found = (measured_values(run, f"implicit_regularizer.{name}") for name in ("loss", "regularizer"))
            axes.plot(loss, found, color=colour, linewidth=0.7, label=RULES[rule] if place == 0 else "")
    axes.axvline(LEVEL, color="#999999", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="training loss C (falls to the right)", ylabel="C_reg")
    axes.set_title("with replacement")
    axes.xaxis.set_inverted(True)
    axes.legend(fontsize=8)


def tables(results: Results) -> list[Table]:
    """The numbers of all settings."""
    rows = []
    for drawn, words in DRAWN.items():
        for rule, label in RULES.items():
            by_number = [results.measure(of, f"{drawn}_{rule}") for of in (accuracy, regularizer)]
            rows.append([words, label, *(with_interval(one, form) for one, form in zip(by_number, (".4f", ".2f")))])
    return [
        Table(
            [
                "Batches",
                "Rule, with 95 % intervals",
                f"Test accuracy, last {LAST} evaluations",
                "log₂ C_reg at equal loss",
            ],
            rows,
        )
    ]


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether what keeps the temperature does as well as SGD, and whether it has SGD's regularizer."""

    def both(of: Callable[[Run], Sample], one: str, other: str) -> dict[str, Measurement]:
        return {
            words: results.measure(less(of), f"{drawn}_{one}", f"{drawn}_{other}") for drawn, words in DRAWN.items()
        }

    def better(says: str, one: str, other: str) -> Claim:
        quantity = f"{AT_END}, {RULES[one]} less {RULES[other]}; without and with replacement"
        measured = both(accuracy, one, other)
        return Claim(says, "implicit_regularization, section 4", quantity, measured, 0.0, NONE, decided_after=LATE)

    def lower(says: str, one: str, other: str) -> Claim:
        quantity = f"log2 of C_reg at a training loss of {LEVEL:g}, {RULES[other]} over {RULES[one]}; without and with replacement"
        measured = both(regularizer, other, one)
        return Claim(says, "implicit_regularization, sections 2.3 and 4", quantity, measured, 0.0, NONE)

    return [
        better("SGD generalizes better than with an eighth of the learning rate, in as long a time.", "sgd", SMALL),
        better("So does the SDE, as near as SVAG comes to it with l = 8: temperature helps.", SDE, SMALL),
        better("So do 8 moves on each batch: short moves at the same temperature help.", MOVES, SMALL),
        better("SGD generalizes better than the SDE: finite steps help.", "sgd", SDE),
        better("SGD generalizes better than 8-step SGD at the same learning rate and temperature.", "sgd", MOVES),
        Claim(
            "SGD generalizes alike with and without replacement.", "implicit_regularization, sections 2.2 and 4",
            f"{AT_END}, without less with replacement",
            results.measure(less(accuracy), "shuffled_sgd", "drawn_anew_sgd"), SIMILAR, WHY_SIMILAR, about=0.0, decided_after=LATE,
        ),
        lower("At equal training loss SGD's regularizer is lower than with an eighth of the learning rate.", "sgd", SMALL),
        lower("It is lower than that of the SDE: finite steps lower it.", "sgd", SDE),
        lower("It is lower than that of 8-step SGD.", "sgd", MOVES),
    ]  # fmt: skip


FIGURE = Figure(
    title="SGD's steps or its temperature?",
    did="`implicit_regularization` holds against the stochastic differential equation that n-step SGD, of the same "
    "learning rate ε and the same temperature ε/B, generalizes worse, and explains SGD by a regularizer C_reg that steps of finite "
    "length have. But n-step SGD differs from the equation, too. SVAG (Li, Malladi and Arora, 2021) comes the nearer to it the larger l is: l "
    "times as many steps, each an l-th as long, with SGD's noise. The figure has both beside SGD, and beside an eighth of the "
    "learning rate, of which the temperature is an eighth, too.",
    shows={
        "finite_steps": "Left, middle: dots are seeds, with their mean and its 95 % interval; SVAG with l = 1 is SGD. Right: each "
        "line is one seed."
    },
    departures=(
        "Where examples are drawn independently, SVAG's second batch still has distinct examples; where they are not, it is drawn "
        "from the whole training set, whatever the epoch has had.",
        "C_reg is that of the epoch's own batches. It goes to 0 with the loss, and so is compared where the loss is the same.",
        "One learning rate. The paper compares the best ones of each rule, and tries Wide-ResNets on CIFAR-10, besides the network "
        "of this kind.",
        "Learning rate, epochs and the loss at which regularizers are compared were chosen by runs of seed 1, which is not judged.",
    ),
    draw=draw,
    claims=claims,
    tables=tables,
)
