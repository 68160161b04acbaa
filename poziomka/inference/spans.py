"""Conversion between transcripts and the engine's requests and pieces."""

from collections.abc import Callable, Sequence

from poziomka.core.errors import ModelError, TranscriptError
from poziomka.core.transcript import Author, Span, Transcript
from poziomka.inference.sequence import Piece, SpecialTokens
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.tokenizer import Tokenizer


def marks_of(tokenizer: Tokenizer) -> SpecialTokens:
    """Returns a tokenizer's control tokens: end tokens, and the tokens that open and close a thought."""
    return SpecialTokens(tokenizer.ends, tokenizer.think, tokenizer.close, tokenizer.spelled)


def read_by(chat: ChatFormat, transcript: Transcript) -> Transcript:
    """Returns the transcript with tokens on every span, ready to be continued.

    Raises:
        TranscriptError: the chat format rejects the messages, or the tokenizer cannot encode the text.
    """
    try:
        return chat.read(transcript)
    except ModelError as error:
        raise TranscriptError(str(error)) from error


def thought_in(transcript: Transcript, tokenizer: Tokenizer) -> tuple[int, bool]:
    """Returns the number of the model's thinking tokens since the last user message, and whether a thought is open.

    Text of a USER or SYSTEM span never opens a thought, even if it contains "<think>".
    """
    marks = marks_of(tokenizer)
    reach, thought, thinking = marks.reach, 0, False
    words: tuple[int, ...] = ()
    for span in transcript:
        if span.author in (Author.USER, Author.SYSTEM):
            thought, thinking, words = 0, False, ()
            continue
        for token in span.tokens or ():
            words = (*words, token)[-reach:]
            if marks.found(words, tokenizer.decode, thinking=thinking):
                thinking, words = not thinking, ()
            elif thinking:
                thought += span.author is Author.MODEL
    return thought, thinking


def spans_of(pieces: Sequence[Piece], decode: Callable[[Sequence[int]], str], seconds: float) -> list[Span]:
    """Returns the engine's pieces as spans of a transcript.

    Args:
        pieces: the generated pieces of one reply.
        decode: decodes token ids into text.
        seconds: wall-clock time of the reply, divided among the spans in proportion to their tokens.
    """
    spans = []
    for piece in pieces:
        model = piece.author is Author.MODEL
        stop = piece.stop if model else None
        logprobs = piece.logprobs if model else None
        share = seconds * len(piece.tokens) / max(sum(len(other.tokens) for other in pieces), 1)
        spans.append(Span(piece.author, decode(piece.tokens), piece.tokens, logprobs, stop, piece.policy, share))
    return spans
