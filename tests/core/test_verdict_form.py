"""Verdict forms: values are expected values over the words, and another tokenizer reads the text."""

import math

import pytest

from poziomka.core.errors import SettingsError, TranscriptError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.verdict_form import OUTCOME, VALUE, VerdictForm, as_text
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact

READ = Transcript(
    (
        Span(Author.TEMPLATE, "", compact([1])),
        Span(Author.USER, " 1 2", compact([5, 6])),
        Span(Author.TEMPLATE, " <think>", compact([3])),
        Span(Author.MODEL, " 7 </think>", compact([7, 4]), stop=Stop.THOUGHT),
        Span(Author.MODEL, " 3", compact([8, 2]), stop=Stop.END),
    ),
    tokenizer="mine",
)


def test_an_outcome_is_the_probability_of_yes_among_the_words():
    no, yes = math.log(0.02), math.log(0.06)
    assert OUTCOME.value([no, yes]) == pytest.approx(0.75)
    assert OUTCOME.value([-math.inf, -900.0]) == 1.0
    assert OUTCOME.value([-900.0, -901.0]) == pytest.approx(1 / (1 + math.e))


def test_a_binned_value_is_the_expectation_over_the_bins():
    form = VerdictForm("value", "?", ("a", "b", "c", "d"))
    assert form.values == (0.125, 0.375, 0.625, 0.875)
    logprobs = [math.log(p / 10) for p in (0.1, 0.2, 0.3, 0.4)]
    assert form.value(logprobs) == pytest.approx(0.1 * 0.125 + 0.2 * 0.375 + 0.3 * 0.625 + 0.4 * 0.875)


@pytest.mark.parametrize("logprobs", [[math.nan, -1.0], [-1.0, math.nan], [-math.inf, -math.inf], [math.inf, 0.0]])
def test_log_probabilities_that_are_none_have_no_value(logprobs):
    assert math.isnan(OUTCOME.value(logprobs))


def test_labels_are_words():
    assert [OUTCOME.word(value) for value in (0.0, 0.4, 0.5, 1.0)] == ["no", "no", "yes", "yes"]
    assert [VALUE.word(value) for value in (0.0, 0.09, 0.1, 0.5, 0.99, 1.0)] == ["0", "0", "1", "5", "9", "9"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("verdict", ("no", "yes")), ("outcome", ("yes",)), ("outcome", ("a", "b", "c")), ("value", ("a", " a"))],
)
def test_a_form_that_cannot_be_answered_is_refused(kind, words):
    with pytest.raises(SettingsError):
        VerdictForm(kind, "?", words)


def test_a_form_is_restored_from_plain_values():
    assert VerdictForm.of(VALUE.plain(), "here") == VALUE
    for wrong in ({}, VALUE.plain() | {"words": "yes"}, VALUE.plain() | {"question": None}, {"words": [1, 2]}):
        with pytest.raises(SettingsError):
            VerdictForm.of(wrong, "here")


def test_the_judges_own_tokens_are_kept_and_others_become_text():
    assert OUTCOME.asked(READ, "mine").spans[:-1] == READ.spans
    assert OUTCOME.asked(READ, "mine").spans[-1] == Span(Author.USER, OUTCOME.question)
    for other in ("other", None):
        asked = OUTCOME.asked(READ, other)
        assert [span.tokens for span in asked] == [None] * 5
        assert asked.tokenizer is None
    assert as_text(READ).text == " 1 2 <think> 7 </think> 3"
    assert as_text(READ).reply == READ.reply
    assert [span.stop for span in as_text(READ)][-1] is Stop.END


def test_text_is_asked_as_it_is():
    text = Transcript.of(Problem("1 2").prompt) + Span(Author.MODEL, "3")
    assert OUTCOME.asked(text, "any").spans[:-1] == text.spans


def test_a_transcript_that_was_cut_by_tokens_has_no_text():
    with pytest.raises(TranscriptError):
        as_text(READ.cut(5))
    assert OUTCOME.asked(READ.cut(5), "mine").tokens == READ.tokens[:5]
