"""Chat formats, which tokenize the spans of a transcript, each once."""

from dataclasses import replace
from typing import Protocol

from poziomka.core.errors import ModelError
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Transcript, compact
from poziomka.models.text.tokenizer import Tokenizer


class ChatFormat(Protocol):
    """Interface of chat formats: they tokenize new messages and append them to the tokens of a transcript.

    Attributes:
        tokenizer: the tokenizer.
        notes: sentences about peculiarities of the format, to show to the user.
    """

    tokenizer: Tokenizer
    notes: tuple[str, ...]

    def read(self, transcript: Transcript) -> Transcript:
        """Returns the transcript with tokens on every span, ready for the model to continue."""

    def demonstrate(self, prompt: Transcript, thought: str, answer: str) -> Transcript:
        """Returns the tokenized prompt followed by a teacher's thought and answer, end token included."""


class PlainFormat:
    """Chat format of tiny models: `<bos> question <think> thought </think> answer <eos>`.

    Text that is added after the prompt, such as a tool's result, is encoded without markup around it. The tools of a
    transcript are not described, because a tiny vocabulary has no words for that; models learn the calls from
    demonstrations.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Stores the tokenizer."""
        self.tokenizer = tokenizer
        self.notes: tuple[str, ...] = ()
        self._begin = [] if tokenizer.begin is None else [tokenizer.begin]

    def read(self, transcript: Transcript) -> Transcript:
        """Returns the transcript with tokens on every span, ready for the model to continue.

        The first call also adds the BOS token at the beginning and "<think>" at the end.

        Raises:
            ModelError: the transcript was written with another tokenizer, or a symbol is not in the vocabulary.
        """
        if transcript.tokenizer not in (None, self.tokenizer.fingerprint):
            message = (
                f"this transcript was written with tokenizer {transcript.tokenizer}, not {self.tokenizer.fingerprint}"
            )
            raise ModelError(message)
        if transcript.tokenizer is not None and all(span.tokens is not None for span in transcript):
            return transcript
        spans = [self._read(span) for span in transcript]
        if transcript.tokenizer is None:
            opening = Span(Author.TEMPLATE, "", compact(self._begin))
            spans = [opening, *spans, Span(Author.TEMPLATE, f" {THINK}", compact(self.tokenizer.think))]
        return replace(transcript, spans=tuple(spans), tokenizer=self.tokenizer.fingerprint)

    def _read(self, span: Span) -> Span:
        if span.tokens is not None:
            return span
        return replace(span, tokens=compact(self.tokenizer.encode(span.text)))

    def demonstrate(self, prompt: Transcript, thought: str, answer: str) -> Transcript:
        """Returns the tokenized prompt followed by a teacher's thought and answer, end token included."""
        text = f"{thought} {CLOSE} {answer}".strip()
        tokens = [*self.tokenizer.encode(text), self.tokenizer.end]
        return self.read(prompt) + Span(Author.TEACHER, f" {text}", compact(tokens))
