"""interventions: equations 9 and 13 of generalization_gap with any update δ in place of −ηg. generalization_gap, section 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from papers.generalization_gap import measured_rows, within
from sgdscope.claims import Claim, Measurement, Sample
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Picture, Stroke, add_header, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run

RULES = {"sgd": "SGD", "momentum": "momentum 0.9", "rmsprop": "RMSProp", "adam": "Adam"}
WITH_MEMORY = ("momentum", "rmsprop", "adam")
PIECES = 20  # of training, for the picture
LAST = 0.75  # of training: from there on it is late
MOMENTS = "mean of moments, {} cuts"


def changes(run: Run, *names: str) -> list[np.ndarray]:
    """Columns of the probe generalization_gap, and before them the steps."""
    return measured_rows(run, [f"generalization_gap.{name}" for name in names])


def slope(run: Run) -> Sample:
    """Of the measured change of the gap over the predicted one, least squares."""
    _, x, y = changes(run, "predicted", "measured")
    return Sample(float(np.polyfit(x, y, 1)[0]), steps=x.size)


def first_epoch(run: Run, *names: str) -> list[np.ndarray]:
    """Columns over the first epoch, whose batches are all new to the weights."""
    step, *columns = changes(run, *names)
    run.metrics.load(["step", "epoch"])
    later = run.metrics["step"][run.metrics["epoch"] >= 1].min()
    return [column[step < later] for column in columns]


def own_at_first(run: Run) -> Sample:
    """The own part's sum over the first epoch over that of the measured changes."""
    own, measured = first_epoch(run, "own", "measured")
    return Sample(float(own.sum() / measured.sum()), steps=own.size)


def own_over_average(run: Run) -> Sample:
    """The own part's sum over the first epoch over that of η tr Σ/|B|, with the η of a single update."""
    own, trace = first_epoch(run, "own", "covariance_trace")
    average = run.config["update"]["learning_rate"] * trace / run.config["batch_size"]
    return Sample(float(own.sum() / average.sum()), steps=own.size)


def late_shift(run: Run) -> Sample:
    """The size of the mean shift over the mean own part, late in training."""
    step, own, shift = changes(run, "own", "shift")
    late = step >= LAST * (step[-1] + 1)
    return Sample(abs(float(shift[late].mean() / own[late].mean())), steps=int(late.sum()))


def over_error(run: Run) -> Sample:
    """The distance from equation 13 in its standard errors, mean over the moments."""
    _, distance, error = measured_rows(run, ["sgd_gd_gap.average.distance", "sgd_gd_gap.average.error"])
    return Sample(float((distance / error).mean()))


def error(run: Run) -> Sample:
    """That standard error, mean over the moments."""
    return Sample(float(measured_rows(run, ["sgd_gd_gap.average.error"])[1].mean()))


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """For each rule, over pieces of training, the measured change of the gap beside own part and shift."""
    results.need_some()
    figure = new_figure(10.4, 3.0)
    looks = {
        "measured": Stroke("measured change of the gap", COLOURS[6]),
        "own": Stroke("own part", COLOURS[0]),
        "shift": Stroke("shift", COLOURS[2]),
    }
    for axes, (rule, title) in zip(figure.subplots(1, len(RULES)), RULES.items()):
        axes.axhline(0, color="#999999", linewidth=0.8)
        for run in results.runs(rule):
            step, *columns = changes(run, *looks)
            for look, column in zip(looks.values(), columns):
                means = [part.mean() for part in np.array_split(column, PIECES)]
                steps = [part.mean() for part in np.array_split(step, PIECES)]
                axes.plot(steps, means, color=look.colour, linewidth=0.8)
        axes.set(title=title, xlabel="step")
        axes.axvline(len(first_epoch(run, "own")[0]), color=RED, linewidth=0.8, linestyle=":")
    figure.axes[0].set_ylabel("mean over a twentieth of training")
    add_header(figure, None, list(looks.values()))
    return {"delta": figure}


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether the equations hold with δ, and with the η of a single update."""

    def of(number: Callable[[Run], Sample], rules: Sequence[str] = WITH_MEMORY) -> dict[str, Measurement]:
        return {RULES[rule]: results.measure(number, rule) for rule in rules}

    rules = ", ".join(RULES[rule] for rule in WITH_MEMORY)
    cuts = results.study.values["halves"]["draws"]
    return [
        Claim(
            "A step changes the gap by δ · (g_A − g_B), whatever the rule.", "generalization_gap, equation 9, left",
            f"slope of the measured over the predicted change of all steps; {rules}", of(slope), 0.2, within(0.2), about=1.0,
        ),
        Claim(
            "As long as the batches are new to the weights, it does so on average by −tr Cov(δ, g_B).",
            "generalization_gap, equation 9, right", f"own part over the measured changes, sums of the first epoch; {rules}",
            of(own_at_first), 0.25, within(0.25), about=1.0,
        ),
        Claim(
            "With momentum that is η tr Σ/|B| of a single update: what the velocity remembers adds nothing.",
            "generalization_gap, equation 9, right", "own part over η tr Σ/|B|, sums of the first epoch",
            of(own_over_average, ["momentum"]), 0.25, within(0.25), about=1.0,
        ),
        Claim(
            "As the model is fitted, a correction is needed with every rule.", "generalization_gap, section 4",
            f"size of the mean shift over the mean own part, last quarter of the steps; {rules}", of(late_shift), 0.1,
            "a tenth: less changes little",
        ),
        Claim(
            "RMSProp's updates on half-batches differ on average from those on both by minus half the derivative of "
            "−tr Cov(δ, g_B).", "generalization_gap, equation 13",
            f"its distance in standard errors, {MOMENTS.format(cuts)}", of(over_error, ["rmsprop"]), 1.5,
            "one and a half standard errors; in the mean it is one", about=0.0,
        ),
        Claim(
            "The standard error is small enough for that to say something.", "generalization_gap, equation 13",
            f"its ratio to what is expected, {MOMENTS.format(cuts)}", of(error, ["rmsprop"]), 0.5,
            "half of what is expected", about=0.0,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="The generalization gap with any rule's update in place of −ηg",
    did="`generalization_gap` finds what a step −ηg_B on a batch B does to the gap (equation 9), and what two on half-batches differ in from two on "
    "both (equation 13), and says that momentum and second-order methods are easily included. The figure puts the update δ in "
    "place of −ηg_B: then the average change of the gap is −tr Cov(δ, g_B), the covariance being that of the choice of B.",
    shows={
        "delta": "Each line is one seed. Own part and shift add up to what the first order predicts; the first is estimated by "
        "other training examples than those of the batch, δ · (g_C − g_B), the second is δ · (g_A − g_C) with test examples A. "
        "Left of the dotted line no example has been used before."
    },
    departures=(
        "In equation 13 RMSProp's average is that of the whole batch's own gradient and stays the same for all updates; ε is "
        "0.001. Were it to change with each half-batch, δ would not be linear in g, and the difference not that of equation 13.",
        "For a heavy ball equation 13 needs no measurement: what its velocity adds to two updates is linear in the batches, and "
        "nothing of it is left in the mean over both orders of two halves. Over more updates than two it is: figure memory_rules.",
        "Training examples and steps were chosen by a run of seed 1, which is not judged.",
    ),
    draw=draw,
    claims=claims,
)
