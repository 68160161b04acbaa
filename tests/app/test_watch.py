"""What a person sees while a recipe runs: alarms stand out, in the panel and in plain lines."""

import io

import pytest
from rich.console import Console

import poziomka as pz
from poziomka.app.progress_display import Watcher, rollout_line
from poziomka.app.settings.recipe import recipe_of
from poziomka.core.rollout import Rollout
from poziomka.core.transcript import Author
from poziomka.learning.monitoring.reward_hacking import Alarm, Example

ALARM = Alarm(
    "unearned reward", 12, "the reward rose", "the highest first", (Example("step-000012", "train/0/12/0/k/0"),)
)


@pytest.fixture
def watcher(tmp_path):
    """Returns a watcher and what it has printed so far."""

    def watcher(*, terminal):
        console = Console(
            file=io.StringIO(), force_terminal=terminal, width=100, color_system="standard" if terminal else None
        )
        return Watcher(recipe_of({}), tmp_path, console=console), console.file.getvalue

    return watcher


def test_an_alarm_is_a_line_where_nobody_sees_a_terminal(watcher):
    watching, printed = watcher(terminal=False)
    watching.notes = ["step 3: 1 of 4 checks failed", str(ALARM)]
    watching.tell()
    assert "ALARM, unearned reward: the reward rose (step 12)" in printed()


def test_in_a_terminal_an_alarm_is_red_and_other_notes_are_yellow(watcher):
    watching, printed = watcher(terminal=True)
    watching.notes = ["step 3: 1 of 4 checks failed", str(ALARM)]
    with watching:
        watching.tell()
    assert "\x1b[33mstep 3: 1 of 4 checks failed" in printed()
    assert "\x1b[1;31mALARM, unearned reward" in printed()


def test_the_panel_keeps_an_alarm_in_sight(watcher):
    watching, printed = watcher(terminal=False)
    watching.alarms = [ALARM]
    watching.console.print(watching.panel())
    assert "unearned reward: the reward rose (step 12)" in printed()


def test_where_none_rang_the_panel_has_no_such_row(watcher):
    watching, printed = watcher(terminal=False)
    watching.console.print(watching.panel())
    assert not any(line.startswith("alarm") for line in printed().splitlines())


def test_a_stage_named_after_its_kind_is_named_once(watcher):
    watching, printed = watcher(terminal=False)
    watching.begin(watching.recipe.stage[0])
    kind = watching.recipe.stage[0].kind
    assert printed().strip().endswith(f"stage {kind} …")


def test_replies_that_are_mostly_cut_off_are_counted_once(watcher):
    watching, printed = watcher(terminal=False)
    stage = next(each for each in watching.recipe.stage if each.kind == "rl")
    verdicts = {"verdict/correct": 2.0, "verdict/truncated": 6.0, "verdict/failures": 0.0}
    watching.hear(stage.name, {"step": 1, **verdicts, "verdict/truncated": 2.0})
    assert "cut off" not in printed()
    watching.hear(stage.name, {"step": 2, **verdicts})
    watching.hear(stage.name, {"step": 3, **verdicts})
    assert printed().count("6 of 8 replies") == 1
    assert f"raise {stage.name}.max_tokens" in printed()


def test_an_arrow_is_between_a_question_and_its_reply():
    transcript = pz.Transcript.of([pz.Message("user", "1 + 1")]) + pz.Span(Author.MODEL, "2")
    rollout = Rollout("watch/0", pz.Problem("1 + 1"), (pz.Branch(transcript, pz.Score.right("2")),))
    assert rollout_line(rollout, 80).plain == "1 + 1 → 2  correct"
