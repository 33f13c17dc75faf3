"""inherent_noise, figures 3 to 5: sums over training on three batches, of networks at the same stage of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from sgdscope.claims import Claim, Late, Measurement, Sample, TooLittle
from sgdscope.plots.lines import Line, LossCurve, refined_loss
from sgdscope.plots.panels import draw_lines, use_falling_scale
from sgdscope.plots.style import STYLE, Picture, Stroke, add_header, new_figure, strokes
from sgdscope.results import Results
from sgdscope.runs import Run

# Rows and columns of the grid: column stem and heading, as on page 7 of the paper.
BATCHES = (("long_ago", "a", "long-ago batch"), ("recent", "r", "recent batch"), ("updating", "u", "updating batch"))
VALUES = (
    ("cum_dot", r"$\sum\,\eta\nabla B_{X}\cdot\nabla B_u$", "first order"),
    ("cum_delta_loss", r"$\sum\,\Delta L_{X}$", "reduction in loss"),
    ("cum_penalty", r"$\sum\,(\Delta L_{X}-\eta\nabla B_{X}\cdot\nabla B_u)$", "higher orders: the penalty"),
)
COLUMNS = tuple(f"taylor.{batch}.{value}" for batch, _, _ in BATCHES for value, _, _ in VALUES)

SUBSCRIPTS = {"a": "ₐ", "r": "ᵣ", "u": "ᵤ"}
BULK = "half: the bulk of training is more than that"
BY_STEPS = "that the order is to be there over more than half of the steps, too, most of which belong to late stages"
POINTS = 400  # of the common range of progress

Progress = Callable[[Run], np.ndarray]  # of training: at each row of metrics.csv a number that grows
LossOf = Callable[[Run], LossCurve]


# ------------------------------------------------------------------------------------------- the picture


def draw_sums(
    runs: Sequence[Run], lines: Sequence[Sequence[Line]], largest_first: Sequence[str], x_label: str, title: str | None
) -> Picture:
    """lines[column][run]. Runs of one label, which differ in their seeds, are thin lines of one colour."""
    looks = _looks(runs, largest_first)
    figure = new_figure(9.6, 7.6)
    grid = figure.subplots(3, 3, sharex="row")
    for row, (_, letter, batch) in enumerate(BATCHES):
        for column, (_, symbol, heading) in enumerate(VALUES):
            axes = grid[row, column]
            axes.axhline(0, color="#999999", linewidth=0.8, zorder=1)
            of_runs = lines[3 * row + column]
            draw_lines(axes, of_runs, [looks[run.label] for run in runs])
            if not any(line.x.size for line in of_runs):
                words = "no stage of training that all networks\nhave gone through with it measured"
                axes.text(
                    0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=9, color="#666666"
                )
            axes.set_ylabel(symbol.replace("{X}", letter), fontsize=11)
            if row == 0:
                axes.set_title(heading)
        axes.text(1.03, 0.5, f"{batch} $B_{letter}$", transform=axes.transAxes, rotation=270, va="center", fontsize=9.5)
    figure.supxlabel(x_label, fontsize=STYLE["axes.labelsize"])
    figure.align_ylabels()
    add_header(figure, title, list(looks.values()))
    return figure


def _looks(runs: Sequence[Run], largest_first: Sequence[str]) -> dict[str, Stroke]:
    """A stroke for each label. The paper's colours: blue for the largest network, then orange, then green."""
    labels = list(dict.fromkeys(run.label for run in runs))
    width = STYLE["lines.linewidth"] if len(labels) == len(runs) else 0.8
    looks = dict(zip(largest_first, strokes(largest_first)))
    return {label: Stroke(label, looks[label].colour, looks[label].dash, width) for label in labels}


def draw_over_reduction(runs: Sequence[Run], largest_first: Sequence[str]) -> Picture:
    """The paper's grid: over the reduction in loss."""
    lines = [sums_of_each_seed(runs, column) for column in COLUMNS]
    label = f"reduction in training loss so far\n({refined_loss(runs[0]).source})"
    return draw_sums(runs, lines, largest_first, label, None)


def draw_over_fraction(runs: Sequence[Run], largest_first: Sequence[str], curve: LossOf = refined_loss) -> Picture:
    """Draws the sums over the fraction by which the training loss has fallen."""
    lines = [sums_of_each_seed(runs, column, fraction(curve)) for column in COLUMNS]
    label = f"fraction by which the training loss has fallen\n({curve(runs[0]).source})"
    return draw_sums(runs, lines, largest_first, label, None)


def draw_over_loss(runs: Sequence[Run], largest_first: Sequence[str], curve: LossOf = refined_loss) -> Picture:
    """Draws the sums over the training loss, in place of its reduction."""
    lines = [sums_of_each_seed(runs, column, fall(curve)) for column in COLUMNS]
    losses = [[Line(-line.x, line.y) for line in of_runs] for of_runs in lines]
    label = f"training loss, falling to the right\n({curve(runs[0]).source})"
    figure = draw_sums(runs, losses, largest_first, label, None)
    for axes in figure.get_axes():
        use_falling_scale(axes)
    return figure


# ----------------------------------------------------------------------------- sums over the progress of training


def reduction(run: Run) -> np.ndarray:
    """The reduction in the training loss so far, at each row of metrics.csv."""
    return refined_loss(run).reduction(run.metrics["step"])


def fall(curve: LossOf = refined_loss) -> Progress:
    """The training loss at each row, times -1."""

    def of(run: Run) -> np.ndarray:
        losses = curve(run)
        return losses.reduction(run.metrics["step"]) - losses.losses[0]

    return of


def fraction(curve: LossOf = refined_loss) -> Progress:
    """The fraction by which the training loss has fallen so far, at each row."""

    def of(run: Run) -> np.ndarray:
        losses = curve(run)
        return losses.reduction(run.metrics["step"]) / losses.losses[0]

    return of


def sums_of_each_seed(runs: Sequence[Run], column: str, progress: Progress = reduction) -> list[Line]:
    """A cumulative column of each run, counted from where it has begun in all runs of its seed.

    Runs of a seed whose networks have no stage of training in common, as it is in short ones, have an empty line.
    """
    lines = [Line(np.empty(0), np.empty(0))] * len(runs)
    for seed in {run.config.get("seed") for run in runs}:
        at = [i for i, run in enumerate(runs) if run.config.get("seed") == seed]
        try:
            found = sums_from_common_start([runs[i] for i in at], column, progress)
        except TooLittle:
            continue
        for i, line in zip(at, found):
            lines[i] = line
    return lines


def sums_from_common_start(runs: Sequence[Run], column: str, progress: Progress = reduction) -> list[Line]:
    """A cumulative column over the progress of training, counted from where it has begun in all runs.

    Recent and long-ago batches do not exist at the first steps, at whose end the networks' losses differ.
    """
    lines = [_first_reached(run, column, progress) for run in runs]
    begin = max(line.x[0] for line in lines)
    if not all(begin < line.x[-1] for line in lines):
        raise TooLittle(f"{column}: there is no reduction in loss that all networks have gone through with it measured")
    return [_from(line, begin) for line in lines]


def _first_reached(run: Run, column: str, progress: Progress) -> Line:
    """A column at the first step at which the progress was so large."""
    run.metrics.load(["step", column])
    x, y = progress(run), run.metrics[column]
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if not x.size:
        raise TooLittle(f"{run.folder.name} has no {column}")
    new = x > np.maximum.accumulate(np.append(-np.inf, x[:-1]))
    return Line(x[new], y[new])


def _from(line: Line, begin: float) -> Line:
    """The part of a line from x = begin on, moved so that it begins with 0."""
    at_begin, later = np.interp(begin, line.x, line.y), line.x > begin
    return Line(np.append(begin, line.x[later]), np.append(0.0, line.y[later] - at_begin))


def sums_at_stages(
    runs: Sequence[Run], column: str, progress: Progress = reduction, by_steps: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A cumulative column of all runs at stages that all have gone through: progress [points], sums [runs, points].

    Stages are POINTS equally far from one another; `by_steps` those that the first run has reached at each of its steps, so
    that a stage in which it stays for long counts for as many steps.
    """
    lines = sums_from_common_start(runs, column, progress)
    begin, end = lines[0].x[0], min(line.x[-1] for line in lines)
    stages = np.linspace(begin, end, POINTS + 1)[1:]
    if by_steps:
        reached = progress(runs[0])
        reached = np.maximum.accumulate(reached[np.isfinite(reached)])
        stages = reached[(reached > begin) & (reached <= end)]
        if not stages.size:
            raise TooLittle(
                f"{column}: {runs[0].folder.name} has no step in the range that all networks have gone through"
            )
    return stages, np.array([np.interp(stages, line.x, line.y) for line in lines])


def leads(
    runs: Sequence[Run], column: str, sign: int, progress: Progress = reduction, by_steps: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Of the sum, times `sign`, of each network over the next smaller one: progress [points], leads [runs - 1, points].

    `runs` go from the smallest to the largest network; for the stages see `sums_at_stages`.
    """
    stages, sums = sums_at_stages(runs, column, progress, by_steps)
    return stages, sign * np.diff(sums, axis=0)


def share_in_order(
    column: str, sign: int, progress: Progress = reduction, by_steps: bool = False
) -> Callable[..., Sample]:
    """Over what share of the common range, or of the first run's steps in it, the sum, times `sign`, grows with the network."""
    return lambda *runs: Sample(float(np.mean(leads(runs, column, sign, progress, by_steps)[1].min(axis=0) > 0)))


def lead_at_end(column: str, sign: int, smaller: int, progress: Progress = reduction) -> Callable[..., Sample]:
    """By how much the sum, times `sign`, of a network is above that of the next `smaller` one, at the range's end."""
    return lambda *runs: Sample(float(leads(runs, column, sign, progress)[1][smaller, -1]))


def both_shares(
    results: Results, names: Sequence[str], smallest: str, share: Callable[[bool], Callable[..., Sample]]
) -> dict[str, Measurement]:
    """A share of the common range, and the same of the steps of the `smallest` network in it: share(by steps)."""
    conditions = {"share of the range": False, f"share of the steps of {smallest} in it": True}
    return {words: results.measure(share(by), *names, discrete=True) for words, by in conditions.items()}


def claims_of_two(
    results: Results,
    names: tuple[str, str],
    networks: tuple[str, str],
    figure: str,
    progress: Progress,
    where: str,
    late: str = BY_STEPS,
) -> Iterator[Claim]:
    """That the second of two networks gathers more of first order and pays larger penalties, on each batch.

    It is measured over all of the progress that both have made; `where` names it. `late`: what was decided when results were known.
    """
    small, large = networks
    for batch, letter, words in reversed(BATCHES):
        x = SUBSCRIPTS[letter]
        for column, sign, kind, symbol, says in (
            (1, 1, "cum_dot", f"Σ η∇B{x}·∇Bᵤ", f"has gathered more of first order on the {words}"),
            (3, -1, "cum_penalty", f"−Σ (ΔL{x} − η∇B{x}·∇Bᵤ)", f"has paid larger penalties on the {words}"),
        ):
            name = f"taylor.{batch}.{kind}"
            yield Claim(
                f"For the bulk of training {large} {says} than {small}.",
                f"section 4, figure {figure}, column {column}",
                f"share of {where}, and of the steps in it, over which {symbol} of {large} is the larger one",
                both_shares(results, names, small, partial(share_in_order, name, sign, progress)),
                0.5,
                BULK,
                decided_after=Late(late, {"quick": [1]}),
            )
