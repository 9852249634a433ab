"""What a figure is, and one calm look for all: the Okabe-Ito colours, safe for colour-blind readers, on white."""

import warnings
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from io import BytesIO
from typing import ParamSpec

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ehrsynth.words import printable

TRAIN, HOLDOUT, SYNTHETIC, MARK = "#0072B2", "#9aa0a6", "#D55E00", "#333333"
WIDTH = 9.6  # inches; at DPI this is a little wider than the text column of the report
DPI = 130

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelcolor": "#444444",
    "axes.edgecolor": "#bbbbbb",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eeeeee",
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.prop_cycle": cycler(color=[TRAIN, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", MARK]),
    "figure.facecolor": "white",
}

P = ParamSpec("P")
Drawing = tuple[Figure, str, str]
"""A figure, how to read it, and what it shows for who cannot see it."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure as a report shows it.

    Attributes:
        name: short, fit for a file name.
        title: heading.
        caption: how to read it.
        alt: what it shows, for who cannot see it.
        figure: the drawing.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """The picture, drawn once for its own file and for the page."""
        return png(self.figure)


def figure(name: str, title: str) -> Callable[[Callable[P, Drawing]], Callable[P, NamedFigure]]:
    """Make a function that draws a figure of a report: the function gives the drawing, its caption and alt text.

    It draws under ``STYLE``, and matplotlib's global settings stay as they were.

    Args:
        name: of the figure and of its file.
        title: its heading.
    """

    def decorate(draw: Callable[P, Drawing]) -> Callable[P, NamedFigure]:
        @wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> NamedFigure:
            with rc_context(STYLE):
                drawing, caption, alt = draw(*args, **kwargs)
            return NamedFigure(name, title, caption, alt, drawing)

        return drawn

    return decorate


def panels(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of report width with ``count`` panels in rows of ``columns``, each row ``height`` inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(np.ravel(grid))
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def across(count: int) -> int:
    """Return how many panels to put in a row so that the fewest places stay empty."""
    return min((3, 4), key=lambda columns: -count % columns)


def png(figure: Figure) -> bytes:
    """Render ``figure`` as PNG."""
    stream = BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():
        # A column may be named in a script that the font lacks: boxes in a picture, and nothing that a reader can mend.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font", category=UserWarning)
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).print_png(stream)  # savefig would lay it out and draw it twice, to the same pixels
    return stream.getvalue()


def clipped(text: str, limit: int) -> str:
    """Return somebody's words for a figure, as they stand: matplotlib reads what is between two dollars as maths.

    They are shortened to ``limit`` characters by leaving out their middle: names differ at both ends.
    """
    text = printable(text)
    if len(text) > limit:
        kept = limit - 1
        text = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return text.replace("$", r"\$")


def data_uri(picture: bytes) -> str:
    """Return a PNG as a ``data:`` address, so that a page needs no other file."""
    return "data:image/png;base64," + b64encode(picture).decode("ascii")
