"""inherent_noise, conclusion: the penalties with batch normalization, SkipInit or neither, with skip connections or without."""

from __future__ import annotations

import numpy as np

from papers.inherent_noise import NOISE_PASSES
from papers.inherent_noise.fig1 import RECENT, UPDATING, share_larger
from sgdscope.claims import HALF, Claim, Sample
from sgdscope.document import Table
from sgdscope.figure import Figure
from sgdscope.plots.style import Picture, add_header, new_figure, strokes
from sgdscope.results import Results
from sgdscope.runs import Run
from sgdscope.statistics import spread

NETWORKS = {
    "batch_skip": "batch normalization, with skip connections",
    "skipinit_skip": "SkipInit, with skip connections",
    "none_skip": "neither, with skip connections",
    "batch_plain": "batch normalization, without skip connections",
    "none_plain": "neither, without skip connections",
}
DATA = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
COLUMNS = (UPDATING[0], RECENT[0])


# ------------------------------------------------------------------------------------------- what is measured


def taken(run: Run, batch: str) -> float:
    """What the penalties on a batch have taken of what the first order gave, at the end."""
    columns = [f"taylor.{batch}.cum_{of}" for of in ("penalty", "dot")]
    run.metrics.load(columns)
    penalty, dot = (run.metrics[column][-1] for column in columns)
    return float(-penalty / dot)


def loss(run: Run) -> float:
    """The training loss at the end."""
    table, column = run.find("eval.train_loss")
    return float(table[column][-1])


# ------------------------------------------------------------------------------------------- the picture


def draw(results: Results) -> dict[str, Picture]:
    """For each data set and network how often and by how much the updating batch pays more; every seed a point."""
    results.need_some()
    data = list(dict.fromkeys(setting["data"] for setting in results.study.settings))
    figure = new_figure(9.6, 3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    places = {name: place for place, name in enumerate(reversed(NETWORKS))}
    looks = strokes([DATA[name] for name in data])
    for setting in results.study.settings:
        place = places[setting["network"]] + 0.16 * (data.index(setting["data"]) - (len(data) - 1) / 2)
        look = {"color": looks[data.index(setting["data"])].colour, "markersize": 3.5}
        for axes, of in (
            (left, lambda run: share_larger(run, COLUMNS).value),
            (right, lambda run: taken(run, "updating")),
        ):
            values = [of(outcome.run) for outcome in results.of(setting) if outcome.run]
            axes.plot(values, np.full(len(values), place), "o", **look)
    left.axvline(0.5, color="#777777", linewidth=0.9, linestyle=(0, (4, 2)))
    left.set_yticks(list(places.values()), [NETWORKS[name].replace(", ", ",\n") for name in places])
    left.set_xlabel("share of steps with |−L̂ʰ(Bᵤ)| ≥ |−L̂ʰ(Bᵣ)|")
    right.set_xlabel("penalties on Bᵤ over first order, sums over training")
    add_header(figure, None, looks)
    return {"normalization": figure}


def tables(results: Results) -> list[Table]:
    """What the penalties take, and how far training came."""
    rows = []
    for setting in results.study.settings:
        runs = [outcome.run for outcome in results.of(setting) if outcome.run]
        if not runs:
            continue
        cells = [
            [of(run) for run in runs]
            for of in (lambda run: taken(run, "updating"), lambda run: taken(run, "recent"), loss)
        ]
        rows.append(
            [DATA[setting["data"]], NETWORKS[setting["network"]],
             *[f"{np.mean(values):.2f} ± {spread(values):.2f}" for values in cells]]
        )  # fmt: skip
    header = ["Data", "Network", "Penalty over first order, updating batch", "The same, recent batch", "Training loss"]
    return [Table(header, rows)] if rows else []


# -------------------------------------------------------------------------------------------- the claims


def claims(results: Results) -> list[Claim]:
    """Whether the updating batch pays the larger penalty with each network, on all data sets."""
    data = list(dict.fromkeys(DATA[setting["data"]] for setting in results.study.settings))
    return [
        Claim(
            f"Penalties are more pronounced for the batch that is currently being used to update than for a recent one ({words}).",
            "conclusion", f"share of steps with |−L̂ʰ(Bᵤ)| ≥ |−L̂ʰ(Bᵣ)|, {' and '.join(data)} {NOISE_PASSES}",
            {
                DATA[setting["data"]]: results.measure(lambda run: Sample(share_larger(run, COLUMNS).value), setting.name)
                for setting in results.study.curve(network)
            },
            0.5, HALF,
        )
        for network, words in NETWORKS.items()
    ]  # fmt: skip


FIGURE = Figure(
    title="The penalties with batch normalization, SkipInit or neither, with skip connections and without, on several data sets",
    did="Finds that penalties are most pronounced for the updating batch, and leaves it for later how this interacts with batch "
    "normalization and skip connections, and whether it is so for more data sets and architectures.",
    shows={
        "normalization": "Each point is one seed. Left: how often the updating batch pays at least the penalty of a batch of 10 "
        "steps ago. Right: how much of what the first order gave on the updating batch the penalties have taken, at the end."
    },
    departures=(
        "All of it is ours: a convolution, blocks of two convolutions each, with or without the block's input added to its output, "
        "and a linear layer; the same learning rate, 0.05, for all. A network without normalization whose blocks are added up "
        "has larger outputs at first than the others.",
        "The paper says that penalties are most pronounced for the updating batch; here only a batch of 10 steps ago is set beside it.",
        "The quick variant has 8 channels, 1 block and 80 steps in batches of 20; the full one 64 channels, 4 blocks, 30 epochs "
        "in batches of 150, and also MNIST.",
        "What batch normalization and skip connections do to the size of the penalties is shown and not judged: the paper claims "
        "nothing of it.",
    ),
    draw=draw,
    claims=claims,
    tables=tables,
)
