"""What is read from a run's folder: which rollouts are shown, and how numbers are said."""

from itertools import pairwise

import pytest

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.evaluation import Estimate
from poziomka.core.transcript import Transcript
from poziomka.reports.findings import headline
from poziomka.reports.reading import Curve, Point, Reading, chosen, correct, read, tally
from poziomka.reports.words import brief, counted, duration, scaled, shortened
from poziomka.runs.run import Run


def test_pairs_are_the_same_attempt_at_the_same_problem(folder):
    reading = read(Run.read(folder))
    assert len(reading.pairs) == 24
    for pair in reading.pairs:
        assert pair.before.problem.key == pair.after.problem.key
        assert pair.before.id.rpartition("/")[2] == pair.after.id.rpartition("/")[2]
    assert sum(tally(reading.pairs).values()) == 24
    assert reading.missing == []


def test_shown_pairs_are_spread_over_levels_whatever_their_outcome(folder):
    pairs = read(Run.read(folder)).pairs
    levels = [pair.after.problem.level for pair in chosen(pairs, 4)]
    assert levels == [4, 7, 10, 13]
    assert chosen(pairs[::-1], 4)[0].after.problem == chosen(pairs, 4)[0].after.problem


def test_rollouts_are_left_unread_where_only_figures_are_wanted(folder):
    (folder / "journal" / "trained.parquet").write_bytes(b"no journal")
    assert read(Run.read(folder), journals=False).missing == []


def test_the_learning_curve_starts_at_no_compute(folder):
    learning = read(Run.read(folder)).learning
    assert learning[0].x == 0
    assert len(learning) == 13
    assert all(a.x < b.x for a, b in pairwise(learning))


def test_intervals_that_overlap_are_said_to(tmp_path):
    def curve(model: str, mean: float) -> Curve:
        return Curve(model, (Point(3.0, Estimate(mean, mean - 0.1, mean + 0.1), 64, 3.0),), (), ())

    reading = Reading(tmp_path, curves=[curve("warm start", 0.30), curve("trained", 0.35)])
    assert "the intervals overlap: this may be chance" in headline(reading)
    reading.curves = [curve("trained", 0.35)]
    assert headline(reading).startswith("The trained model solves 35")


def test_a_run_without_a_frontier_tells_its_learning_curve(folder):
    (folder / "results" / "frontier.json").unlink()
    assert headline(read(Run.read(folder), journals=False)).endswith("FLOPs.")


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (999.6e6, "1.00 G"), (2.31e12, "2.31 T"), (1_150_000, "1.15 M"), (17, "17"), (402_113, "402 k"),
     (None, "–"), (float("nan"), "–"), ("many", "–"), (True, "–")],
)  # fmt: skip
def test_large_numbers_are_said_in_three_digits(number, said):
    assert scaled(number).replace("\N{NO-BREAK SPACE}", " ") == said


def test_times_counts_and_settings_are_said_as_a_person_says_them():
    assert [duration(s) for s in (3.42, 157.4, 7300, None)] == ["3.4 s", "2 min 37 s", "2 h 1 min", "–"]
    assert [counted(n, "token") for n in (1, 0, 1200)] == ["1 token", "0 tokens", "1,200 tokens"]
    assert [brief(v) for v in (0.0003, True, None, [1, 2.5], "cispo")] == ["0.0003", "yes", "–", "1, 2.5", "cispo"]


def test_long_texts_keep_their_beginning_and_end():
    short = shortened("a" * 3000 + "b" * 3000)
    assert len(short) < 4100
    assert short.startswith("aaa")
    assert "[…2000 characters…]" in short
    assert short.endswith("bbb")


@pytest.mark.parametrize("answer", [0, 1])
def test_a_rollout_is_as_correct_as_the_branch_that_answers(answer):
    branches = tuple(Branch(Transcript(), score) for score in (Score.right(""), Score.wrong("")))
    assert correct(Rollout("r", Problem.ask("t", "k", "q"), branches, answer=answer)) == (answer == 0)
