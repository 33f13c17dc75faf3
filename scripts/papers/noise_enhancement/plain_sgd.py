"""noise_enhancement, section 2, with plain SGD in place of Adam: whether noise enhancement does the same."""

from __future__ import annotations

from functools import partial

from papers.noise_enhancement._curves import (
    Curve,
    add_legend,
    best_batches,
    by_seed,
    curve,
    draw_over_batches,
    gain_at_best_batches,
    judged,
    seeds_of,
    time_growth,
)
from sgdscope.claims import NONE, Claim, Measurement, Sample, TooLittle, over_seeds
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, Stroke, new_figure, shades
from sgdscope.results import Results

NETWORK = "F1"


def curves(results: Results) -> dict[float, Curve]:
    """What came of each alpha, the first of which is 1."""
    return {alpha: curve(results, settings) for alpha, settings in results.study.by(NETWORK, "alpha").items()}


def draw(results: Results) -> dict[str, Picture]:
    """Test accuracy and convergence time over the batch size."""
    results.need_some()
    figure = new_figure(8.4, 3.6)
    panels = figure.subplots(1, 2)
    found = curves(results)
    for (alpha, one), colour in zip(found.items(), shades(len(found))):
        draw_over_batches(panels, one, Stroke(f"α = {alpha:g}", colour))
    panels[0].set_title(f"{NETWORK}, plain SGD", loc="left")
    add_legend(panels[1])
    return {"plain_sgd": figure}


def gain_in_large_batches(plain: Curve, enhanced: Curve) -> Measurement:
    """By how much noise enhancement raises the test accuracy with the largest batches that both have."""
    batches = [[setting["batch"] for setting in one.settings] for one in (plain, enhanced)]
    largest = max({*batches[0]} & {*batches[1]}, default=None)
    if largest is None:
        raise TooLittle("there is no batch size with which both converge")
    pairs = zip(*[one.accuracy[of_one.index(largest)] for one, of_one in zip((plain, enhanced), batches)])
    return over_seeds(dict(zip(seeds_of(plain), pairs)), lambda one, other: Sample(float(other - one)))


def claims(results: Results) -> list[Claim]:
    """Whether noise enhancement raises the test accuracy, and what it costs."""
    (plain, enhanced), place = curves(results).values(), "section 2, equation 6"
    return [
        Claim(
            "The noise enhancement improves generalization at the best batch sizes.", place,
            "highest test accuracy with α = 1.5 less that with α = 1", judged(gain_at_best_batches, plain, enhanced), 0.0, NONE,
        ),
        Claim(
            "It does so with large batches, which are left as they are.", place,
            "test accuracy with α = 1.5 less that with α = 1, with the largest batches",
            judged(gain_in_large_batches, plain, enhanced), 0.0, NONE,
        ),
        Claim(
            "The convergence time increases with α at a fixed batch size.", "section 3.1",
            "slope of log2 of the convergence time over α, mean over batch sizes",
            judged(partial(by_seed, time_growth), plain, enhanced), 0.0, NONE,
        ),
    ]  # fmt: skip


FIGURE = Figure(
    title="Noise enhancement with plain SGD in place of Adam",
    did="Derives noise enhancement for plain SGD, says that it is also applicable to Adam, and does all experiments with Adam. This "
    "is the experiment of its figure 2 with plain SGD, and ours.",
    shows={
        "plain_sgd": "Mean and standard deviation over the seeds; settings of which a run did not reach L** are left out. "
        "Convergence time: steps until the training loss is L**."
    },
    departures=("The learning rate is 0.1 for all batch sizes, halved at L* as Adam's is. It was not tuned.",),
    draw=draw,
    claims=claims,
    tables=best_batches,
)
