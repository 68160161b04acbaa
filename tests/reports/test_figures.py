"""The figures: every file is there, is a picture, and repeats."""

import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from poziomka.core.rollouts.evaluation import Estimate
from poziomka.reports.figures import draw, ticks_between
from poziomka.reports.naming import MARKS, Named, _spread, box_of, names
from poziomka.reports.reading import Point
from poziomka.runs.run import Run

pytestmark = pytest.mark.slow


def ids(path: Path) -> list[str]:
    return [element.get("id", "") for element in ET.parse(path).iter()]


@pytest.fixture(scope="module")
def drawn(build, tmp_path_factory) -> Path:
    folder = build(tmp_path_factory.mktemp("drawn") / "demo")
    draw(Run.read(folder))
    return folder / "figures"


def test_a_complete_run_gives_four_figures_twice(drawn):
    names = {f"{name}.{kind}" for name in ("compute", "thinking", "report", "monitors") for kind in ("png", "svg")}
    assert {path.name for path in drawn.iterdir()} == names
    for path in drawn.iterdir():
        data = path.read_bytes()
        assert len(data) > 20_000, path.name
        assert data.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_the_combined_figure_is_wide_and_holds_both_panels(drawn):
    png = (drawn / "report.png").read_bytes()
    assert int.from_bytes(png[16:20], "big") >= 1800  # its width, in the PNG's header
    assert {"axes_1", "axes_2"} <= set(ids(drawn / "report.svg"))


def test_no_date_is_in_a_figure(drawn):
    assert not any(b"<dc:date>" in path.read_bytes() for path in drawn.iterdir())


def test_a_run_cut_short_is_drawn_as_far_as_it_went(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if json.loads(line)["stage"] == "evaluate")
    (folder / "metrics.jsonl").write_text("".join(lines[: start + 1]))  # the warm start's evaluation alone
    (folder / "results" / "frontier.json").unlink()
    assert {path.stem for path in draw(Run.read(folder))} == {"compute", "report", "monitors"}


def test_a_run_without_numbers_has_no_figures(tmp_path):
    with Run.open(tmp_path / "empty", {"task": "recurrence"}):
        pass
    assert draw(Run.read(tmp_path / "empty")) == []
    assert not (tmp_path / "empty" / "figures").exists()


def test_a_user_s_own_style_changes_nothing(drawn):
    import matplotlib as mpl

    before = {path: path.read_bytes() for path in drawn.iterdir()}
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        draw(Run.read(drawn.parent))
        assert mpl.rcParams["font.size"] == 30, "drawing must leave the user's settings as they were"
    assert {path: path.read_bytes() for path in drawn.iterdir()} == before


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1.2e7, 2.7e7, [1.5e7, 2e7]),
        (1, 20, [1, 2, 5, 10, 20]),
        (0.5, 200, [1, 3, 10, 30, 100]),
        (1, 1e5, [1, 10, 100, 1000, 1e4, 1e5]),
    ],
)
def test_a_log_axis_has_few_round_ticks(low, high, ticks):
    assert ticks_between(low, high) == ticks


def test_names_of_curves_that_coincide_stand_apart():
    points = tuple(Point(float(x), Estimate(0.5, 0.4, 0.6), x) for x in (2, 4, 8, 16))
    named = [Named("warm start", points, (points,)), Named("trained", points, (points[:],))]

    def placed(x: float, y: float) -> tuple[float, float]:
        return 80 * math.log2(x), 250 * y

    boxes = [
        box_of(placed(mark.x, mark.accuracy.mean), side, len(each.text)) for each, mark, side in names(named, placed)
    ]
    (left, bottom, right, top), other = boxes
    assert left >= other[2] or right <= other[0] or bottom >= other[3] or top <= other[1]


def test_names_of_long_curves_stand_clear_of_every_line():
    def curve(height: float) -> tuple[Point, ...]:
        return tuple(
            Point(1.0 + x, Estimate(y := height + 0.02 * math.sin(x), y - 0.02, y + 0.02), x) for x in range(200)
        )

    def placed(x: float, y: float) -> tuple[float, float]:
        return 2 * x, 300 * y

    curves = {f"curve {number}": curve(0.15 + 0.25 * number) for number in range(4)}
    found = list(names([Named(name, line, (line,)) for name, line in curves.items()], placed))
    assert [each.text for each, _, _ in found] == [*curves]
    for each, mark, side in found:
        left, bottom, right, top = box_of(placed(mark.x, mark.accuracy.mean), side, len(each.text))
        under = [placed(p.x, y) for line in curves.values() for p in line for y in (p.accuracy.low, p.accuracy.high)]
        assert not [place for place in under if left < place[0] < right and bottom < place[1] < top]


def test_a_name_is_tried_beside_some_marks_of_many_and_beside_all_of_few():
    marks = [Point(float(x), Estimate(0.5, 0.4, 0.6), x) for x in range(200)]
    chosen = [mark.x for mark in _spread(marks)]
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 199, MARKS)
    assert chosen == sorted(set(chosen))
    assert _spread(marks[:MARKS]) == marks[:MARKS]


def test_reading_a_run_imports_no_drawing_and_no_tensors():
    check = "import sys, poziomka.reports.page; assert not {'matplotlib', 'torch', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
