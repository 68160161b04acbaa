"""A chat format only appends, writes tokens once, and knows whose they are."""

from dataclasses import replace

import pytest

from poziomka.core.errors import ModelError
from poziomka.core.transcript import Author, Message, Span, Transcript, compact
from poziomka.models.text.chat import PlainFormat


@pytest.fixture
def chat(tokenizer):
    return PlainFormat(tokenizer)


@pytest.fixture
def prompt():
    return Transcript.of([Message("user", " 1 2")])


def test_a_prompt_is_opened_and_its_thought_begun(chat, prompt, tokenizer):
    read = chat.read(prompt)
    assert list(read.tokens) == [tokenizer.begin, 6, 7, *tokenizer.think]
    assert [span.author for span in read] == [Author.TEMPLATE, Author.USER, Author.TEMPLATE]
    assert read.text == " 1 2 <think>"
    assert read.tokenizer == tokenizer.fingerprint


def test_what_was_read_is_not_read_again(chat, prompt):
    read = chat.read(prompt)
    assert chat.read(read) is read


def test_a_sessions_words_are_read_as_they_stand(chat, prompt):
    read = chat.read(prompt) + Span(Author.ENVIRONMENT, " 5 6")
    again = chat.read(read)
    assert list(again.tokens) == [*read.tokens, 10, 11]
    assert again.spans[:3] == read.spans[:3]


def test_tokens_that_were_written_are_never_changed(chat, prompt):
    """Even where the text would be cut otherwise."""
    strange = Span(Author.MODEL, " 7", compact([5, 5]))
    assert list(chat.read(chat.read(prompt) + strange + Span(Author.ENVIRONMENT, " 1")).tokens)[4:] == [5, 5, 6]


def test_a_foreign_transcript_is_refused(chat, prompt):
    with pytest.raises(ModelError, match="written with tokenizer other, not"):
        chat.read(replace(prompt, tokenizer="other"))


def test_a_demonstration_ends_with_the_end_token_and_is_the_teachers(chat, prompt, tokenizer):
    shown = chat.demonstrate(prompt, "3 4", "7")
    assert list(shown.spans[-1].tokens) == [8, 9, 4, 12, tokenizer.end]
    assert shown.spans[-1].author is Author.TEACHER
    assert shown.reply == " <think> 3 4 </think> 7"


def test_a_direct_answer_closes_the_thought_at_once(chat, prompt):
    shown = chat.demonstrate(prompt, "", "7")
    assert shown.reply == " <think> </think> 7"
