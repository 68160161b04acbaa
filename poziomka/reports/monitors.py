"""Plots of training metrics against the step, in one figure and as single pictures for the page."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from poziomka.reports.reading import Reading
from poziomka.reports.style import AFTER, BEFORE, MUTED, RIGHT, WRONG, styled
from poziomka.reports.words import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, SIZE = 4, (3.15, 2.2)  # plots in a row, and the size of a plot in inches

Lines = tuple[tuple[str, str, str], ...]  # (metric, name of the line, colour)
Monitor = tuple[str, str, Lines]  # (title, kind of stage, lines)
MONITORS: tuple[Monitor, ...] = (
    (
        "reward",
        "rl",
        (
            ("reward/mean", "mean", AFTER),
            ("reward/pass_rate", "pass rate", MUTED),
            ("reward/audit_pass_rate", "audit", WRONG),
        ),
    ),
    ("groups without variance (share)", "rl", (("groups/zero_variance", "", AFTER),)),
    (
        "length (tokens)",
        "rl",
        (
            ("length/correct", "right", RIGHT),
            ("length/wrong", "wrong", WRONG),
            ("length/truncated", "truncated", MUTED),
        ),
    ),
    ("entropy of the policy (nats)", "rl", (("policy/entropy", "", AFTER),)),
    ("gradient norm", "rl", (("optim/grad_norm", "", AFTER),)),
    ("mismatch KL, sampler to learner", "rl", (("policy/mismatch_kl", "", AFTER),)),
    ("clipped tokens (share)", "rl", (("policy/clip_share", "", AFTER),)),
    (
        "attempts with a call (share)",
        "rl",
        (("tools/rate", "with a call", AFTER), ("rollouts/void", "with a void turn", WRONG)),
    ),
    ("fine-tuning: next-token loss (nats)", "sft", (("loss/next_token", "", BEFORE),)),
    (
        "levels dealt from",
        "rl",
        (
            ("curriculum/level_high", "highest", AFTER),
            ("curriculum/level_mean", "mean", MUTED),
            ("curriculum/level_low", "lowest", BEFORE),
        ),
    ),
)


def monitors_of(reading: Reading) -> list[Monitor]:
    """Returns the plots in MONITORS, each (title, kind of stage, lines), for which the run has logged values."""
    return [monitor for monitor in MONITORS if _lines_of(reading, monitor)]


def _lines_of(reading: Reading, monitor: Monitor) -> list[tuple[str, str, list[tuple[float, float]]]]:
    """Returns (name, colour, [(step, value), …]) of each line of a plot for which the run has logged values."""
    _, kind, wanted = monitor
    found = []
    for metric, name, colour in wanted:
        values = [(float(line["step"]), finite(line.get(metric))) for line in reading.stage(kind)]
        numbers = [(step, value) for step, value in values if value is not None]
        if numbers:
            found.append((name, colour, numbers))
    return found


def figure_of(reading: Reading, monitors: Sequence[Monitor]) -> "Figure":
    """Returns a matplotlib figure of the given plots of `monitors_of`, 4 (COLUMNS) in a row."""
    from matplotlib.figure import Figure  # noqa: PLC0415 half a second that only figures need
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 as above

    rows = math.ceil(len(monitors) / COLUMNS)
    size = (SIZE[0] * COLUMNS, SIZE[1] * rows)
    figure = Figure(size, layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.07))
    every = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, monitor in zip(every, monitors, strict=False):
        _plot(axes, reading, monitor)
    for axes in every[len(monitors) :]:
        axes.set_visible(False)
    return figure


def pictures(reading: Reading) -> Mapping[str, str]:
    """Returns an SVG picture of each plot of training metrics by title, for the page, which can stack them."""
    from matplotlib.figure import Figure  # noqa: PLC0415 as in figure_of

    found = {}
    with styled():
        for monitor in monitors_of(reading):
            figure, data = Figure(SIZE, layout="constrained"), io.StringIO()
            _plot(figure.subplots(), reading, monitor)
            figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
            found[monitor[0]] = data.getvalue()
    return found


def _plot(axes: "Axes", reading: Reading, monitor: Monitor) -> None:
    lines = _lines_of(reading, monitor)
    axes.set_title(monitor[0], fontsize=9, fontweight="normal", pad=5)
    axes.tick_params(labelsize=8)
    for name, colour, numbers in lines:
        xs, ys = zip(*numbers, strict=True)
        axes.plot(xs, ys, color=colour, linewidth=1.2, label=name)
    if any(name for name, _, _ in lines):
        legend = axes.legend(loc="best", fontsize=8, labelcolor="linecolor", handlelength=0, labelspacing=0.2)
        for mark in legend.legend_handles:  # the names have the colours of their lines
            if mark is not None:
                mark.set_visible(False)
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e\N{MINUS SIGN}"))
    values = [value for _, _, numbers in lines for _, value in numbers]
    if min(values) >= 0:
        axes.set_ylim(bottom=0, top=None if max(values) > 0 else 1)
