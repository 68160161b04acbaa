"""The figures of a run, drawn so that the same folder gives the same files.

Colour tells the model (orange: warm start, blue: trained), the line tells the way of spending tokens.
The colours are Okabe and Ito's, which the colour-blind can tell apart, darkened until they can be read as text.
"""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poziomka.reports.naming import names
from poziomka.reports.reading import Curve, Point, Reading, read
from poziomka.reports.words import finite, percent, scaled
from poziomka.runs.disk import in_words, replace_file
from poziomka.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    "axes.titlepad": 26,  # a row of keys stands between title and axes
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
DOTS = 160  # an inch, so that the combined figure is about 2,000 pixels wide

Style = dict[str, Any]  # how a line is drawn
MAJORITY: Style = {"marker": "s", "markerfacecolor": PAPER, "markersize": 4.5, "linewidth": 1.2}
DASHED: Style = {"linestyle": (0, (4, 2)), "linewidth": 1.2}
DOTTED: Style = {"linestyle": (0, (1, 1.6)), "linewidth": 1.3}

Key = tuple[str, Style]  # what a kind of line means
Panel = Callable[["Axes", Reading], None]


def draw(run: Run) -> list[Path]:
    """Writes every figure that a run's folder has the numbers for, and returns the files' paths.

    Raises:
        RunError: the folder cannot be written.
    """
    return draw_reading(read(run, journals=False))


def draw_reading(reading: Reading) -> list[Path]:
    """Writes the figures of a folder that was read already."""
    import matplotlib as mpl  # noqa: PLC0415 half a second that only figures need
    from matplotlib.figure import Figure  # noqa: PLC0415 as above
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 as above

    panels: dict[str, Panel] = {}
    if reading.learning:
        panels["compute"] = compute_panel
    if _drawable(reading):
        panels["thinking"] = thinking_panel
    monitors = monitors_of(reading)
    paths: list[Path] = []
    style: Any = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
    with mpl.rc_context(style | STYLE):  # whatever the user's own matplotlibrc says
        for name, panel in panels.items():
            figure = Figure((5.8, 4.2), layout="constrained")
            panel(figure.subplots(), reading)
            paths += _write(figure, reading.folder, name)
        if panels:
            figure = Figure((6.3 * len(panels), 4.7), layout=ConstrainedLayoutEngine(wspace=0.06))
            for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.values(), strict=True):
                panel(axes, reading)
            paths += _write(figure, reading.folder, "report")
        if monitors:
            paths += _write(_monitors(reading, monitors), reading.folder, "monitors")
    return paths


def _write(figure: "Figure", folder: Path, name: str) -> list[Path]:
    paths = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        data = io.BytesIO()
        figure.savefig(data, format=kind, dpi=DOTS, metadata=metadata)
        figure.set_layout_engine("none")  # it was laid out; once is enough
        path = folder / "figures" / f"{name}.{kind}"
        with in_words(f"write the figure {path}"):
            path.parent.mkdir(exist_ok=True)
            replace_file(path, data.getvalue())
        paths.append(path)
    return paths


# ------------------------------------------------------------------------------------------------- the two panels
def compute_panel(axes: "Axes", reading: Reading) -> None:
    """Draws held-out accuracy against reinforcement compute; the warm start, at 0 FLOPs, stands left of a break."""
    points = sorted(reading.learning, key=lambda point: point.x)
    spent = [point.x for point in points if point.x > 0] or [1.0]
    start = spent[0] / 10 ** (0.12 + 0.2 * math.log10(spent[-1] / spent[0]))
    xs = [point.x if point.x > 0 else start for point in points]
    _accuracy_axis(axes, "held-out accuracy")
    axes.set(title="More reinforcement", xlabel="reinforcement compute (FLOPs, log scale)")
    _log_axis(axes, start if points[0].x <= 0 else spent[0], spent[-1], first_tick=spent[0])
    _thinking_length(axes, xs, points)
    _band(axes, xs, points, AFTER)
    axes.plot(xs, [point.accuracy.mean for point in points], color=AFTER, marker="o", clip_on=False, zorder=5)
    if points[0].x <= 0:
        axes.plot(xs[:1], [points[0].accuracy.mean], color=BEFORE, marker="o", markersize=8, zorder=6, clip_on=False)
        _break(axes, start, math.sqrt(start * spent[0]))
        said = f"warm start {percent(points[0].accuracy.mean)}"
        _say(axes, said, (xs[0], points[0].accuracy.high), BEFORE, offset=(-5, 5), ha="left", va="bottom")
    if len(points) > 1:
        said, top = percent(points[-1].accuracy.mean), points[-1].accuracy.high
        _say(axes, said, (xs[-1], top), AFTER, offset=(5, 4), ha="right", va="bottom")
    keys: list[Key] = [("accuracy, 95 % interval", {"color": AFTER, "marker": "o"})]
    if any(point.thinking is not None for point in points):
        keys.append(("thinking tokens an attempt", {"color": MUTED, **DOTTED}))
    _keys(axes, keys)


def _thinking_length(axes: "Axes", xs: Sequence[float], points: Sequence[Point]) -> None:
    """Draws the length of thought on a second axis, muted: it explains the curve and is not the result."""
    known = [(x, point.thinking) for x, point in zip(xs, points, strict=True) if point.thinking is not None]
    if not known:
        return
    second = axes.twinx()
    second.grid(visible=False)
    second.spines["right"].set_visible(True)
    second.spines["right"].set_color(GRID)
    second.tick_params(axis="y", color=GRID, labelcolor=MUTED)
    second.plot([x for x, _ in known], [y for _, y in known], color=MUTED, **DOTTED)
    second.set_ylabel("thinking tokens", color=MUTED)
    second.set_ylim(0, 1.3 * max(1.0, *(y for _, y in known)))
    axes.set_zorder(second.get_zorder() + 1)  # the result lies on top


def thinking_panel(axes: "Axes", reading: Reading) -> None:
    """Draws held-out accuracy against the thinking tokens really spent, for each model and way of spending them."""
    _accuracy_axis(axes, "held-out accuracy")
    axes.set(title="More thinking", xlabel="thinking tokens really spent on a problem (mean, log scale)")
    curves = _drawable(reading)
    everything = [p for c in curves for p in (*c.budgets, *c.majority, *c.oracle)]
    _log_axis(axes, min(p.x for p in everything), max(p.x for p in everything))
    for curve in curves:
        _ways(axes, curve, COLOURS.get(curve.model, MUTED))
    _names(axes, curves)
    keys: list[Key] = [("a longer thought", {"marker": "o"})]
    if any(curve.majority for curve in curves):
        keys.append(("majority of k", MAJORITY))
    if any(curve.oracle for curve in curves):
        keys.append(("any of k (oracle)", DASHED))
    _keys(axes, keys)


def _drawable(reading: Reading) -> list[Curve]:
    curves = [curve.drawable() for curve in reading.curves]
    return [curve for curve in curves if curve.marks]


def _ways(axes: "Axes", curve: Curve, colour: str) -> None:
    for line, style in ((curve.oracle, DASHED), (curve.majority, MAJORITY)):
        dots = sorted(line, key=lambda point: point.x)
        axes.vlines([p.x for p in dots], *_ends(dots), color=colour, alpha=0.35, linewidth=0.9, zorder=3)
        axes.plot([p.x for p in dots], [p.accuracy.mean for p in dots], color=colour, zorder=4, **style)
    if curve.budgets:
        points = sorted(curve.budgets, key=lambda point: (point.x, point.label))
        xs, means = [p.x for p in points], [p.accuracy.mean for p in points]
        _band(axes, xs, points, colour)
        axes.plot(xs, means, color=colour, marker="o", zorder=5)


def _names(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Writes each model's name beside its line."""
    figure, box = axes.get_figure(root=True), axes.get_window_extent()
    dots, low, high = (figure.dpi if figure else 72) / 72, *axes.get_xlim()

    def placed(x: float, y: float) -> tuple[float, float]:
        return box.width / dots * math.log(x / low) / math.log(high / low), box.height / dots * y

    for curve, mark, (dx, dy) in names(curves, placed):
        at, across = (mark.x, mark.accuracy.mean), "center" if dx == 0 else "left" if dx > 0 else "right"
        _say(axes, curve.model, at, COLOURS.get(curve.model, MUTED), offset=(dx, dy), ha=across, va="center")


# ------------------------------------------------------------------------------------------------------- the parts
def _accuracy_axis(axes: "Axes", label: str) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylabel(label)


def _log_axis(axes: "Axes", low: float, high: float, first_tick: float = 0.0) -> None:
    """Sets a log axis with few, round, readable ticks."""
    axes.set_xscale("log")
    margin = (high / low) ** 0.04 if high > low else 2.0
    axes.set_xlim(low / margin, high * margin)
    ticks = [tick for tick in ticks_between(low / margin, high * margin) if tick >= first_tick * 0.99]
    axes.set_xticks(ticks, [scaled(tick).replace(".00", "").replace(".0", "") for tick in ticks])
    axes.set_xticks([], minor=True)


FINEST = (1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)


def ticks_between(low: float, high: float) -> list[float]:
    """Returns a few round ticks of a log axis: 1, 2, 5 in each decade, more where it is short, fewer where long."""
    decades = math.log10(high / low)
    steps: Sequence[float] = (1,)
    for limit, finer in ((3.5, (1, 3)), (2, (1, 2, 5)), (0.8, (1, 1.5, 2, 3, 4, 6, 8)), (0.2, FINEST)):
        if decades < limit:
            steps = finer
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _keys(axes: "Axes", keys: Sequence[Key]) -> None:
    """Writes what each kind of line means, in a row above the axes; colour is told beside the lines."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 as in draw

    handles = [Line2D([], [], label=name, **{"color": INK, **style}) for name, style in keys]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.015), ncols=len(keys))


def _band(axes: "Axes", xs: Sequence[float], points: Sequence[Point], colour: str) -> None:
    """Draws 95 % intervals: a light band, and bars where they were measured."""
    lows, highs = _ends(points)
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.13, linewidth=0, zorder=2)
    axes.vlines(xs, lows, highs, color=colour, alpha=0.55, linewidth=1.1, zorder=3)


def _ends(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.accuracy.low for point in points], [point.accuracy.high for point in points]


def _break(axes: "Axes", start: float, middle: float) -> None:
    """Marks that the axis is broken between the warm start, which cost no reinforcement, and the rest."""
    axes.set_xticks([start, *axes.get_xticks()], ["0", *(label.get_text() for label in axes.get_xticklabels())])
    transform = axes.get_xaxis_transform()
    axes.plot([middle], [0], marker="s", markersize=7, color=PAPER, transform=transform, clip_on=False, zorder=8)
    for shift in (-0.007, 0.007):
        at = middle * (axes.get_xlim()[1] / axes.get_xlim()[0]) ** shift
        axes.plot(
            [at], [0], marker=[(-0.5, -1), (0.5, 1)], markersize=9, color=MUTED, markeredgewidth=1,
            transform=transform, clip_on=False, zorder=9,
        )  # fmt: skip


def _say(
    axes: "Axes", text: str, at: tuple[float, float], colour: str, *, offset: tuple[int, int], **place: Any
) -> None:
    """Writes beside a point, with a rim of paper so that no line runs through the letters."""
    from matplotlib.patheffects import withStroke  # noqa: PLC0415 as in draw

    rim = [withStroke(linewidth=3, foreground=PAPER)]
    axes.annotate(
        text,
        at,
        offset,
        textcoords="offset points",
        color=colour,
        fontweight="bold",
        path_effects=rim,
        zorder=7,
        **place,
    )


# ----------------------------------------------------------------------------------------------------- the monitors
Lines = tuple[tuple[str, str, str], ...]  # (metric, what the line is called, colour)
MONITORS: tuple[tuple[str, str, Lines], ...] = (
    (
        "reward",
        "reinforce",
        (
            ("reward/mean", "mean", AFTER),
            ("reward/pass_rate", "pass rate", MUTED),
            ("reward/audit_pass_rate", "audit", WRONG),
        ),
    ),
    ("groups without variance (share)", "reinforce", (("groups/zero_variance", "", AFTER),)),
    (
        "length (tokens)",
        "reinforce",
        (("length/right", "right", RIGHT), ("length/wrong", "wrong", WRONG), ("length/truncated", "truncated", MUTED)),
    ),
    ("entropy of the policy (nats)", "reinforce", (("policy/entropy", "", AFTER),)),
    ("gradient norm", "reinforce", (("policy/grad_norm", "", AFTER),)),
    ("mismatch KL, sampler to learner", "reinforce", (("policy/mismatch_kl", "", AFTER),)),
    ("clipped tokens (share)", "reinforce", (("policy/clip_share", "", AFTER),)),
    (
        "attempts with a call (share)",
        "reinforce",
        (("tools/rate", "with a call", AFTER), ("rollouts/void", "with a void turn", WRONG)),
    ),
    ("warm start: next-token loss (nats)", "warm_start", (("loss/next_token", "", BEFORE),)),
    (
        "levels dealt from",
        "reinforce",
        (
            ("curriculum/level_high", "highest", AFTER),
            ("curriculum/level_mean", "mean", MUTED),
            ("curriculum/level_low", "lowest", BEFORE),
        ),
    ),
)


def monitors_of(reading: Reading) -> list[tuple[str, str, Lines]]:
    """Returns the monitors that the folder has numbers for."""
    return [monitor for monitor in MONITORS if _lines_of(reading, monitor)]


def _lines_of(reading: Reading, monitor: tuple[str, str, Lines]) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Returns (name, colour, (step, value)s) of a monitor's lines that have numbers."""
    _, stage, wanted = monitor
    found = []
    for metric, name, colour in wanted:
        values = [(float(line["step"]), finite(line.get(metric))) for line in reading.stage(stage)]
        numbers = [(step, value) for step, value in values if value is not None]
        if numbers:
            found.append((name, colour, numbers))
    return found


def _monitors(reading: Reading, monitors: Sequence[tuple[str, str, Lines]]) -> "Figure":
    from matplotlib.figure import Figure  # noqa: PLC0415 as in draw
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 as in draw

    columns, rows = 4, math.ceil(len(monitors) / 4)
    figure = Figure((3.15 * columns, 2.2 * rows), layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.07))
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, monitor in zip(every, monitors, strict=False):
        lines = _lines_of(reading, monitor)
        axes.set_title(monitor[0], fontsize=9, fontweight="normal", pad=5)
        axes.tick_params(labelsize=8)
        for name, colour, numbers in lines:
            xs, ys = zip(*numbers, strict=True)
            axes.plot(xs, ys, color=colour, linewidth=1.2, label=name)
        if any(name for name, _, _ in lines):
            legend = axes.legend(loc="best", fontsize=8, labelcolor="linecolor", handlelength=0, labelspacing=0.2)
            for mark in legend.legend_handles:  # the names have their lines' colours
                if mark is not None:
                    mark.set_visible(False)
        axes.locator_params(axis="y", nbins=4)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e\N{MINUS SIGN}"))
        values = [value for _, _, numbers in lines for _, value in numbers]
        if min(values) >= 0:
            axes.set_ylim(bottom=0, top=None if max(values) > 0 else 1)
    for axes in every[len(monitors) :]:
        axes.set_visible(False)
    return figure
