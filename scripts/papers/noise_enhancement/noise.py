"""noise_enhancement, equations 10 and 11, section 4: how strong and how far from Gaussian the noise is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from papers.noise_enhancement._curves import SEEN, logarithmic
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample, TooLittle
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, RED, Axes, Picture, new_figure
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.studies import Setting

FIRST, LAST = 0, -1  # measured steps
MOMENTS = {FIRST: "first step", LAST: "last step"}
ENHANCED, REDUCED = "enhanced.estimator", "reduced.sgd"  # of the study's probes
PLAIN = "enhanced.sgd"  # without noise enhancement, in batches of the same size
NEAR = 0.1  # of a ratio of traces
FAR = 1.0  # of excess kurtosis

Quantity = Callable[[Run], float]


# ------------------------------------------------------------------------------------------- what is measured


def at(run: Run, column: str, moment: int) -> float:
    """A column at the first or the last step; TooLittle if only one of them was measured."""
    run.metrics.load(["step", column])
    known = run.metrics[column][np.isfinite(run.metrics[column])]
    if known.size < len(MOMENTS):
        raise TooLittle(f"{run.folder.name} measures {column} at {known.size} steps, of which it takes {len(MOMENTS)}")
    return float(known[moment])


def factor(setting: Setting) -> float:
    """Equation 10: how many times as large as without noise enhancement the covariance is."""
    return setting["alpha"] ** 2 + (1 - setting["alpha"]) ** 2


def ratio(above: str, below: str, moment: int) -> Quantity:
    """The trace of one covariance over that of another."""
    return lambda run: at(run, f"{above}.trace", moment) / at(run, f"{below}.trace", moment)


def kurtosis(of: str, moment: int) -> Quantity:
    """The excess kurtosis along random directions, 0 for Gaussian noise."""
    return lambda run: at(run, f"{of}.kurtosis", moment)


def difference(one: Quantity, other: Quantity) -> Quantity:
    """One less the other."""
    return lambda run: one(run) - other(run)


def over(of: Quantity, divisor: float) -> Quantity:
    """In units of a number."""
    return lambda run: of(run) / divisor


def sample(of: Quantity) -> Callable[[Run], Sample]:
    """As claims take it."""
    return lambda run: Sample(of(run))


# ------------------------------------------------------------------------------------------- the picture

LOOKS = {
    ENHANCED: ("batches of 100, enhanced", COLOURS[0], "o", 0.96),
    REDUCED: ("smaller batches", COLOURS[1], "s", 1.04),
}


def draw(results: Results) -> dict[str, Picture]:
    """Strength over alpha, and excess kurtosis over the effective batch size; every seed a point."""
    results.need_some()
    settings = results.study.curve("alphas")
    figure = new_figure(9.2, 3.9)
    left, right = figure.subplots(1, 2)
    left.plot(
        [setting["alpha"] for setting in settings], [factor(setting) for setting in settings], color=RED, linewidth=1.0,
        label="α² + (1 − α)²",
    )  # fmt: skip
    right.axhline(0, color=RED, linewidth=1.0)
    for of in LOOKS:
        for moment in MOMENTS:
            _draw_points(left, results, settings, "alpha", of, moment, ratio(of, PLAIN, moment))
            _draw_points(right, results, settings, "reduced", of, moment, kurtosis(of, moment))
    left.set(xscale="log", yscale="log", xlabel="α", ylabel="trace of the noise's covariance, without = 1")
    logarithmic(left.yaxis)
    right.set(xscale="log", xlabel="effective batch size", ylabel="excess kurtosis of the noise")
    right.set_yscale("symlog", linthresh=0.1)
    for axes, value in ((left, "alpha"), (right, "reduced")):
        places = [setting[value] for setting in settings]
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(places) / 1.25, max(places) * 1.25)
        axes.margins(y=0.08)
    left.legend(fontsize=7.5, loc="upper left")
    right.legend(right.get_lines()[:1], ["Gaussian noise"], fontsize=7.5)
    return {"noise": figure}


def _draw_points(
    axes: Axes, results: Results, settings: Sequence[Setting], value: str, of: str, moment: int, quantity: Quantity
) -> None:
    words, colour, marker, shift = LOOKS[of]
    look = {"color": colour, "linestyle": "none", "markersize": 4, "fillstyle": "full" if moment == LAST else "none"}
    for setting in settings:
        values = [quantity(outcome.run) for outcome in results.of(setting) if outcome.run]
        axes.plot(np.full(len(values), shift * setting[value]), values, marker, **look)
    axes.plot([], [], marker, label=f"{words}, {MOMENTS[moment]}", **look)


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether the noise is as strong as equations 10 and 11 say, and how far from Gaussian it is."""
    settings = results.study.curve("alphas")
    batches = ", ".join(f"{setting['reduced']}" for setting in settings)
    alphas = "α = " + ", ".join(f"{setting['alpha']:g}" for setting in settings)
    both = "at the first step and at the last"

    def measure(of: Quantity) -> dict[str, Measurement]:
        return {f"batches of {setting['reduced']}": results.measure(sample(of), setting.name) for setting in settings}

    def at_both(of: Callable[[Setting, int], Quantity]) -> dict[str, Measurement]:
        return {
            f"α = {setting['alpha']:g}, {words}": results.measure(sample(of(setting, moment)), setting.name)
            for setting in settings
            for moment, words in MOMENTS.items()
        }

    why = "off by a tenth at most; the margin was chosen before any result was seen"
    return [
        Claim(
            "The covariance of the noise is enhanced by a factor of α² + (1 − α)².", "section 2, equation 10",
            f"ratio of the traces with noise enhancement and without, over that factor, {alphas}, {both}",
            at_both(lambda setting, moment: over(ratio(ENHANCED, PLAIN, moment), factor(setting))), NEAR, why, about=1.0,
        ),
        Claim(
            "That is the covariance of the noise of the effective batch size.", "section 2, equation 11",
            f"trace with noise enhancement in batches of 100, {alphas}, over that without in batches of {batches}, {both}",
            at_both(lambda _, moment: ratio(ENHANCED, REDUCED, moment)), NEAR, why, about=1.0,
        ),
        Claim(
            "Noise enhancement suppresses the non-Gaussianity compared with the case of just reducing B.", "section 4",
            f"excess kurtosis in batches of {batches}, less that with noise enhancement in batches of 100, {alphas}, at the last step",
            measure(difference(kurtosis(REDUCED, LAST), kurtosis(ENHANCED, LAST))), 0.0, NONE,
        ),
        *[
            Claim(
                f"The noise of SGD in batches of {setting['reduced']} is far from Gaussian during training.", "section 2",
                "excess kurtosis at the last step",
                results.measure(sample(kurtosis(REDUCED, LAST)), setting.name), FAR, "1: a third of a Laplace distribution's",
                decided_after=Late("that each batch size has a claim of its own", SEEN),
            )
            for setting in settings
        ],
        Claim(
            "The noise of SGD looks Gaussian in an early stage of training.", "section 4, footnote 7",
            f"excess kurtosis in batches of {batches} at the first step",
            measure(kurtosis(REDUCED, FIRST)), FAR, "1: beyond it the noise is far from Gaussian", about=0.0,
            decided_after=Late("the claim and its border", SEEN),
        ),
        Claim(
            "It looks Gaussian only in an early stage of training.", "section 4, footnote 7",
            f"excess kurtosis in batches of {batches} at the last step less that at the first",
            measure(difference(kurtosis(REDUCED, LAST), kurtosis(REDUCED, FIRST))), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="How strong and how far from Gaussian the noise is, with noise enhancement and with smaller batches",
    did="Derives how much noise enhancement adds to the covariance of SGD's noise, and which smaller batches would have the same; "
    "says that the two are not equivalent because noise is far from Gaussian, and the less so the larger the batches are. It "
    "measures none of it: this picture is ours.",
    shows={
        "noise": "Each point is one seed: of gradients that are drawn anew at fixed weights, before training (open) and at its end "
        "(filled). Left: how much the noise varies, in units of plain SGD in batches of 100. Right: how heavy its tails are "
        "along 8 random directions. Circle and square beside one another have noise of the same strength at the same weights."
    },
    departures=(
        "The paper names no measure of how far from Gaussian noise is. Here: the excess kurtosis along random directions, which is "
        "0 for Gaussian noise and 3 for a Laplace distribution.",
        "The paper's noise is far from Gaussian 'at least for not too large batches', and does not say which are: each size is judged by "
        "itself. The excess kurtosis of the mean of independent examples falls as 1/B.",
        "Equations 10 and 11 are identities: the claims on them check the program and say nothing of networks. Equation 11 takes N ≫ B; "
        "by equation 4 itself its ratio is 0.98 in the quick variant. That noise enhancement suppresses the non-Gaussianity, too, "
        "follows wherever single examples have an excess kurtosis above 0.",
        "Each α trains in batches of 100 for 1,000 steps (full variant: 10,000), and both kinds of noise are drawn at its weights; α "
        "is chosen so that the effective batch size is whole.",
    ),
    draw=draw,
    claims=claims,
)
