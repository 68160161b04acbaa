"""The page's section on alarms: every alarm with what shows it, what was watched where none rang, and failed checks."""

import pytest

from poziomka.reports.alarms import silence, warning
from poziomka.reports.page import page
from poziomka.reports.reading import read
from poziomka.runs.run import Run

SENTENCE = "since the first 4 steps the reward rose from 0.21 to 0.37 while accuracy <under> the audit stayed at 0.20"
WATCHED = {"watched": ["unearned reward", "repeated text"], "audited": True, "rung": []}


def words(folder, alarms=None, **verdicts):
    """The page's words, for a finished run in which these alarms rang and checks ended so."""
    with Run.open(folder, Run.read(folder).recipe) as run:
        if alarms is not None:
            run.record("alarms", alarms)
        if verdicts:
            run.log(25, "reinforce", {f"verdict/{name}": float(count) for name, count in verdicts.items()})
            run.save(25, lambda _: None, {})
    return page(read(Run.read(folder)), {}).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture
def folder(folder):
    """A finished run that has a checkpoint, so that opening it leaves everything where it is."""
    recipe = Run.read(folder).recipe
    made = {
        path: path.read_bytes()
        for path in [*folder.glob("results/*"), *folder.glob("journal/*"), folder / "metrics.jsonl"]
    }
    with Run.open(folder, recipe) as run:
        run.save(24, lambda _: None, {})
    for path, content in made.items():
        path.write_bytes(content)
    return folder


def rang(journal="step-000024", rollout=None, **changes):
    named = [{"journal": journal, "id": rollout, "audit": "refuses it: it names 7"}]
    alarm = {"name": "unearned reward", "step": 12, "sentence": SENTENCE, "rule": "the highest reward first"}
    return WATCHED | {"rung": [alarm | {"rollouts": named}]} | changes


def test_an_alarm_is_told_with_the_rollout_that_shows_it_span_by_span(folder):
    rollout = Run.read(folder).journal("step-000024").rollouts[0].id
    html = words(folder, rang(rollout=rollout))
    section = html[html.index('<section id="alarms">') :].partition("</section>\n<section")[0]
    for piece in (
        "Unearned reward",
        "while accuracy &lt;under&gt; the audit stayed at 0.20.",
        "Rang at step 12. Shown: the highest reward first",
        "The audit refuses it: it names 7.",
        'class="span by-model"',
        f"{rollout}, in journal/step-000024.parquet",
    ):
        assert piece in section, piece


def test_the_headline_warns_of_alarms(folder):
    html = words(folder, rang(rollout="x"))
    assert '<p class="warning"><a href="#alarms">An alarm rang: unearned reward.</a></p>' in html
    assert warning(read(Run.read(folder))) in html


def test_a_rollout_that_is_gone_is_named(folder):
    html = words(folder, rang(journal="step-000099", rollout="train/0/99"))
    assert "Rollout train/0/99, of journal/step-000099.parquet, cannot be read." in html
    assert "There is no journal/step-000099.parquet" in html


def test_where_none_rang_one_sentence_says_what_was_watched(folder):
    html = words(folder, WATCHED)
    assert "No alarm rang. Watched at every step, against the beginning" in html
    assert "unearned reward; and repeated text." in html
    assert 'class="warning"' not in html


def test_where_there_was_no_second_opinion_that_is_said():
    assert "Whether rewards were earned is unknown" in silence(WATCHED | {"audited": False})
    assert "unknown" not in silence(WATCHED)


def test_where_nothing_was_watched_that_is_said():
    assert silence({"watched": []}) == "Nothing was watched: the recipe turned every alarm off."


def test_failed_checks_are_told_by_kind_with_the_share_that_stops_a_run(folder):
    html = words(folder, WATCHED, correct=60, wrong=30, error=4, timeout=6)
    assert '<tr><th scope="row">error</th><td>4</td><td>4.0 %</td><td>the check failed: it raised' in html
    assert '<tr><th scope="row">timeout</th><td>6</td><td>6.0 %</td><td>the check failed: it did not return' in html


def test_a_run_without_failed_checks_says_none(folder):
    assert '<tr><th scope="row">timeout</th><td>0</td>' in words(folder, WATCHED, correct=60, wrong=40)


def test_a_run_from_before_alarms_has_no_such_section_or_says_so(folder):
    assert '<section id="alarms">' not in words(folder)
    assert "This run is older than alarms" in words(folder, correct=60)


@pytest.mark.parametrize("rung", [7, [7], [{"name": 3, "rollouts": 4}], [{"rollouts": [5]}], [{}]])
def test_alarms_of_an_unknown_shape_do_no_harm(folder, rung):
    assert "</html>" in words(folder, WATCHED | {"rung": rung})
