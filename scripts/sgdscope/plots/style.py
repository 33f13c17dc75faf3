"""How pictures look, and how they get onto the disk."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sgdscope.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Picture
else:
    Axes = Axis = Picture = Any  # matplotlib is imported late, because that takes long

FORMATS = (".png", ".pdf")

# Okabe and Ito's colours, which stay apart for the colour-blind, then again with another dash.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
RED = COLOURS[4]  # for lines that the reader compares with
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "figure.titlesize": 11,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "mathtext.fontset": "cm",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 5),
    "axes.xmargin": 0.02,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.3,
    "lines.solid_joinstyle": "round",
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "path.simplify": True,
    "agg.path.chunksize": 20000,
}


@dataclass
class Stroke:
    """How a line looks and what the legend calls it."""

    label: str
    colour: str
    dash: Any = "-"
    width: float = STYLE["lines.linewidth"]


def strokes(labels: Sequence[str]) -> list[Stroke]:
    """A colour for each label; when the colours run out they return with another dash."""
    return [
        Stroke(label, COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, label in enumerate(labels)
    ]


def shades(count: int) -> list[Any]:
    """Colours in an order that the eye sees, dark to light; the palest, hard to see on white, are left out."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.88 * i / max(count - 1, 1)) for i in range(count)]


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Pictures are drawn and written within it; the user's own matplotlibrc has no say in how they look."""
    import matplotlib

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # chats about fonts put into a PDF
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def new_figure(width: float, height: float) -> Picture:
    """A figure that lays itself out, without a window system. Size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.06)
    FigureCanvasAgg(figure)
    return figure


def add_header(figure: Picture, title: str | None, looks: Sequence[Stroke]) -> None:
    """Title and legend above the panels, which then share what room is left."""
    from matplotlib.lines import Line2D

    inch_down = 0.06
    if title:
        figure.text(0.5, 1 - inch_down / figure.get_figheight(), title, ha="center", va="top", fontsize=11)
        inch_down += 0.26
    if len(looks) > 1:
        handles = [Line2D([], [], color=look.colour, linestyle=look.dash, linewidth=2) for look in looks]
        names = [look.label for look in looks]
        for columns in range(len(looks), 0, -1):
            legend = figure.legend(
                handles, names, ncol=columns, loc="upper center", borderaxespad=0, borderpad=0.2, handlelength=2.2,
                columnspacing=1.8, bbox_to_anchor=(0.5, 1 - inch_down / figure.get_figheight()),
            )  # fmt: skip
            box = legend.get_window_extent(figure.canvas.get_renderer())
            if box.width <= figure.bbox.width or columns == 1:
                break
            legend.remove()
        inch_down += box.height / figure.dpi
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - inch_down / figure.get_figheight()))


def write(figure: Picture, path: Path) -> None:
    """Writes the picture in the format that the file's ending names."""
    metadata = {"CreationDate": None} if path.suffix.lower() == ".pdf" else {}
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), metadata=metadata)
