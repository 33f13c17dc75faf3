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
    comes_together,
    crossing_over_fitted,
    draw_shares,
    lead_first,
    lead_later,
    least_lead,
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
MEDIAN = Late("the median over the later steps in place of the mean, which single steps decide")
MOSTLY = Late("nearly all of the axis in place of the means over two parts of it")


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


def fall(run: Run, world: str) -> float:
    """Mean of f_p over the first steps less its median over the later ones; half of that of f_p − f_c: they add up to 1."""
    return (lead_first(run, world) - lead_later(run, world)) / 2


def claims(results: Results) -> list[Claim]:
    """Whether pristine examples drive the first steps and corrupt ones the later, and chance does not make it so."""
    place = "section 2.4, figure 2"
    first = f"over the measured ones of the first {FIRST} steps"
    later = "while corrupt examples are learned, from half of them to nine tenths"
    mostly = "exceeds in 95 of 100 parts of the axis, up to the step at which nine tenths of the corrupt examples are learned"
    nulls = "less the mean of 3 null worlds, against all permutations of the worlds"
    found = []

    def claim(
        says: str, where: str, quantity: str, measured: Measurement | Mapping[str, Measurement],
        border: float = 0, why: str = NONE, after: Late | None = None, about: float | None = None,
    ) -> None:  # fmt: skip
        found.append(Claim(says, f"{place}{where}", quantity, measured, border, why, about, after))

    for percent in MIXED:
        name, noise = noise_name(percent), f"({percent} % noise)"
        sign, side, more = (1, "above", "more") if percent <= 50 else (-1, "below", "fewer")

        def measure(of: Callable[[Run], float], name: str = name) -> Measurement:
            return results.measure(lambda run: Sample(of(run)), name)

        def of_worlds(of: Callable[[Run, str], float], name: str = name) -> Measurement:
            return results.of_worlds(lambda run: [of(run, world) for world in WORLDS], name)

        if percent <= 50:
            claim(f"At first the pristine examples bring down the loss by more than the corrupt ones {noise}.",
                  ", row 1", f"mean of fᵖ − fᶜ {first}; {nulls}, to which the number of pristine examples alone gives a lead",
                  of_worlds(lead_first),
                  after=Late("that null worlds are subtracted: fᵖ is above fᶜ in these, too"))  # fmt: skip
            claim(f"Then the curves cross: later the corrupt examples bring it down by more {noise}.",
                  ", row 1", f"median of fᶜ − fᵖ {later}; above 0 if fᶜ is the larger one for most of that part of the axis",
                  measure(lambda run: -lead_later(run)), after=MEDIAN)  # fmt: skip
            claim(f"When the curves cross, the pristine examples are fitted {noise}.",
                  ", row 1", "log2 of the step that best tells fᵖ > fᶜ before it from fᵖ < fᶜ after it, over that at which 99 % of the "
                  "pristine examples are fitted",
                  measure(crossing_over_fitted), 1.0, "a factor of 2 either way: corrupt examples take many times as long",
                  Late("steps in place of the accuracy when they cross, which only grows; 99 % in place of 90 %; and what a crossing is"),
                  about=0.0)  # fmt: skip
            claim(f"In the end, when the corrupt examples are fitted as well, the curves come together {noise}.",
                  ", row 1", f"median of |fᵖ − fᶜ| {later}, less that thereafter",
                  measure(comes_together),
                  after=Late("medians of the distance: curves far apart on either side in turn had a mean of 0"))  # fmt: skip
        else:
            claim(f"The curves do not cross: corrupt examples, being so many, bring the loss down by more throughout "
                  f"{noise}.",
                  ", row 1", f"what fᶜ − fᵖ {mostly}", measure(partial(least_lead, sign=-1)), after=MOSTLY)  # fmt: skip
        claim(f"Where it is random who is corrupt, the curves do not cross: fᵖ stays {side} fᶜ, since there are {more} "
              f"pristine examples {noise}.",
              ", rows 2 to 4", f"what {'fᵖ − fᶜ' if sign > 0 else 'fᶜ − fᵖ'} {mostly}, of each of 3 null worlds; that the mean over "
              "all permutations is on that side is so of any network",
              {f"null world {row}": measure(partial(least_lead, world=world, sign=sign)) for row, world in enumerate(NULL_WORLDS, 1)},
              after=MOSTLY)  # fmt: skip
        claim(f"The share of the pristine examples falls, and by more than chance would have it {noise}.",
              "", f"mean of fᵖ {first} less its median {later}; {nulls}",
              of_worlds(fall),
              after=Late(f"the mean of the null worlds in place of the largest, and {MEDIAN.what}"))  # fmt: skip
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
        "Where the paper speaks of what comes first and later, the mean is taken over the first 10 steps and the median over the "
        "logarithm of the step from when half of the corrupt examples are learned to when nine tenths are. These steps were "
        "decided on before any curve of the whole training set was seen. As the curves turned out to differ much from step to "
        "step, and the more so the shorter the gradient is, they are measured also at evenly spaced steps, and medians are taken.",
        "In a null world the mean of fᵖ over all permutations is the share of pristine examples, whatever the network does. So the "
        "claims on null worlds ask only how far single ones are from it, and what comes first is told from it.",
    ),
    draw=draw,
    claims=claims,
    tables=table,
)
