"""What a reply shows is read from its words and tokens."""

from dataclasses import replace

import pytest

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.transcript import Author, Span, Transcript, compact
from poziomka.learning.monitoring.text_features import LOOP, most_common_answer, repeated_share, signs_of


def said(reply, answer=None, tokens=None):
    score = Score.unparsed("nothing") if answer is None else Score.right(answer)
    spans = (Span(Author.USER, "?"), Span(Author.MODEL, reply, None if tokens is None else compact(tokens)))
    return Rollout("r", Problem.ask("t", "k", "?", "7"), (Branch(Transcript(spans), score),))


# ------------------------------------------------------------------------------------------------------- repetition
def test_a_loop_of_three_tokens_repeats_all_but_three_runs():
    assert repeated_share([1, 2, 3] * 20) == pytest.approx(1 - 3 / 57)


def test_what_is_never_said_twice_repeats_nothing():
    assert repeated_share(range(100)) == 0.0


def test_a_short_reply_cannot_repeat_itself():
    assert repeated_share([1] * 15) == 0.0
    assert repeated_share([1] * 16) > LOOP


def test_a_reply_half_of_which_was_said_before_is_looping():
    assert signs_of(said("", tokens=[*range(30), *range(30)])).repeated == pytest.approx(27 / 57)
    assert not signs_of(said("", tokens=[*range(30), *range(30)])).looping
    assert signs_of(said("", tokens=[*range(30), *range(30), *range(30)])).looping


def test_words_stand_in_where_there_are_no_tokens():
    assert signs_of(said("the very same words " * 10)).looping


# ----------------------------------------------------------------------------------------------------------- thought
@pytest.mark.parametrize("reply", ["<think></think>7", " </think> 7", "<think> hm </think>7", "7", "7 apples, I think"])
def test_a_thought_that_is_empty_a_word_or_absent_is_none(reply):
    assert signs_of(said(reply, "7")).empty


@pytest.mark.parametrize(
    "reply", ["<think>3 + 4</think>7", "3 k2 4 k1</think>7", "<think>思考思考思考思考思考思考思考思考</think>7"]
)
def test_any_other_thought_is_one(reply):
    assert not signs_of(said(reply, "7")).empty


@pytest.mark.parametrize(
    "reply",
    [
        "7 <think>3 + 4 = 7</think> 7",
        "<think>7, because 3 + 4 = 7</think>7",
        "<think>The answer is 7. Let me see</think>7",
        "So: **7** as 3 + 4 is that </think> 7",
    ],
)
def test_an_answer_before_the_thought_or_at_its_beginning_is_early(reply):
    assert signs_of(said(reply, "7")).early


@pytest.mark.parametrize("reply", ["<think>3 + 4 = 7</think>7", "<think>7</think>7", "<think>70 less 63</think>7", "7"])
def test_an_answer_at_the_end_of_a_thought_is_not(reply):
    assert not signs_of(said(reply, "7")).early


def test_a_reply_without_an_answer_gives_none_early():
    assert not signs_of(said("<think>3 + 4</think>")).early


# ----------------------------------------------------------------------------------------------------------- answers
def test_the_most_common_answer_is_counted_over_all_groups_and_ties_are_broken_by_name():
    assert most_common_answer([[said("", "b"), said("", "a")], [said("", "b"), said("")]]) == "b"
    assert most_common_answer([[said("", "b")], [said("", "a")]]) == "a"
    assert most_common_answer([[said("")]]) is None


def test_a_cut_off_reply_is_told():
    rollout = said("<think>3")
    cut = replace(rollout, branches=(Branch(rollout.transcript, Score(0.0, Verdict.TRUNCATED)),))
    assert signs_of(cut).truncated
    assert not signs_of(rollout).truncated
