"""Figure of a study of thinking: accuracy against cost, with votes and the oracle of equal cost as curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poziomka.core.rollouts.evaluation import Estimate
from poziomka.reports.figures import write_figure
from poziomka.reports.style import AFTER, BEFORE, INK, MUTED, RIGHT, WRONG, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = "os^Dv<>ph*XP"  # one per strategy, repeated after the last


@dataclass(frozen=True)
class Dot:
    """A strategy in the figure: its name, accuracy with interval, and mean cost in tokens."""

    name: str
    accuracy: Estimate
    tokens: float


def draw_frontier(
    folder: Path, title: str, dots: Sequence[Dot], curves: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Path]:
    """Writes figures/frontier.png and .svg in `folder`; returns their paths.

    Args:
        folder: folder of the study.
        title: title, for example the model and the task.
        dots: strategies.
        curves: points (mean cost in tokens, accuracy) by name: "majority" and "oracle".

    Raises:
        RunError: the folder cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 half a second that only figures need

    with styled():
        figure = Figure((7.6, 4.6), layout="constrained")
        _panel(figure.subplots(), title, dots, curves)
        return write_figure(figure, folder, "frontier")


def _panel(axes: "Axes", title: str, dots: Sequence[Dot], curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    axes.set_title(_literal(title), pad=10)
    axes.set(xlabel="cost per problem (tokens of the model, log scale)", ylabel="accuracy", xscale="log")
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatted(lambda value, _: f"{value:,.0f}" if f"{value:g}"[0] in "125" else "")
    looks = {"majority": (INK, "-"), "oracle": (MUTED, (0, (4, 2)))}
    for name, line in curves.items():
        colour, style = looks.get(name, (MUTED, ":"))
        axes.plot(*zip(*line, strict=True), color=colour, linestyle=style, linewidth=1.4, label=name, zorder=2)
    colours = (AFTER, BEFORE, RIGHT, WRONG)
    for number, dot in enumerate(dots):
        reach = [[dot.accuracy.mean - dot.accuracy.low], [dot.accuracy.high - dot.accuracy.mean]]
        axes.errorbar(
            dot.tokens,
            dot.accuracy.mean,
            yerr=reach,
            fmt=MARKS[number % len(MARKS)],
            color=colours[number % len(colours)],
            elinewidth=1.0,
            markersize=6.5,
            label=_literal(dot.name),
            zorder=3,
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))


def _literal(text: str) -> str:
    """Returns a text in which matplotlib reads no formula between dollar signs."""
    return text.replace("$", r"\$")
