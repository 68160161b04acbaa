"""The terminal viewer: step, group, rollout; keys in a terminal, plain text in a pipe."""

import io
import sys

import pytest
from rich.console import Console

from poziomka.app.cli.inspect import show as module
from poziomka.app.cli.inspect.show import Viewer, show
from poziomka.core.errors import RunError, SettingsError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author, Span, Transcript, compact
from poziomka.runs.run import Run
from poziomka.runs.storage.results import write_json


def attempt(group: int, number: int, text: str, *, judged: bool = True) -> Rollout:
    problem = Problem.ask("sums", f"p{group}", f"what is {group} + {group}?", str(2 * group))
    spans = (Span(Author.USER, problem.prompt[0].content), Span(Author.MODEL, text, compact([1, 2])))
    right = text == str(2 * group)
    score = Score.right(text, "it adds up") if right else Score.wrong(text, "it does not \x1b[2J add up")
    branch = Branch(Transcript((*spans, Span(Author.FORCED, "</think>"))), score if judged else None)
    return Rollout(f"train/{group}/p{group}/{number}", problem, (branch,))


@pytest.fixture
def folder(tmp_path):
    with Run.open(tmp_path / "run", {"task": "sums"}) as run:
        run.log(7, "reinforce", {"reward/mean": 0.5, "reward/pass_rate": 0.25, "length/thinking": 3.5})
        groups = [[attempt(g, 0, str(2 * g)), attempt(g, 1, "13")] for g in (1, 2, 3)]
        advantages = {groups[0][0].id: [0.5, 0.5], groups[0][1].id: [-0.5, -0.25]}
        run.keep("step-000007", groups, advantages, 7)
        run.keep("trained", [[attempt(1, 0, "2"), attempt(1, 1, "2", judged=False)]], step=8)
    return tmp_path / "run"


def printed(folder, *place, terminal: bool = False) -> str:
    colours = "standard" if terminal else None
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False, color_system=colours)
    show(folder, *place, console=console)
    return console.file.getvalue()


def test_the_parts_of_a_reward_are_shown(tmp_path):
    rollout = attempt(1, 0, "2")
    score = Score(
        0.9, rollout.score.verdict, "2", "it adds up; polite: the judge: yes", {"correct": 1.0, "polite": 0.5}
    )
    rollout = Rollout(rollout.id, rollout.problem, (Branch(rollout.transcript, score),))
    with Run.open(tmp_path / "run", {"task": "sums"}) as run:
        run.keep("step-000001", [[rollout]], step=1)
    shown = printed(tmp_path / "run", 1, 1)
    assert "  parts: correct 1 · polite 0.5\n  why: it adds up; polite: the judge: yes" in shown


def test_the_only_journal_is_opened(tmp_path):
    with Run.open(tmp_path / "run", {"task": "sums"}) as run:
        run.keep("test", [[attempt(1, 0, "2"), attempt(1, 1, "3")]])
    assert printed(tmp_path / "run") == printed(tmp_path / "run", "test")
    assert "rollout 2" in printed(tmp_path / "run", None, 1)


def test_without_selectors_the_steps_are_listed(folder):
    text = printed(folder)
    assert "7        0.50    25 %       3.5 tokens" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "trained  1.00    100 %" in text.replace("\N{NO-BREAK SPACE}", " ")


def test_replies_of_a_model_that_does_not_think_are_no_thinking(tmp_path):
    for thinks in (True, False):
        with Run.open(tmp_path / str(thinks), {"model": {"load": "smollm2", "thinks": thinks}}) as run:
            for step in (1, 2):
                run.keep(f"step-{step:06d}", [[attempt(1, 0, "2")]], step=step)
        assert ("thinking" in printed(tmp_path / str(thinks))) is thinks


def test_a_step_lists_its_groups_with_rewards(folder):
    text = printed(folder, 7)
    assert text.count("✓✗") == 3
    assert "what is 3 + 3?" in text


def test_a_group_shows_every_rollout_with_reward_verdict_reason_and_advantage(folder):
    text = printed(folder, 7, 1)
    assert "✓ rollout 1 · correct · reward 1 · answer 2 · advantage +0.5 · 2 tokens" in text
    assert "✗ rollout 2 · wrong · reward 0 · answer 13 · advantage -0.5 to -0.25 · 2 tokens" in text
    assert "why: it adds up" in text


def test_in_a_pipe_the_author_of_every_span_is_written_out(folder):
    lines = [line.split() for line in printed(folder, "step-000007", 1, 1).splitlines()]
    assert ["forced", "</think>"] in lines
    assert "\x1b" not in printed(folder, 7, 1)


def test_in_a_terminal_authors_have_colours_and_words_cannot_steer_it(folder):
    text = printed(folder, 7, 1, terminal=True)
    assert "\x1b[36m2\x1b[0m" in text
    assert "\x1b[2J" not in text
    assert "␛[2J" in text


@pytest.fixture
def alarmed(folder):
    """The run, in which an alarm rang that its second group shows."""
    named = [{"journal": "step-000007", "id": "train/2/p2/1", "audit": "refuses it"}]
    alarm = {"name": "unearned reward", "step": 7, "sentence": "the reward rose", "rule": "first", "rollouts": named}
    write_json(folder / "results" / "alarms.json", {"rung": [alarm]})
    return folder


def test_alarms_are_listed_below_the_steps_and_flag_the_step_that_shows_them(alarmed):
    lines = printed(alarmed).splitlines()
    (step,) = [line for line in lines if line.split()[:1] == ["7"]]
    assert step.rstrip().endswith("⚑ unearned reward")
    assert "⚑ unearned reward: the reward rose (step 7)" in lines


def test_the_group_and_the_rollout_that_show_an_alarm_are_flagged(alarmed):
    flagged = [line for line in printed(alarmed, 7).splitlines() if "⚑ unearned reward" in line]
    assert [line.split()[0] for line in flagged] == ["2"]
    assert "answer 13 · 2 tokens · ⚑ unearned reward" in printed(alarmed, 7, 2)
    assert printed(alarmed, 7, 2).count("⚑") == 1


def test_without_alarms_nothing_is_flagged(folder):
    assert "⚑" not in printed(folder) + printed(folder, 7) + printed(folder, 7, 2)


def test_a_rollout_that_was_never_judged_is_shown_all_the_same(folder):
    assert "· rollout 2 · not judged · 2 tokens" in printed(folder, "trained", 1, 2)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((9,), "no rollouts of step '9'; it kept 7, trained"),
        ((7, 4), "no group 4 in step 7: it has groups 1 to 3"),
        ((7, 0), "no group 0"),
        ((7, 2, 3), "no rollout 3 in step 7, group 2: it has rollouts 1 to 2"),
        ((None, 1), "say which step too"),
        ((7, None, 1), "say which group too"),
    ],
)
def test_a_wrong_place_is_answered_with_what_there_is(folder, place, words):
    with pytest.raises(SettingsError, match=words):
        printed(folder, *place)


def test_a_folder_without_run_or_rollouts_is_one_sentence(tmp_path):
    with pytest.raises(RunError, match="there is no run"):
        show(tmp_path)
    with Run.open(tmp_path / "run", {"task": "sums"}):
        pass
    with pytest.raises(RunError, match="kept no rollouts"):
        show(tmp_path / "run")


def test_keys_lead_from_place_to_place(folder):
    viewer = Viewer(Run.read(folder), Console(file=io.StringIO()))
    for place, key, after in [
        ((), "", (0,)), ((), "7", (0,)), ((0,), "", (0, 0)), ((0,), "3", (0, 2)), ((0, 1), "n", (0, 2)),
        ((0, 1), "p", (0, 0)), ((0, 1), "2", (0, 1, 1)), ((0, 1, 0), "", (0, 1, 1)), ((0, 1, 0), "2", (0, 1, 1)),
        ((0, 1, 0), "b", (0, 1)), ((), "b", ()),
    ]:  # fmt: skip
        assert viewer.move(place, key) == after, (place, key)
    for place, key in [((), "n"), ((0, 2), "n"), ((0, 0), "p"), ((0,), "9"), ((0,), "x"), ((), "x")]:
        with pytest.raises(SettingsError):
            viewer.move(place, key)


def test_a_person_goes_on_with_keys_until_q_or_the_end(folder, monkeypatch):
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    for keys in ("\n\nx\nq\nb\n", "\n\nx\n"):
        monkeypatch.setattr(sys, "stdin", Keyboard(keys))
        text = printed(folder, terminal=True)
        assert "step 7 · group 1" in text
        assert "the key 'x' means nothing here" in text
        assert text.count("pass rate") == 1, "after q nothing more is read"
    assert module.KEYS in text


def test_what_a_tool_said_stands_apart(tmp_path):
    problem = Problem.ask("sums", "p", "6 * 7?", "42")
    spans = (
        Span(Author.USER, "6 * 7?"),
        Span(Author.MODEL, " <tool> 6 * 7 </tool>", compact([1, 2])),
        Span(Author.ENVIRONMENT, " <result> 42\n\x1b[2J </result>", compact([3])),
        Span(Author.MODEL, " so 42", compact([4])),
    )
    with Run.open(tmp_path / "run", {"task": "sums"}) as run:
        run.keep("trained", [[Rollout("a/0/p/0", problem, (Branch(Transcript(spans), Score.right("42")),))]], step=1)
    plain = printed(tmp_path / "run", "trained", 1)
    assert "  model        <tool> 6 * 7 </tool>\n" in plain
    assert f"  tool ▸      <result> 42\n{' ' * 14}␛[2J </result>\n" in plain
    coloured = printed(tmp_path / "run", "trained", 1, terminal=True)
    assert "\x1b[36m <tool> 6 * 7 </tool>\x1b[0m\n" in coloured
    assert "\x1b[33m  tool ▸ <result> 42\x1b[0m\n\x1b[33m         ␛[2J </result>\x1b[0m\n" in coloured
    assert "\x1b[36mso 42\x1b[0m" in coloured
