"""coherent_gradients, figure 2: the shares of pristine and corrupt examples in the reduction in loss of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from papers.coherent_gradients import MIXED, noise_name
from papers.coherent_gradients._shares import (
    FIRST,
    OF,
    SAMPLED,
    SEEN,
    draw_shares,
    fitted_at_crossing,
    lead_first,
    lead_last,
    lead_later,
    noise_of_sample,
    opposite_in_sample,
)
from papers.coherent_gradients._worlds import WORLDS, draw_worlds
from sgdscope.claims import NONE, Claim, Late, Measurement, Sample
from sgdscope.document import Table
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results
from sgdscope.runs import Run

NULL_WORLDS = WORLDS[1:]
MEANS = {"at first": lead_first, "later": lead_later}  # of f_p − f_c
FITTED = 0.9  # of the pristine examples: what is 'all' of them in the paper


def draw(results: Results) -> Mapping[str, Picture]:
    """The real data and the null worlds for each share of noise; by the whole training set, and as the paper samples."""
    found = {}
    for stem, of in (("fig2", OF), ("fig2_sampled", SAMPLED)):
        draw_panel = partial(draw_shares, of=of)
        found[stem], grid = draw_worlds(results, draw_panel, True, "step, counted from 1", r"$f^p_t$ and $f^c_t$")
        for axes in grid.flat:
            axes.set_xscale("log")
            axes.set_ylim(*SEEN)
    return found


# -------------------------------------------------------------------------------------------- the claims


def on_side(sign: int, mean: Callable[[Run, str], float], world: str, run: Run) -> float:
    """f_p − f_c of a world, times `sign`."""
    return sign * mean(run, world)


def fall(run: Run, world: str) -> float:
    """Mean of f_p over the first steps less that over the later ones; half of that of f_p − f_c, as they add up to 1."""
    return (lead_first(run, world) - lead_later(run, world)) / 2


def comes_together(run: Run) -> float:
    """Mean of f_c − f_p while the corrupt examples are learned, less what parts the curves in the mean thereafter."""
    return -lead_later(run) - abs(lead_last(run))


def claims(results: Results) -> list[Claim]:
    """Whether pristine examples drive the first steps and corrupt ones the later, and chance does not make it so."""
    place = "section 2.4, figure 2"
    first = f"over the measured ones of the first {FIRST} steps"
    later = "while corrupt examples are learned, from half of them to nine tenths"
    found = []

    def claim(
        says: str, where: str, quantity: str, measured: Measurement | Mapping[str, Measurement],
        border: float = 0, why: str = NONE, after: Late | None = None,
    ) -> None:  # fmt: skip
        found.append(Claim(says, f"{place}{where}", quantity, measured, border, why, decided_after=after))

    for percent in MIXED:
        name, noise = noise_name(percent), f"({percent} % noise)"
        sign, side, more = (1, "above", "more") if percent <= 50 else (-1, "below", "fewer")

        def measure(of: Callable[[Run], float], name: str = name) -> Measurement:
            return results.measure(lambda run: Sample(of(run)), name)

        if percent <= 50:
            claim(f"At first the pristine examples bring down the loss by more than the corrupt ones {noise}.",
                  ", row 1", f"mean of fᵖ − fᶜ {first}", measure(lead_first))  # fmt: skip
            claim(f"Then the curves cross: later the corrupt examples bring it down by more {noise}.",
                  ", row 1", f"mean of fᶜ − fᵖ {later}", measure(lambda run: -lead_later(run)))  # fmt: skip
            claim(f"When the curves cross, the pristine examples are fitted {noise}.",
                  ", row 1", "training accuracy on the pristine examples when fᵖ first falls to fᶜ",
                  measure(fitted_at_crossing), FITTED, "nine tenths: nearly all")  # fmt: skip
            claim(f"In the end, when the corrupt examples are fitted as well, the curves come together {noise}.",
                  ", row 1", f"mean of fᶜ − fᵖ {later}, less the absolute value of its mean thereafter",
                  measure(comes_together))  # fmt: skip
        else:
            claim(f"The curves do not cross: corrupt examples, being so many, bring the loss down by more throughout "
                  f"{noise}.",
                  ", row 1", f"mean of fᶜ − fᵖ {first}, and {later}",
                  {when: measure(partial(on_side, -1, mean, "")) for when, mean in MEANS.items()})  # fmt: skip
        claim(f"Where it is random who is corrupt, the curves do not cross: fᵖ stays {side} fᶜ, since there are {more} "
              f"pristine examples {noise}.",
              ", rows 2 to 4", f"mean of {'fᵖ − fᶜ' if sign > 0 else 'fᶜ − fᵖ'} {first}, and {later}, of each of 3 null worlds",
              {f"null world {row}, {when}": measure(partial(on_side, sign, mean, world))
               for row, world in enumerate(NULL_WORLDS, 1) for when, mean in MEANS.items()})  # fmt: skip
        claim(f"The share of the pristine examples falls, and by more than chance would have it {noise}.",
              "", f"mean of fᵖ {first} less that {later}; less the mean of 3 null worlds, against all permutations of the worlds",
              results.of_worlds(lambda run: [fall(run, world) for world in WORLDS], name),
              after=Late("the mean of the null worlds in place of the largest"))  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------- the sample


def table(results: Results) -> list[Table]:
    """What the paper's sample of 400 examples and 600 weights shows, beside the exact shares; means over the seeds."""
    columns: Sequence[tuple[str, Callable[[Run], float]]] = (
        ("fᵖ − fᶜ at first, exact", lead_first),
        ("sampled", partial(lead_first, of=SAMPLED)),
        ("fᵖ − fᶜ later, exact", lead_later),
        ("sampled", partial(lead_later, of=SAMPLED)),
        ("root mean square distance of fᵖ", noise_of_sample),
        ("steps with the other kind in the lead", opposite_in_sample),
    )
    rows = []
    for percent in MIXED:
        found = [results.measure(lambda run, of=of: Sample(of(run)), noise_name(percent)) for _, of in columns]
        if all(one.samples for one in found):
            rows.append([f"{percent} %", *(f"{one.summary.mean:.2f} ± {one.summary.deviation:.2f}" for one in found)])
    return [Table(["Noise", *(words for words, _ in columns)], rows)] if rows else []


FIGURE = Figure(
    title="Shares of pristine and corrupt examples in the reduction in loss of each step, against null worlds",
    did="Splits the squared norm of the gradient, to which the loss of a step falls in proportion, into what is due to "
    "pristine and what to corrupt examples, fᵖ + fᶜ = 1, and compares it with worlds in which the designations are "
    "permuted.",
    shows={
        "fig2": "First row: the real designations. Other rows: three worlds in which it is random who is called corrupt. "
        "Each line is one seed; grey: equal shares. What lies far outside 0 to 1 is cut off.",
        "fig2_sampled": "The same as the paper estimates it, from 400 examples and 300 weights of each layer, drawn once for each "
        "seed: what differs from the picture above is the noise of the sample. The table below compares the two, mean and "
        "standard deviation of the seeds.",
    },
    departures=(
        "The paper estimates the shares from 400 examples and 600 weights. The claims here are judged by the exact ones: all "
        "examples of the training set, all weights, at the weights of log-spaced steps. The estimate stands beside them.",
        "An example's part holds the square of its own gradient. Among 400 examples, and even more so in a batch of 100, "
        "that is much of it, and those with long gradients gain by it; among all examples it is little.",
        "Where the paper speaks of what comes first and later, means are taken over the first 10 steps and, over the "
        "logarithm of the step, from when half of the corrupt examples are learned to when nine tenths are. 'Fitted' is "
        "nine tenths of the pristine examples. All of this was decided before any curve of the whole training set was "
        "seen. As the curves turned out to differ much from step to step, they are measured also at evenly spaced steps, "
        "and what is said of the end is of a mean, in place of the last step.",
    ),
    draw=draw,
    claims=claims,
    tables=table,
)
