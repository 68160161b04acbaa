"""The report of a run: made from its folder alone, one file, whatever is missing."""

import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from poziomka.core.errors import RunError
from poziomka.reports.page import page, write
from poziomka.reports.reading import read
from poziomka.runs.run import Run

pytestmark = pytest.mark.slow

MISSING = ("metrics.jsonl", "provenance.json", "journal", "results", "journal/trained.parquet", "results/frontier.json")


def report(folder: Path) -> str:
    return write(Run.read(folder)).read_text(encoding="utf-8")


def words(folder: Path) -> str:
    return page(read(Run.read(folder)), {})  # without pictures, which take a second to draw


@pytest.fixture(scope="module")
def shared(build, tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("shared") / "demo")


@pytest.fixture(scope="module")
def html(shared) -> str:
    return report(shared)


class Outline(HTMLParser):
    """Collects what a test asks of a page: tags that are left open, and what its elements point to."""

    VOID = ("meta", "br", "link", "img", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.ids, self.targets, self.tags = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self._look(attributes)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self._look(attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def _look(self, attributes):
        self.ids += [value for name, value in attributes if name == "id"]
        self.targets += [value for name, value in attributes if name in ("href", "src", "xlink:href", "data")]


def test_the_page_points_to_nothing_outside_itself(html):
    assert not re.search(r"https?://|//[a-z]|url\((?!#)|@import", html)
    assert all(target.startswith("#") for target in Outline(html).targets)
    assert "script" not in Outline(html).tags
    assert "default-src 'none'" in html


def test_the_page_is_well_formed_and_its_names_are_unique(html):
    outline = Outline(html)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {target[1:] for target in outline.targets} <= set(outline.ids)


def test_the_page_says_what_changed_with_intervals(html):
    text = html.replace("\N{NO-BREAK SPACE}", " ")
    assert "from 21 % (17–26 %) to 95 % (92–97 %) at a budget of 64 thinking tokens" in text
    assert "+9 points (+5 to +13) at equal thinking" in text
    assert "the trained model made to answer at once solves 22 % (18–27 %)" in text
    assert "64 points more, where at least 30 more were demanded; the gate was passed" in text


def test_rollouts_stand_side_by_side_with_reward_verdict_and_reason(html):
    assert html.count("<h5>Before") == html.count("<h5>After") >= 6
    for piece in ("by-model", "by-forced", "✓ correct", "✗ wrong", "reward 1", "is right</p>", "right before"):
        assert piece in html, piece


def test_the_footer_has_commands_that_run_in_the_working_directory(build, tmp_path, monkeypatch):
    folder = build(tmp_path / "runs" / "my marbles")
    for there, spelled in ((tmp_path, "'runs/my marbles'"), (tmp_path / "runs", "'my marbles'")):
        monkeypatch.chdir(there)
        for given in (folder, folder.relative_to(there)):
            text = unescape(words(given))
            assert f"poziomka report {spelled}<" in text
            assert f"poziomka show {spelled}<" in text
    monkeypatch.chdir(folder)
    assert "poziomka report .<" in unescape(words(Path()))


def test_recipe_seeds_cost_and_limits_are_told(html):
    for piece in ("Seeds: seed = 1.", "learning_rate", "7.11\N{NO-BREAK SPACE}TFLOPs", "2 min 38 s", "1,024 entries"):
        assert piece in html, piece


def test_pictures_have_words_for_those_who_cannot_see_them(html):
    labels = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', html)
    assert len(labels) == html.count("<svg") == 10  # the two panels, and a small plot for each of 8 monitors
    assert "13 evaluations: from" in labels[0]


def test_the_page_knows_dark_mode_and_so_do_its_pictures(html):
    assert "prefers-color-scheme: dark" in html
    assert not re.search(r"(?:fill|stroke): #(?!000000)", html), "a colour that dark mode does not change"


def test_rebuilding_gives_the_same_bytes(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(shared.parent)  # the footer has the folder's path in the working directory
    html = report(Path("demo"))
    moved = shutil.copytree(shared, tmp_path / "demo")
    for path in ("report.html", *(f"figures/{path.name}" for path in (shared / "figures").iterdir())):
        (moved / path).unlink()
    monkeypatch.chdir(tmp_path)
    assert report(Path("demo")) == html
    for path in (shared / "figures").iterdir():
        assert path.read_bytes() == (moved / "figures" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("missing", MISSING)
def test_what_is_missing_is_named_and_the_rest_is_shown(folder, missing):
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    html = words(folder)
    assert Outline(html).open == []
    assert "What this does not show" in html
    if missing != "provenance.json":  # which a run may lack without harm
        assert "Missing from the folder" in html


def test_an_empty_run_has_a_report(tmp_path):
    with Run.open(tmp_path / "empty", {"task": "recurrence"}):
        pass
    html = report(tmp_path / "empty")
    assert "There is nothing to draw yet." in html
    assert "The recipe names no seed." in html


@pytest.mark.parametrize(
    "damaged", ["results/frontier.json", "results/cost.json", "journal/trained.parquet", "provenance.json"]
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(folder, damaged):
    data = (folder / damaged).read_bytes()
    (folder / damaged).write_bytes(data[: len(data) // 2])
    html = words(folder)
    assert "cannot be read" in html
    assert "Recipe and seeds" in html


@pytest.mark.parametrize(
    "frontier",
    [{"curves": []}, {"curves": {"trained": None}}, {"curves": {"trained": {"budgets": [1, {"accuracy": 3}]}}}],
)
def test_results_of_an_unknown_shape_do_no_harm(folder, frontier):
    with Run.open(folder, Run.read(folder).recipe) as run:
        run.record("frontier", frontier)
        run.record("cost", {"flops": 7, "seconds": {"sampling": None}})
        run.record("gate", {"direct": 0.2, "passed": "yes"})
        run.record("notes", {"not_shown": "one sentence"})
    (folder / "metrics.jsonl").unlink()  # the other figures are not what this is about
    assert Outline(report(folder)).open == []


def test_whatever_a_model_wrote_is_escaped(build, tmp_path):
    folder = build(tmp_path / "demo", why='<script>alert("x")</script>\x1b[2J')
    html = words(folder)
    assert "<script" not in html
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;␛[2J" in html


def test_a_gate_that_was_not_passed_is_said(folder):
    with Run.open(folder, Run.read(folder).recipe) as run:
        run.record("gate", {"direct": {"mean": 0.2}, "thinking": {"mean": 0.3}, "margin": 0.3, "passed": False})
    assert "the gate was not passed, so nothing was reinforced" in words(folder)


def test_a_folder_that_cannot_be_written_is_one_sentence(folder):
    (folder / "figures").write_text("in the way")
    with pytest.raises(RunError, match="cannot write the figure"):
        report(folder)


def test_a_model_that_never_thinks_is_in_the_table_though_not_in_the_figure(folder):
    frontier = Run.read(folder).results("frontier")
    for row in frontier["curves"]["warm start"]["budgets"]:
        row["thinking_tokens"] = 0.0
    (folder / "results" / "frontier.json").write_text(json.dumps({"schema_version": 1, **frontier}))
    html = words(folder)
    assert "the warm start thought no token" in html
    assert "from 21\N{NO-BREAK SPACE}% (17–26\N{NO-BREAK SPACE}%) to 95" in html
    assert "<svg viewBox" in report(folder)


# ------------------------------------------------------------------------------------------------------ the curriculum
def with_ranges(folder: Path, *ranges: tuple[int, int, float]) -> Path:
    """A run's folder whose steps of reinforcement log a range of levels, and a pass rate at its edge."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["stage"] == "reinforce"]
    for line, (low, high, rate) in zip(steps, ranges, strict=False):
        line |= {"curriculum/level_low": low, "curriculum/level_high": high, "curriculum/edge_pass_rate": rate}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_curriculum_says_how_far_it_came(folder):
    words_of = words(with_ranges(folder, (2, 2, 0.9), (2, 7, 0.0), (3, 5, 0.5)))
    assert "Reinforcement began with problems of level 2 and ended with levels 3 to 5" in words_of
    assert "after it had reached up to level 7; in its last steps 47\N{NO-BREAK SPACE}% of attempts" in words_of


def test_a_run_without_one_says_nothing_of_levels(shared):
    assert "Reinforcement began with problems of" not in words(shared)


def test_the_range_of_levels_is_a_figure_where_it_was_logged(folder, html):
    assert "levels dealt from" not in html
    assert "levels dealt from" in report(with_ranges(folder, (2, 2, 0.9), (2, 7, 0.0), (3, 5, 0.5)))
