"""A thought is opened and closed by what is read, however a vocabulary of pieces spells it."""

from array import array

import pytest

from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact
from poziomka.inference.sequence import SpecialTokens, Request, Row
from poziomka.inference.spans import thought_in

TEXTS = ["<eos>", "<", "think", ">", "</", ".</", ">.", "></", "a", "<th", "ink", "<think"]
MARKS = SpecialTokens(
    frozenset([0]), (1, 2, 3), (4, 2, 3), {token: text for token, text in enumerate(TEXTS) if ">" in text and token}
)


def decode(tokens):
    return "".join(TEXTS[token] for token in tokens)


def row_of(*, thinking, on_token=None, **sampling):
    return Row(
        Request(array("i", [8]), SamplingParams(**sampling), 0, thinking, lambda pieces: None, on_token=on_token)
    )


def write(row, *tokens):
    return [row.write(token, -1.0, "v1", MARKS, decode) for token in tokens]


@pytest.mark.parametrize("close", [(4, 2, 3), (5, 2, 3), (4, 2, 6), (4, 10, 3)])
def test_a_thought_closes_where_the_text_says_so(close):
    row = row_of(thinking=True)
    write(row, 8, *close)
    read = "</think>" in decode(close)
    assert row.thinking is not read
    assert row.pieces[0].stop is (Stop.THOUGHT if read else None)


@pytest.mark.parametrize("opening", [(1, 2, 3), (11, 3), (9, 10, 3), (9, 10, 6)])
def test_a_thought_opens_where_the_text_says_so(opening):
    row = row_of(thinking=False)
    write(row, 8, *opening)
    assert row.thinking


def test_a_person_who_writes_the_mark_opens_no_thought(tokenizer):
    mark = compact(tokenizer.think)
    asked = Transcript((Span(Author.USER, "<think>", mark),), tokenizer.fingerprint)
    assert thought_in(asked, tokenizer) == (0, False)
    assert thought_in(asked + Span(Author.TEMPLATE, "<think>", mark), tokenizer) == (0, True)


def test_one_mark_is_read_once():
    row = row_of(thinking=True)
    write(row, 4, 2, 7, 2, 3)  # </think></think>: the second closes nothing, and opens nothing
    assert not row.thinking
    assert len(row.pieces) == 2


@pytest.mark.parametrize(("before", "forbidden"), [((8,), {0}), ((5, 2), {0, 3, 6, 7}), ((4, 2), {0, 3, 6, 7})])
def test_no_spelling_closes_a_thought_below_its_least_length(before, forbidden):
    row = row_of(thinking=True, min_thinking_tokens=9)
    write(row, *before)
    assert set(row.forbids(MARKS, decode)) == forbidden


def test_every_token_is_heard_with_its_author():
    heard = []
    row = row_of(
        thinking=True, max_thinking_tokens=1, on_token=lambda author, token: heard.append((author, token)) or True
    )
    write(row, 8)
    row.force(MARKS.close)
    write(row, 4, 2, 3, 8)
    assert heard == [(Author.MODEL, 8), *((Author.FORCED, token) for token in (4, 2, 3)), (Author.MODEL, 8)]


def test_who_listens_may_break_off_and_keeps_what_came():
    row = row_of(thinking=False, on_token=lambda author, token: token != 2)
    assert write(row, 8, 2) == [False, True]
    assert (list(row.pieces[0].tokens), row.pieces[0].stop) == ([8, 2], Stop.LENGTH)


def test_a_reply_that_ends_as_it_is_broken_off_has_ended():
    row = row_of(thinking=False, on_token=lambda author, token: False)
    assert write(row, 0) == [True]
    assert row.pieces[0].stop is Stop.END
