"""noise_enhancement, equations 6 and 11, with plain SGD in place of Adam: enhanced noise against smaller batches."""

from __future__ import annotations

from functools import partial

from papers.noise_enhancement._curves import add_legend, by_seed, judged
from papers.noise_enhancement.fig3 import (
    claims_of_equivalence,
    effective,
    gain_in_large_batches,
    pair,
    tables,
    time_over_alphas,
)
from sgdscope.claims import NONE, Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import COLOURS, Picture, new_figure
from sgdscope.results import Results

NETWORK = "F1"


def draw(results: Results) -> dict[str, Picture]:
    """Test accuracy and convergence time over the size of batches of the same noise, of each seed and in the mean."""
    results.need_some()
    figure = new_figure(8.4, 3.6)
    panels = figure.subplots(1, 2)
    labels = ("smaller batches, α = 1", f"α varies, B = {results.study.values['large']}")
    for arm, label, colour, marker in zip(pair(results, NETWORK), labels, COLOURS[:2], "o^", strict=True):
        sizes = [effective(setting) for setting in arm.settings]
        for axes, values in zip(panels, (arm.accuracy, arm.steps) if sizes else ()):
            axes.plot(sizes, values, color=colour, linewidth=0.6, alpha=0.5)
            axes.plot(sizes, values.mean(axis=1), color=colour, marker=marker, label=label)
    for axes, words in zip(panels, ("test accuracy", "convergence time (steps)")):
        axes.set_xscale("log")
        places = sorted(setting["batch"] for setting in results.study.curve(NETWORK, varies="batch"))
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_xticks([], minor=True)
        axes.margins(0.08)
        axes.set(xlabel="size of batches of the same noise", ylabel=words)
    panels[0].set_title(f"{NETWORK}, plain SGD", loc="left")
    add_legend(panels[1])
    return {"plain_sgd": figure}


def claims(results: Results) -> list[Claim]:
    """Whether enhanced noise is good for large batches, and does something else than smaller batches do."""
    large = results.study.values["large"]
    alphas = ", ".join(f"{one['alpha']:g}" for one in results.study.curve(NETWORK, varies="alpha") if one["alpha"] > 1)
    by_batch, by_alpha = pair(results, NETWORK)
    return [
        Claim(
            "Noise enhancement improves generalization without a change of learning rate and batch size.", "abstract; equation 6",
            f"highest test accuracy with α = {alphas} less that with α = 1 (B = {large})",
            gain_in_large_batches(results, NETWORK), 0.0, NONE,
        ),
        Claim(
            "The convergence time increases with α at a fixed batch size.", "section 3.1",
            f"slope of log2 of the convergence time over log2 α (B = {large})",
            judged(partial(by_seed, time_over_alphas), by_alpha), 0.0, NONE,
        ),
        *claims_of_equivalence("Noise enhancement", by_batch, by_alpha),
    ]  # fmt: skip


FIGURE = Figure(
    title="Enhancing the noise of large batches with plain SGD in place of Adam",
    did="Derives noise enhancement for plain SGD, of which alone equation 6 is the whole step, says that it is also applicable to "
    "Adam, and does all its experiments with Adam. This picture is ours: what its figure 3 compares, with plain SGD.",
    shows={
        "plain_sgd": "Thin lines are seeds, thick ones their means, from large batches without noise enhancement on the right to strong "
        "noise on the left; settings of which a run did not reach L** are left out. Points above one another have noise of the "
        "same covariance at the same weights; of batches with noise enhancement the size is that by equation 4. Convergence time: steps "
        "until the training loss is L**."
    },
    departures=(
        "The learning rate is 0.1 at all batch sizes and halved at L*, as that of Adam is. It and the quick variant's batches were "
        "chosen by the training loss of single runs: with 0.2 it did not fall below 0.1 in 5,000 steps, with 0.1 and α = 2 runs in "
        "batches of 200 come to L**, one in batches of 100 did not in 17,000 steps.",
        "α is 2, in the full variant also 1.5, with which the effective batch sizes are whole by equation 11, which takes N ≫ B. By "
        "equation 4 itself the noise of batches of 40 is that of 41.7 (full variant: 1000 and 2000, of 1071 and 2105), for which "
        "numbers are interpolated. The best α may be another. Large batches are of 200 in the quick variant, of 5000 in the full one.",
        "Claims and borders were fixed before any accuracy with plain SGD had been looked at, but for what is said below the claims.",
    ),
    draw=draw,
    claims=claims,
    tables=tables,
)
