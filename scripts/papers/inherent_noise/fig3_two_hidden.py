"""inherent_noise, figure 3 as it may also be read: networks with two hidden layers of so many units each."""

from __future__ import annotations

from papers.inherent_noise import fig3
from sgdscope.claims import Claim
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture
from sgdscope.results import Results


def names(results: Results) -> list[str]:
    """The networks' settings, the smallest first."""
    return [setting.name for setting in results.study.curve("networks")]


def draw(results: Results) -> dict[str, Picture]:
    """The grids of figure 3."""
    return fig3.draw_networks(results, names(results), "fig3_two_hidden")


def claims(results: Results) -> list[Claim]:
    """Those of figure 3."""
    return fig3.claims_of(results, names(results))


FIGURE = Figure(
    title="Sums of dot products, changes in loss and penalties for two hidden layers of 64, 2000 and 8000 units",
    did="Speaks of 'two layer fully connected networks' with 64, 2000 and 8000 units, which may mean two hidden layers of so many "
    "units each.",
    shows={
        "fig3_two_hidden": "As in figure 3; each line is one seed.",
        "fig3_two_hidden_by_loss": "The same over the loss itself, which spreads the later steps.",
    },
    departures=("As in figure 3, but for the second hidden layer.",),
    draw=draw,
    claims=claims,
    unjudged={"quick": "the networks have up to 500 units a layer, and one seed; the runs only try the machinery"},
)
