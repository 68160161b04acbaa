"""A transcript only grows, and every token knows its author."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poziomka.core.transcript import (
    Author,
    Message,
    Span,
    Stop,
    Transcript,
    Tried,
    author_of,
    compact,
    compact_floats,
)


def said(author, *tokens, **more):
    return Span(author, f" {author.value}", compact(tokens), **more)


def model(*tokens, stop=Stop.END):
    return said(Author.MODEL, *tokens, logprobs=compact_floats([-0.5] * len(tokens)), stop=stop)


TALK = Transcript((said(Author.USER, 1, 2), model(3, 4, 5, stop=Stop.PHRASE), said(Author.ENVIRONMENT, 6), model(7)))
SPANS = st.builds(
    lambda author, tokens: Span(author, "x", None if tokens is None else compact(tokens)),
    st.sampled_from(list(Author)),
    st.none() | st.lists(st.integers(0, 2**31 - 1), max_size=4),
)


def test_chat_messages_open_a_transcript():
    talk = Transcript.of([Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Ho")])
    assert [span.author for span in talk] == [Author.SYSTEM, Author.USER, Author.TEACHER]
    assert talk.text == "Be brief.HiHo"


def test_an_unknown_role_is_refused():
    with pytest.raises(ValueError, match="unknown chat role 'robot'; use one of system, user, assistant, tool"):
        author_of("robot")


def test_adding_a_span_leaves_the_shorter_transcript_alone():
    longer = TALK + model(8)
    assert (len(TALK.spans), len(longer.spans)) == (4, 5)
    assert longer.spans[:4] == TALK.spans


def test_several_spans_can_be_added_at_once():
    assert TALK + (model(number) for number in (8, 9)) == TALK + model(8) + model(9)


def test_tokens_are_what_the_model_saw():
    assert list(TALK.tokens) == [1, 2, 3, 4, 5, 6, 7]
    assert len(TALK) == 7


def test_a_span_without_ids_adds_no_tokens():
    assert len(TALK + Span(Author.ENVIRONMENT, " not read yet")) == 7
    assert len(Span(Author.USER, "x")) == 0


def test_a_span_needs_one_logprob_a_token():
    with pytest.raises(ValueError, match="2 tokens, 1 log-prob"):
        Span(Author.MODEL, "x", compact([1, 2]), compact_floats([-1.0]))


def test_logprobs_without_tokens_are_refused():
    with pytest.raises(ValueError, match="None tokens"):
        Span(Author.MODEL, "x", None, compact_floats([-1.0]))


def test_the_mask_follows_the_authors():
    assert TALK.by(Author.MODEL) == [False, False, True, True, True, False, True]
    assert TALK.by(Author.USER, Author.ENVIRONMENT) == [True, True, False, False, False, True, False]


@given(st.lists(SPANS, max_size=6))
def test_every_token_has_exactly_one_author(spans):
    talk = Transcript(tuple(spans))
    masks = [talk.by(author) for author in Author]
    assert all(sum(column) == 1 for column in zip(*masks, strict=True))
    assert all(len(mask) == len(talk) for mask in masks)


def test_the_reply_is_what_follows_the_user():
    assert TALK.reply == " model environment model"


def test_a_reply_counts_from_the_last_question():
    assert (TALK + said(Author.USER, 8) + model(9)).reply == " model"


def test_the_stop_is_the_last_model_spans():
    talk = TALK + model(8, stop=Stop.LENGTH) + said(Author.FORCED, 9)
    assert talk.stop is Stop.LENGTH


def test_before_the_model_spoke_there_is_no_stop():
    assert Transcript.of([Message("user", "Hi")]).stop is None


def test_the_cost_is_the_models_tokens_and_what_was_put_aside():
    aside = Tried(2, (model(3, 4), said(Author.FORCED, 5)))
    assert TALK.cost == 4
    assert TALK.aside([aside]).cost == 6
    assert TALK.aside([aside]).aside([aside]).cost == 8


def test_a_cut_at_the_end_of_a_span_keeps_it_whole():
    assert TALK.cut(5).spans == TALK.spans[:2]


def test_a_cut_span_keeps_its_part_of_the_logprobs():
    last = TALK.cut(4).spans[-1]
    assert (list(last.tokens), list(last.logprobs)) == ([3, 4], [-0.5, -0.5])
    assert (last.text, last.stop) == ("", Stop.LENGTH)


def test_a_cut_span_of_somebody_else_has_no_logprobs():
    assert TALK.cut(1).spans == (Span(Author.USER, "", compact([1]), stop=Stop.LENGTH),)


@given(st.lists(SPANS, max_size=6), st.data())
def test_a_cut_is_a_prefix(spans, data):
    talk = Transcript(tuple(spans), tokenizer="t")
    length = data.draw(st.integers(0, len(talk)))
    assert talk.cut(length).tokens == talk.tokens[:length]
    assert talk.cut(length).tokenizer == "t"


@pytest.mark.parametrize("length", [-1, 8])
def test_a_cut_outside_the_transcript_is_refused(length):
    with pytest.raises(ValueError, match=f"7 tokens at {length}"):
        TALK.cut(length)


def test_a_transcript_survives_pickling():
    assert pickle.loads(pickle.dumps(TALK)) == TALK


def test_a_tool_that_answers_an_ended_turn_is_no_part_of_the_reply():
    call = Span(Author.MODEL, "<think> hm </think> call", stop=Stop.END)
    told = (Span(Author.ENVIRONMENT, "7"), Span(Author.ENVIRONMENT, "8"))
    answer = Span(Author.MODEL, "15", stop=Stop.END)
    assert Transcript((Span(Author.USER, "?"), call, *told, answer)).reply == "15"
    inside = Span(Author.MODEL, "call", stop=Stop.PHRASE)
    assert Transcript((Span(Author.USER, "?"), inside, *told, answer)).reply == "call7815"


def test_what_an_environment_said_to_the_model_is_heard_and_what_stands_in_the_prompt_is_not():
    said = Span(Author.ENVIRONMENT, " 4")
    transcript = Transcript((Span(Author.ENVIRONMENT, " before"), Span(Author.MODEL, " 2 + 2"), said))
    assert transcript.heard == [said]


@pytest.mark.parametrize(
    ("reply", "thought", "answer"),
    [
        ("<think> 1 + 1 </think> 2 ", "1 + 1", "2"),
        (" 1 + 1 </think> 2", "1 + 1", "2"),  # the prompt opened the thought
        ("2", "", "2"),
        ("<think> 1 + 1", "1 + 1", ""),
        ("<think> 1 </think> 2 </think> 3", "1 </think> 2", ""),
        ("", "", ""),
    ],
)
def test_the_thought_and_the_answer_have_names(reply, thought, answer):
    asked = Transcript.of([Message("user", "<think> mine </think> What is 1 + 1?")])
    transcript = asked + Span(Author.MODEL, reply)
    assert (transcript.thought, transcript.answer) == (thought, answer)
