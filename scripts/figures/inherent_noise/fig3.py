"""inherent_noise, figure 3: sums over training of dot products, changes in loss and penalties, for three widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from figures.inherent_noise import UNITS, network_jobs
from reproduction.claims import Claim, Sample, TooLittle
from reproduction.figure import Figure, Job
from reproduction.results import Results
from sgdplot.lines import Line, XAxis, make_lines, refined_loss
from sgdplot.panels import draw_lines, use_falling_scale, with_smoothing
from sgdplot.runs import Run, hidden_units
from sgdplot.style import STYLE, Stroke, add_header, new_figure, strokes

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

# Rows and columns of the grid: column stem and heading, as on page 7 of the paper.
BATCHES = (
    ("long_ago", "a", "long-ago batch"),
    ("recent", "r", "recent batch"),
    ("updating", "u", "updating batch"),
)
VALUES = (
    ("cum_dot", r"$\sum\,\eta\nabla B_{X}\cdot\nabla B_u$", "first order"),
    ("cum_delta_loss", r"$\sum\,\Delta L_{X}$", "reduction in loss"),
    ("cum_penalty", r"$\sum\,(\Delta L_{X}-\eta\nabla B_{X}\cdot\nabla B_u)$", "higher orders: the penalty"),
)
COLUMNS = tuple(f"taylor.{batch}.{value}" for batch, _, _ in BATCHES for value, _, _ in VALUES)

NAMES = tuple(f"fc{units}" for units in UNITS)
SUBSCRIPTS = {"a": "ₐ", "r": "ᵣ", "u": "ᵤ"}
POINTS = 400  # of the common range of reductions in loss


def jobs(quick: bool) -> list[Job]:
    """Three widths."""
    return network_jobs(UNITS, quick)


# ------------------------------------------------------------------------------------------- the picture


def draw_grid(runs: Sequence[Run], x_axis: XAxis, smooth_rows: int, title: str | None) -> Picture:
    """Sums of first order, change in loss and penalty (columns) on three batches (rows) for several networks."""
    lines = make_lines(runs, COLUMNS, x_axis, smooth_rows)
    return _draw_lines(runs, lines, with_smoothing(x_axis, smooth_rows), title)


def _draw_lines(runs: Sequence[Run], lines: Sequence[Sequence[Line]], x_label: str, title: str | None) -> Picture:
    """lines[column][run]. Runs of one label, which differ in their seeds, are thin lines of one colour."""
    looks = _looks(runs)
    figure = new_figure(9.6, 7.6)
    grid = figure.subplots(3, 3, sharex="row")
    for row, (_, letter, batch) in enumerate(BATCHES):
        for column, (_, symbol, heading) in enumerate(VALUES):
            axes = grid[row, column]
            axes.axhline(0, color="#999999", linewidth=0.8, zorder=1)
            draw_lines(axes, lines[3 * row + column], [looks[run.label] for run in runs])
            axes.set_ylabel(symbol.replace("{X}", letter), fontsize=11)
            if row == 0:
                axes.set_title(heading)
        axes.text(1.03, 0.5, f"{batch} $B_{letter}$", transform=axes.transAxes, rotation=270, va="center", fontsize=9.5)
    figure.supxlabel(x_label, fontsize=STYLE["axes.labelsize"])
    figure.align_ylabels()
    add_header(figure, title, list(looks.values()))
    return figure


def _looks(runs: Sequence[Run]) -> dict[str, Stroke]:
    """A stroke for each label. The paper's colours: blue for the largest network, then orange, then green."""
    labels = list(dict.fromkeys(run.label for run in runs))
    width = STYLE["lines.linewidth"] if len(labels) == len(runs) else 0.8
    size = {run.label: hidden_units(run) for run in runs}
    by_size = sorted(labels, key=lambda label: size[label], reverse=True)
    looks = dict(zip(by_size, strokes(by_size)))
    return {label: Stroke(label, looks[label].colour, looks[label].dash, width) for label in labels}


def draw(results: Results) -> dict[str, Picture]:
    """The paper's grid over the reduction in loss, and the same over the loss itself, every seed a line."""
    runs = results.runs(*NAMES)
    for run in runs:
        run.label = f"{hidden_units(run)[0]} units"
    source = refined_loss(runs[0]).source
    lines = [sums_from_common_start(runs, column) for column in COLUMNS]
    by_reduction = _draw_lines(runs, lines, f"reduction in training loss so far\n({source})", None)
    lines = [sums_from_common_start(runs, column, fall) for column in COLUMNS]
    losses = [[Line(-line.x, line.y) for line in of_runs] for of_runs in lines]
    by_loss = _draw_lines(runs, losses, f"training loss, falling to the right\n({source})", None)
    for axes in by_loss.get_axes():
        use_falling_scale(axes)
    return {"fig3": by_reduction, "fig3_by_loss": by_loss}


# -------------------------------------------------------------------------------------------- the claims


def reduction(run: Run) -> np.ndarray:
    """In the training loss, at each row."""
    return refined_loss(run).reduction(run.metrics["step"])


def fall(run: Run) -> np.ndarray:
    """The training loss at each row, times -1."""
    return reduction(run) - refined_loss(run).losses[0]


def sums_from_common_start(
    runs: Sequence[Run], column: str, progress: Callable[[Run], np.ndarray] = reduction
) -> list[Line]:
    """A cumulative column over the progress of training, counted from where it has begun in all runs.

    Recent and long-ago batches do not exist at the first steps, at whose end the networks' losses differ.
    """
    lines = [_first_reached(run, column, progress) for run in runs]
    begin = max(line.x[0] for line in lines)
    if not all(begin < line.x[-1] for line in lines):
        raise TooLittle(f"{column}: there is no reduction in loss that all networks have gone through with it measured")
    return [_from(line, begin) for line in lines]


def _first_reached(run: Run, column: str, progress: Callable[[Run], np.ndarray]) -> Line:
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


def share_in_order(column: str, sign: int) -> Callable[..., Sample]:
    """Over what share of the common range the sum, times `sign`, grows with the network."""
    return lambda *runs: Sample(float(np.mean(_leads(runs, column, sign).min(axis=0) > 0)))


def lead_at_end(column: str, sign: int) -> Callable[..., Sample]:
    """By how much the sum, times `sign`, of a network is above that of the next smaller one, at the range's end."""
    return lambda *runs: Sample(float(_leads(runs, column, sign)[:, -1].min()))


def _leads(runs: Sequence[Run], column: str, sign: int) -> np.ndarray:
    """Of each network over the next smaller one: [runs - 1, points of the common range]."""
    lines = sums_from_common_start(runs, column)
    grid = np.linspace(lines[0].x[0], min(line.x[-1] for line in lines), POINTS + 1)[1:]
    return sign * np.diff([np.interp(grid, line.x, line.y) for line in lines], axis=0)


def claims(results: Results) -> list[Claim]:
    """Whether first-order sums and penalties grow with the network, on each batch."""
    found: list[Claim] = []
    for batch, letter, words in reversed(BATCHES):
        dots, penalties = f"Σ η∇B{SUBSCRIPTS[letter]}·∇Bᵤ", f"−Σ (ΔL{SUBSCRIPTS[letter]} − η∇B{SUBSCRIPTS[letter]}·∇Bᵤ)"
        says = f"At equal reduction in loss, larger networks have gathered more of first order on the {words}."
        found += _pair(results, says, "section 4, figure 3, column 1", dots, f"taylor.{batch}.cum_dot", 1)
        says = f"At equal reduction in loss, larger networks have paid larger penalties on the {words}."
        found += _pair(results, says, "section 4, figure 3, column 3", penalties, f"taylor.{batch}.cum_penalty", -1)
    says = "On recent batches the loss of larger networks has risen more, although their dot products are larger."
    found += _pair(results, says, "section 4, figure 3, row 2", "−Σ ΔLᵣ", "taylor.recent.cum_delta_loss", -1)
    return found


def _pair(results: Results, says: str, place: str, symbol: str, column: str, sign: int) -> Iterator[Claim]:
    share = f"share of the common range of reductions in loss where {symbol} is in the order 64 < 2000 < 8000 units"
    lead = f"at its end, the smaller of the leads in {symbol} of 8000 over 2000 and of 2000 over 64 units"
    yield Claim(says, place, share, results.measure(share_in_order(column, sign), *NAMES), 0.5)
    yield Claim(says, place, lead, results.measure(lead_at_end(column, sign), *NAMES), 0.0)


FIGURE = Figure(
    title="Sums of dot products, changes in loss and penalties for 64, 2000 and 8000 units",
    did="Trains networks with one hidden layer of 64, 2000 and 8000 units on MNIST at learning rate 0.1, and draws the "
    "running sums of the first-order term, the change in loss and the penalty on a long-ago, a recent and the updating "
    "batch over the reduction in loss so far, by which it compares networks at similar stages of training.",
    shows={
        "fig3": "Each line is one seed. Recent and long-ago batches exist only from step 10 and 300 on, at which the "
        "networks have come to different losses. So that they can be compared, every sum counts from the smallest "
        "reduction in loss at which all networks have begun.",
        "fig3_by_loss": "The same over the loss itself, which spreads the later steps.",
    },
    departures=(
        "'Reduction in loss so far' is taken as the loss on the whole training set at the first step less that now, "
        "from evaluations every 200 steps. Before the first of these the running mean of batch losses stands in.",
    ),
    jobs=jobs,
    draw=draw,
    claims=claims,
)
