"""interventions: training from weights that fit random labels. coherent_gradients, section 5; Liu et al. (2020)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

from papers.interventions._accuracy import evaluated, overfit_at
from papers.interventions._means import draw_means
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, DASHES, Axes, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

FIRST = "random_labels"
RULES = {
    "mean": "SGD",
    "winsorized": "winsorized, c = 4",
    "clipped": "clipped",
    "momentum": "momentum",
    "decay": "weight decay",
    "both": "momentum and decay",
}
COURSES = ("mean", "winsorized", "clipped")  # that the picture follows
BEGINS = {"usual": "usual weights", "adversarial": "weights that fit random labels"}
LEVEL = 0.9  # of the training accuracy, at which overfit is compared
MARKED, WHY_MARKED = 0.02, "two hundredths of accuracy, as in interventions/outliers: less is no marked difference"
FITTED, WHY_FITTED = 0.95, "all but a twentieth of the random labels"

CONTROL = Late(
    "that what helps from usual weights as much is no help to escape; the setting was known, too",
    {"quick": range(11, 16)},
)

Measure = Callable[[Run], Sample]


def setting(begin: str, rule: str) -> str:
    """The name of a setting."""
    return f"{begin}_{rule}"


def overfit(run: Run) -> Sample:
    """Training less test accuracy where the training accuracy first reaches LEVEL."""
    return overfit_at(run, LEVEL)


def test_at_end(run: Run) -> Sample:
    """The test accuracy of the last evaluation."""
    return Sample(float(evaluated(run, "test_accuracy")[-1]))


def fitted(run: Run) -> Sample:
    """The training accuracy of the last evaluation."""
    return Sample(float(evaluated(run, "train_accuracy")[-1]))


def less(of: Measure, one: Run, other: Run) -> Sample:
    """A number of one run less that of another."""
    return Sample(of(one).value - of(other).value)


def less_of_less(of: Measure, one: Run, less_one: Run, other: Run, less_other: Run) -> Sample:
    """A difference of two runs less that of two others."""
    return Sample(less(of, one, less_one).value - less(of, other, less_other).value)


def owed(results: Results, rule: str) -> Measurement:
    """How much more a rule overfits from the weights that fit random labels than from usual ones."""
    return results.measure(partial(less, overfit), setting("adversarial", rule), setting("usual", rule))


def owed_less(results: Results, rule: str, other: str) -> Measurement:
    """How much more of that one rule has than another."""
    names = [setting(begin, one) for one in (rule, other) for begin in ("adversarial", "usual")]
    return results.measure(partial(less_of_less, overfit), *names)


def helps_to_escape(results: Results, rule: str) -> Measurement:
    """How much higher the test accuracy ends than with SGD, beyond what that is from usual weights."""
    names = [setting(begin, one) for begin in ("adversarial", "usual") for one in (rule, "mean")]
    return results.measure(partial(less_of_less, test_at_end), *names)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Overfit over training accuracy, the overfit at equal training accuracy, and the test accuracy at the end."""
    results.need_some()
    figure = new_figure(10.6, 4.2)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    _draw_courses(left, results)
    for axes, of, words in (
        (middle, overfit, f"overfit at a training accuracy of {LEVEL:g}"), (right, test_at_end, "test accuracy at the end")
    ):  # fmt: skip
        for begin, colour, shift in zip(BEGINS, COLOURS[:2], (-0.12, 0.12), strict=True):
            rows = [(told, results.measure(of, setting(begin, rule))) for rule, told in RULES.items()]
            draw_means(axes, rows, colour, shift)
        axes.set_xlabel(words)
    right.set_yticklabels([])
    return {"adversarial_initialization": figure}


def _draw_courses(axes: Axes, results: Results) -> None:
    for begin, colour in zip(BEGINS, itertools.cycle(COLOURS)):
        for rule, dash in zip(COURSES, DASHES[:3], strict=True):
            for place, run in enumerate(results.runs(setting(begin, rule))):
                x, y = evaluated(run, "train_accuracy"), evaluated(run, "overfit")
                words = f"{BEGINS[begin]}, {RULES[rule]}" if place == 0 else ""
                axes.plot(x, y, color=colour, linestyle=dash, linewidth=0.8, label=words)
    axes.axvline(LEVEL, color="#999999", linewidth=0.8)
    axes.set(xlabel="training accuracy", ylabel="overfit: training less test accuracy", ylim=(None, 0.26))
    axes.legend(fontsize=7, loc="upper left")


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether such weights make SGD generalize worse, and what of that suppressed directions or bounded influence undo."""
    liu, coherent = "Liu et al. (2020)", "coherent_gradients, sections 3 and 5"
    excess = (
        f"overfit from weights that fit random labels less that from usual ones, at a training accuracy of {LEVEL:g}"
    )
    final = "test accuracy at the end, from weights that fit random labels: what it gains from {}, less what it gains from usual weights"

    def lost(rule: str) -> Measurement:
        return results.measure(partial(less, test_at_end), setting("usual", rule), setting("adversarial", rule))

    from_either = "test accuracy at the end from usual weights less that from weights that fit random labels"
    return [
        Claim(
            "Random labels alone can be fitted.", liu, "training accuracy on random labels at the end",
            results.measure(fitted, FIRST), FITTED, WHY_FITTED,
        ),
        Claim(
            "From weights that fit them SGD overfits markedly more.", liu, f"{excess}: SGD",
            owed(results, "mean"), MARKED, WHY_MARKED,
        ),
        Claim(
            "It never makes up for it: there are bad minima, and SGD ends in them.", liu, f"{from_either}: SGD",
            lost("mean"), MARKED, WHY_MARKED,
        ),
        Claim(
            "Winsorized gradients, which follow strong directions, owe less to such weights.", coherent,
            f"{excess}: SGD's less that of winsorized gradients", owed_less(results, "mean", "winsorized"), 0.0, NONE,
        ),
        Claim(
            "So do gradients of bounded length.", coherent, f"{excess}: SGD's less that of clipped gradients",
            owed_less(results, "mean", "clipped"), 0.0, NONE,
        ),
        Claim(
            "Strong directions do more than bounded influence.", coherent,
            f"{excess}: that of clipped less that of winsorized gradients", owed_less(results, "clipped", "winsorized"),
            0.0, NONE,
        ),
        Claim(
            "Momentum helps to escape.", liu, final.format("momentum"), helps_to_escape(results, "momentum"), 0.0, NONE,
            decided_after=CONTROL,
        ),
        Claim(
            "So does weight decay.", liu, final.format("weight decay"), helps_to_escape(results, "decay"), 0.0, NONE,
            decided_after=CONTROL,
        ),
        Claim(
            "With both, nothing is left of the first weights.", liu, f"{from_either}: with both", lost("both"), MARKED,
            WHY_MARKED, about=0.0,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Training from weights that fit random labels",
    did="`coherent_gradients` explains why SGD generalizes badly from an adversarial initialization: similar examples look different there, and "
    "so their gradients share less. Liu, Papailiopoulos and Achlioptas (*Bad Global Minima Exist and SGD Can Reach Them*, 2020) trained on "
    "random labels first: from there SGD on true labels ends in weights that fit them and generalize much worse, unless it is regularized. The "
    "figure has this on a small network, and asks whether it helps to follow only what examples share.",
    shows={
        "adversarial_initialization": "Left: each line is one seed, from its first step on. Middle and right: dots are seeds, with their mean and "
        "its 95 % interval, from usual weights in blue and from weights that fit random labels in orange."
    },
    departures=(
        "Liu et al. train convolutional networks on CIFAR-10, replicate and augment the examples with random labels, and use a learning rate "
        "that falls. Here the same 1,000 digits, with labels permuted among all of them, are the first training set.",
        "Learning rates, weight decay, the number of steps, c and the training accuracy at which overfit is compared were chosen by runs of "
        "seed 1, which is not judged; the claims and their borders were fixed before that.",
    ),
    draw=draw,
    claims=claims,
)
