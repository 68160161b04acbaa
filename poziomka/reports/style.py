"""Style of figures: colours and matplotlib settings.

The colours are Okabe and Ito's colour-blind-safe palette, darkened until they are readable as text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PAPER, INK, MUTED, GRID = "#ffffff", "#1f2328", "#667080", "#dde1e6"
BEFORE, AFTER = "#b85000", "#0072b2"
RIGHT, WRONG = "#00785a", "#a03a78"
COLOURS = {"warm start": BEFORE, "trained": AFTER}
STYLE: dict[str, Any] = {
    "svg.hashsalt": "poziomka",  # ids in the SVG would be random otherwise
    "svg.fonttype": "path",  # the same picture on every machine
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.5,
    "text.color": INK,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 26,  # room for a row of the legend between title and axes
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.borderaxespad": 0,
    "legend.columnspacing": 1.4,
    "legend.handlelength": 2.2,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.visible": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
}
DOTS = 160  # dots per inch, so that the combined figure is about 2,000 pixels wide


@contextmanager
def styled() -> Iterator[None]:
    """Context manager that applies STYLE on top of matplotlib's defaults and ignores the user's matplotlibrc."""
    import matplotlib as mpl  # noqa: PLC0415 half a second that only figures need

    style: Any = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
    with mpl.rc_context(style | STYLE):
        yield
