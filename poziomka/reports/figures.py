"""Figures of a run; the same run folder always gives the same files.

The colour of a line is that of the model (orange: warm start, blue: trained), its style that of the thinking strategy.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poziomka.core.rollouts.evaluation import Estimate
from poziomka.reports import monitors
from poziomka.reports.naming import Named, names
from poziomka.reports.reading import BEFORE as WARM
from poziomka.reports.reading import FORCED, Curve, Point, Reading, read
from poziomka.reports.style import AFTER, BEFORE, COLOURS, DOTS, GRID, INK, MUTED, PAPER, styled
from poziomka.reports.words import percent, scaled
from poziomka.runs.run import Run
from poziomka.runs.storage.disk import in_words, replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Style = dict[str, Any]  # matplotlib's properties of a line
MAJORITY: Style = {"marker": "s", "markerfacecolor": PAPER, "markersize": 4.5, "linewidth": 1.2}
DASHED: Style = {"linestyle": (0, (4, 2)), "linewidth": 1.2}
DOTTED: Style = {"linestyle": (0, (1, 1.6)), "linewidth": 1.3}
MADE: Style = {"linestyle": (0, (7, 1.5, 1.5, 1.5)), "linewidth": 1.6, "marker": "D", "markersize": 4.0}
REFERENCE: Style = {"linestyle": (0, (3, 1.5)), "linewidth": 1.0}
ONCE: Style = {"linestyle": "", "marker": "<", "markersize": 7.0}

Key = tuple[str, Style]  # legend entry: text and style
A_ROW = 3  # legend entries in a row
TOP = 1.1  # upper limit of the accuracy axis, with room for names above 100 %
Panel = Callable[["Axes", Reading], None]


def draw(run: Run) -> list[Path]:
    """Writes the figures for which a run's folder has data to its figures/, as PNG and SVG; returns the files' paths.

    Raises:
        RunError: the folder cannot be written.
    """
    return draw_reading(read(run, journals=False))


def draw_reading(reading: Reading) -> list[Path]:
    """Writes the figures of a run whose data was read already, as `draw`; returns the files' paths."""
    from matplotlib.figure import Figure  # noqa: PLC0415 half a second that only figures need
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 as above

    panels: dict[str, Panel] = {}
    if reading.learning:
        panels["compute"] = compute_panel
    if _drawable(reading):
        panels["thinking"] = thinking_panel
    shown = monitors.monitors_of(reading)
    paths: list[Path] = []
    with styled():
        for name, panel in panels.items():
            figure = Figure((5.8, 4.2), layout="constrained")
            panel(figure.subplots(), reading)
            paths += write_figure(figure, reading.folder, name)
        if panels:
            figure = Figure((6.3 * len(panels), 4.7), layout=ConstrainedLayoutEngine(wspace=0.06))
            for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.values(), strict=True):
                panel(axes, reading)
            paths += write_figure(figure, reading.folder, "report")
        if shown:
            paths += write_figure(monitors.figure_of(reading, shown), reading.folder, "monitors")
    return paths


def write_figure(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Writes a figure as figures/NAME.png and .svg in `folder`; returns the files' paths.

    Raises:
        RunError: the folder cannot be written.
    """
    paths = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        data = io.BytesIO()
        figure.savefig(data, format=kind, dpi=DOTS, metadata=metadata)
        figure.set_layout_engine("none")  # the first savefig has done the layout
        path = folder / "figures" / f"{name}.{kind}"
        with in_words(f"write the figure {path}"):
            path.parent.mkdir(exist_ok=True)
            replace_file(path, data.getvalue())
        paths.append(path)
    return paths


# ------------------------------------------------------------------------------------------------- the two panels
def compute_panel(axes: "Axes", reading: Reading) -> None:
    """Draws held-out accuracy against reinforcement compute; the warm start, at 0 FLOPs, is left of an axis break."""
    points = sorted(reading.learning, key=lambda point: point.x)
    spent = [point.x for point in points if point.x > 0] or [1.0]
    start = spent[0] / 10 ** (0.12 + 0.2 * math.log10(spent[-1] / spent[0]))
    xs = [point.x if point.x > 0 else start for point in points]
    _accuracy_axis(axes, "held-out accuracy")
    axes.set(title="More reinforcement", xlabel="reinforcement compute (FLOPs, log scale)")
    _log_axis(axes, start if points[0].x <= 0 else spent[0], spent[-1], first_tick=spent[0])
    spent_thinking = _length(axes, xs, points, reading.tokens)
    _band(axes, xs, points, AFTER)
    axes.plot(xs, [point.accuracy.mean for point in points], color=AFTER, marker="o", clip_on=False, zorder=5)
    if points[0].x <= 0:
        axes.plot(xs[:1], [points[0].accuracy.mean], color=BEFORE, marker="o", markersize=8, zorder=6, clip_on=False)
        _break(axes, start, math.sqrt(start * spent[0]))
    curve = [replace(point, x=x) for x, point in zip(xs, points, strict=True)]
    named = [Named("", (), (spent_thinking,))]
    if points[0].x <= 0:
        named.append(Named(f"{reading.named(WARM)} {percent(points[0].accuracy.mean)}", curve[:1], (curve,)))
    if len(points) > 1:
        named.append(Named(percent(points[-1].accuracy.mean), curve[-1:], (curve,)))
    if reading.forced is not None:
        line = _level(axes, reading.forced, xs)
        named.append(Named(f"{reading.named(WARM)}{FORCED} {percent(reading.forced.mean)}", line, (line,)))
    known = _reference_levels(axes, reading, xs)
    colours = {percent(points[-1].accuracy.mean): AFTER} | {each.text: MUTED for each in known}
    _write_names(axes, [*named, *known], lambda each: colours.get(each.text, BEFORE))
    keys: list[Key] = [("accuracy, 95 % interval", {"color": AFTER, "marker": "o"})]
    if any(point.thinking is not None for point in points):
        keys.append((f"{reading.tokens} an attempt", {"color": MUTED, **DOTTED}))
    _keys(axes, keys)


def _level(axes: "Axes", reached: Estimate, xs: Sequence[float]) -> list[Point]:
    """Draws a horizontal line with its interval at an accuracy, the warm start's made to think; returns its points."""
    low, high = xs[0], xs[-1] if len(xs) > 1 else axes.get_xlim()[1]
    axes.fill_between([low, high], reached.low, reached.high, color=BEFORE, alpha=0.1, linewidth=0, zorder=2)
    axes.plot([low, high], [reached.mean] * 2, color=BEFORE, zorder=4, **{**MADE, "marker": ""})
    return [Point(low * (high / low) ** (share / 8), reached) for share in range(9)]


def _reference_levels(axes: "Axes", reading: Reading, xs: Sequence[float]) -> list[Named]:
    """Draws a line at the exact accuracy of each reference policy at the compared budget; returns the named lines."""
    low, high = xs[0], xs[-1] if len(xs) > 1 else axes.get_xlim()[1]
    found = []
    for name, points in reading.references.items():
        reached = next((point.accuracy for point in points if point.label == reading.reference_budget), None)
        if reached is None:
            continue
        axes.plot([low, high], [reached.mean] * 2, color=MUTED, zorder=3, **REFERENCE)
        line = [Point(low * (high / low) ** (share / 8), reached) for share in range(9)]
        found.append(Named(f"{name} {percent(reached.mean)}", line, (line,)))
    return found


def _length(axes: "Axes", xs: Sequence[float], points: Sequence[Point], tokens: str) -> list[Point]:
    """Draws the mean tokens of an attempt on a second axis, in a muted colour because they only explain the result.

    Returns the points in the coordinates of the first axis.
    """
    known = [(x, point.thinking) for x, point in zip(xs, points, strict=True) if point.thinking is not None]
    if not known:
        return []
    second = axes.twinx()
    second.grid(visible=False)
    second.spines["right"].set_visible(True)
    second.spines["right"].set_color(GRID)
    second.tick_params(axis="y", color=GRID, labelcolor=MUTED)
    second.plot([x for x, _ in known], [y for _, y in known], color=MUTED, **DOTTED)
    second.set_ylabel(tokens, color=MUTED)
    top = 1.3 * max(1.0, *(y for _, y in known))
    second.set_ylim(0, top)
    axes.set_zorder(second.get_zorder() + 1)  # draws the result on top
    return [Point(x, Estimate(*[y / top * TOP] * 3)) for x, y in known]


def thinking_panel(axes: "Axes", reading: Reading) -> None:
    """Draws held-out accuracy against the mean thinking tokens spent, for each model and thinking strategy."""
    _accuracy_axis(axes, "held-out accuracy")
    title = "More thinking" if reading.thinks else "More tokens"
    axes.set(title=title, xlabel=f"{reading.tokens} really spent on a problem (mean, log scale)")
    curves = _drawable(reading)
    everything = [p for c in curves for p in (*c.budgets, *c.majority, *c.oracle)]
    _log_axis(axes, min(p.x for p in everything), max(p.x for p in everything))
    for curve in curves:
        _ways(axes, curve, COLOURS.get(curve.weights, MUTED))
    drawn = [Named(reading.named(c.model), c.marks, (c.budgets, c.majority, c.oracle)) for c in curves]
    for name, points in reading.references.items():
        line = [point for point in points if point.x > 0]
        axes.plot([p.x for p in line], [p.accuracy.mean for p in line], color=MUTED, zorder=3, **REFERENCE)
        drawn.append(Named(name, line, (line,)))
    colours = {reading.named(curve.model): COLOURS.get(curve.weights, MUTED) for curve in curves}
    _write_names(axes, drawn, lambda each: colours.get(each.text, MUTED))
    keys: list[Key] = [("longer thought" if reading.thinks else "one reply", {"marker": "o"})]
    if any(curve.forced for curve in curves):
        keys.append(("made to think", {**MADE, "markerfacecolor": PAPER}))
    if any(curve.at_once for curve in curves):
        keys.append(("answers at once", ONCE))
    if any(curve.majority for curve in curves):
        keys.append(("majority of k", MAJORITY))
    if any(curve.oracle for curve in curves):
        keys.append(("any of k (oracle)", DASHED))
    if reading.references:
        keys.append(("known policies, exact", {"color": MUTED, **REFERENCE}))
    _keys(axes, keys)


def _drawable(reading: Reading) -> list[Curve]:
    """Returns the curves to draw, without the made-to-think curve of a model that always thinks, a duplicate."""
    same = {curve.model for curve in reading.curves if curve.always_thinks}
    curves = [curve.drawable() for curve in reading.curves if not (curve.forced and curve.weights in same)]
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
        style = {**MADE, "markerfacecolor": PAPER} if curve.forced else {"marker": "o"}
        axes.plot(xs, means, color=colour, zorder=5, **style)
    if curve.at_once is not None:
        at = axes.get_xlim()[0]
        axes.plot([at], [curve.at_once.accuracy.mean], color=colour, zorder=6, clip_on=False, **ONCE)


def _write_names(axes: "Axes", named: Sequence[Named], colour: Callable[[Named], str]) -> None:
    """Writes the name of each line beside it, where it overlaps no line."""
    figure, box = axes.get_figure(root=True), axes.get_window_extent()
    dots, low, high = (figure.dpi if figure else 72) / 72, *axes.get_xlim()

    def placed(x: float, y: float) -> tuple[float, float]:
        return box.width / dots * math.log(x / low) / math.log(high / low), box.height / dots * y / TOP

    for each, mark, (dx, dy) in names(named, placed, TOP):
        at, across = (mark.x, mark.accuracy.mean), "center" if dx == 0 else "left" if dx > 0 else "right"
        _say(axes, each.text, at, colour(each), offset=(dx, dy), ha=across, va="center")


# ------------------------------------------------------------------------------------------------------- the parts
def _accuracy_axis(axes: "Axes", label: str) -> None:
    axes.set_ylim(0, TOP)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylabel(label)


def _log_axis(axes: "Axes", low: float, high: float, first_tick: float = 0.0) -> None:
    """Sets a log x axis with a few round ticks."""
    axes.set_xscale("log")
    margin = (high / low) ** 0.04 if high > low else 2.0
    axes.set_xlim(low / margin, high * margin)
    ticks = [tick for tick in ticks_between(low / margin, high * margin) if tick >= first_tick * 0.99]
    axes.set_xticks(ticks, [scaled(tick).replace(".00", "").replace(".0", "") for tick in ticks])
    axes.set_xticks([], minor=True)


FINEST = (1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9)


def ticks_between(low: float, high: float) -> list[float]:
    """Returns round ticks of a log axis from `low` to `high`: 1, 2, 5 per decade, more or fewer by the axis length."""
    decades = math.log10(high / low)
    steps: Sequence[float] = (1,)
    for limit, finer in ((3.5, (1, 3)), (2, (1, 2, 5)), (0.8, (1, 1.5, 2, 3, 4, 6, 8)), (0.2, FINEST)):
        if decades < limit:
            steps = finer
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _keys(axes: "Axes", keys: Sequence[Key]) -> None:
    """Draws a legend of line styles above the axes; the colours are explained by the names beside the lines."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 as in draw

    handles = [Line2D([], [], label=name, **{"color": INK, **style}) for name, style in keys]
    rows = math.ceil(len(keys) / A_ROW)
    axes.set_title(axes.get_title("left"), pad=12 + 14 * rows)
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.015), ncols=min(len(keys), A_ROW))


def _band(axes: "Axes", xs: Sequence[float], points: Sequence[Point], colour: str) -> None:
    """Draws 95 % intervals: a light band, and a bar at each measured point."""
    lows, highs = _ends(points)
    axes.fill_between(xs, lows, highs, color=colour, alpha=0.13, linewidth=0, zorder=2)
    axes.vlines(xs, lows, highs, color=colour, alpha=0.55, linewidth=1.1, zorder=3)


def _ends(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.accuracy.low for point in points], [point.accuracy.high for point in points]


def _break(axes: "Axes", start: float, middle: float) -> None:
    """Marks the axis break between the warm start, which has no reinforcement compute, and the other points."""
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
    """Writes text beside a point, outlined in the background colour so that lines do not cross the letters."""
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
