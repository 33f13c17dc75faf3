"""interventions: strong directions, or bounded influence? What keeps noisy labels from being fitted. coherent_gradients, section 5."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from papers.interventions._accuracy import evaluated, overfit_at
from papers.interventions._means import draw_means
from sgdscope.claims import NONE, Claim, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import Axes, Picture, new_figure, strokes
from sgdscope.results import Results
from sgdscope.runs import Run

RULES = {
    "mean": "mean",
    "winsorized": "winsorized, c = 8",
    "trimmed": "trimmed mean, 8 %",
    "medians": "median of 3 means",
    "clipped": "clipped",
    "automatic": "all of one length",
}
STRONG, BOUNDED = ("winsorized", "trimmed", "medians"), ("clipped", "automatic")
OF_ALL = ("mean", "winsorized", "clipped")  # with the whole training set as the batch, too
LEVEL = 0.5  # of the training accuracy, at which networks are compared
NEAR, WHY_NEAR = 0.02, "two hundredths of accuracy, as in coherent_gradients/full_batch_and_width"
OVER, WHY_OVER = -0.01, "one hundredth of accuracy more, as in coherent_gradients/fig4"


def setting(results: Results, rule: str, batches: str = "small", units: int = 0) -> str:
    """The name of a setting; of the usual width, unless told."""
    return f"{batches}_{rule}_{units or results.study.values['width']}"


def widths(results: Results) -> list[int]:
    """The numbers of units of which there is a plain mean, the smallest first."""
    return sorted([results.study.values["width"], *results.study.values["other_widths"]])


def overfit(run: Run) -> Sample:
    """The overfit where the training accuracy first reaches LEVEL."""
    return overfit_at(run, LEVEL)


def margin(run: Run) -> Sample:
    """The proper accuracy of the training set less the highest training accuracy."""
    return Sample(float(evaluated(run, "proper_accuracy")[-1] - evaluated(run, "train_accuracy").max()))


def less(one: Run, other: Run) -> Sample:
    """The overfit of one run less that of another, at equal training accuracy."""
    return Sample(overfit(one).value - overfit(other).value)


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """Overfit over training accuracy, and the overfit of all settings at the same one."""
    results.need_some()
    figure = new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    _draw_courses(left, results)
    rows = [(words, setting(results, rule)) for rule, words in RULES.items()]
    rows += [(f"mean, {units} units", setting(results, "mean", units=units)) for units in widths(results)]
    rows += [(f"full batch: {RULES[rule]}", setting(results, rule, "full")) for rule in OF_ALL]
    draw_means(right, [(words, results.measure(overfit, name)) for words, name in rows])
    right.set_xlabel(f"overfit at a training accuracy of {LEVEL:g}")
    return {"outliers": figure}


def _draw_courses(axes: Axes, results: Results) -> None:
    for (rule, _), look in zip(RULES.items(), strokes(list(RULES.values()))):
        for place, run in enumerate(results.runs(setting(results, rule))):
            x, y = evaluated(run, "train_accuracy"), evaluated(run, "overfit")
            axes.plot(x, y, color=look.colour, linewidth=0.8, label=look.label if place == 0 else "")
    axes.axvline(LEVEL, color="#999999", linewidth=0.8)
    axes.set(xlabel="training accuracy ta", ylabel="overfit: ta − [ε/10 + (1 − ε) va]")
    axes.legend(fontsize=8)


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether either way to hold outliers down keeps from overfitting at equal training accuracy, and width and full batches."""
    at_equal = f"at a training accuracy of {LEVEL:g}"

    def than_mean(rules: Sequence[str], batches: str = "small") -> dict[str, Measurement]:
        mean = setting(results, "mean", batches)
        return {RULES[rule]: results.measure(less, mean, setting(results, rule, batches)) for rule in rules}

    def words(rules: Sequence[str]) -> str:
        return f"overfit of the mean less that of {', '.join(RULES[rule] for rule in rules)}, {at_equal}"

    def claim(says: str, place: str, quantity: str, measured: Mapping[str, Measurement]) -> Claim:
        return Claim(says, place, quantity, measured, 0.0, NONE)

    by_width = {units: setting(results, "mean", units=units) for units in widths(results)}
    fits = "proper accuracy of the training set less the highest training accuracy"

    def kept_from(says: str, rules: Sequence[str]) -> Claim:
        measured = {RULES[rule]: results.measure(margin, setting(results, rule)) for rule in rules}
        return Claim(says, "coherent_gradients, sections 3.3 and 5", fits, measured, OVER, WHY_OVER)

    return [
        claim(
            "What many examples agree on overfits less than the mean.", "coherent_gradients, section 3", words(STRONG),
            than_mean(STRONG),
        ),
        claim(
            "So does the mean of gradients of bounded length, whatever others agree on.", "coherent_gradients, section 5",
            words(BOUNDED), than_mean(BOUNDED),
        ),
        Claim(
            "Bounded influence does as much as strong directions.", "coherent_gradients, section 5",
            f"overfit of clipped less that of winsorized, {at_equal}",
            results.measure(less, *(setting(results, rule) for rule in ("clipped", "winsorized"))), NEAR, WHY_NEAR, about=0.0,
        ),
        kept_from("What many examples agree on does not fit the noise.", STRONG),
        kept_from("Nor do gradients of bounded length.", BOUNDED),
        claim(
            "Wider networks overfit less.", "coherent_gradients, section 5",
            f"overfit of a network less that of the next wider one, {at_equal}",
            {
                f"{wide} units beside {narrow}": results.measure(less, by_width[narrow], by_width[wide])
                for narrow, wide in itertools.pairwise(by_width)
            },
        ),
        claim(
            "With the whole training set as the batch, too, winsorized gradients overfit less.", "coherent_gradients, section 4",
            words(["winsorized"]), than_mean(["winsorized"], "full"),
        ),
        claim(
            "So do clipped ones.", "coherent_gradients, sections 4 and 5", words(["clipped"]), than_mean(["clipped"], "full"),
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Strong directions, or bounded influence?",
    did="`coherent_gradients` explains by weak directions, which few examples share, that networks fit noise, and suppresses them by "
    "winsorizing every weight's gradients; it asks how that compares with the clipping of Abadi et al. (2016), which shortens each example's "
    "gradient, whatever other examples' are. The figure has both, and more of either kind, where half of the labels are noise.",
    shows={
        "outliers": "Left: each line is one seed, from its first step on. Right: dots are seeds, with their mean and its 95 % interval; "
        "settings that do not come to the training accuracy are missing."
    },
    departures=(
        "The paper compares after as many steps. Estimators that train slowly overfit less in as many steps, and so the "
        "training accuracy is the same here.",
        "Adversarial initializations, of which the paper asks, too, are `interventions/adversarial_initialization`.",
        "Learning rates, the length to which gradients are clipped and the training accuracy at which networks are compared were chosen "
        "by runs of seed 1, which is not judged.",
    ),
    draw=draw,
    claims=claims,
)
