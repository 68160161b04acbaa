"""The record everything shares: a transcript only grows, and every token knows its author."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

THINK, CLOSE = "<think>", "</think>"  # around a thought


class Author(StrEnum):
    """Who wrote a span. Every training mask is derived from this."""

    SYSTEM = "system"
    USER = "user"
    MODEL = "model"  # sampled by the policy at hand
    TEACHER = "teacher"  # somebody else's words in the model's place
    ENVIRONMENT = "environment"  # a tool's output, a game's move, a page
    FORCED = "forced"  # words a strategy put in the model's mouth, "</think>" for one
    TEMPLATE = "template"  # tokens of the chat format


class Stop(StrEnum):
    """Why a model span ended."""

    END = "end"  # the model wrote its end token, which is kept in `tokens`
    LENGTH = "length"  # it ran into a limit of tokens
    PHRASE = "phrase"  # it wrote one of the request's stop strings
    THOUGHT = "thought"  # it closed its thought, and goes on in the next span
    SWAP = "swap"  # nothing ended: new weights were adopted, and the next span goes on


def compact(tokens: Iterable[int]) -> "array[int]":
    """Returns token ids as a compact array of 32-bit integers."""
    return array("i", tokens)


def compact_floats(values: Iterable[float]) -> "array[float]":
    """Returns log-probabilities as a compact array of 32-bit floats."""
    return array("f", values)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one author's words.

    Attributes:
        author: who wrote it.
        text: what a person reads; an end token is in `tokens` and not here.
        tokens: ids, written once by the sampler; None where the writer has no ids (a remote endpoint,
            an environment before the sampler has read it).
        logprobs: natural log of the probability each token was sampled with, at the sampling
            temperature; model spans only.
        stop: why it ended; model spans only.
        policy: the version of the weights that wrote it; model spans only.
        seconds: wall-clock time it took to write.
        reward: reward of this turn, -1 to 1; environment spans only, None where only the scorer judges.
        feedback: advice in words; environment spans only.

    Raises:
        ValueError: `logprobs` and `tokens` differ in length.
    """

    author: Author
    text: str
    tokens: "array[int] | None" = None
    logprobs: "array[float] | None" = None
    stop: Stop | None = None
    policy: str | None = None
    seconds: float = 0.0
    reward: float | None = None
    feedback: str | None = None

    def __post_init__(self) -> None:
        """Checks the one invariant that masks and losses rely on."""
        if self.logprobs is not None and (self.tokens is None or len(self.tokens) != len(self.logprobs)):
            count = None if self.tokens is None else len(self.tokens)
            message = (
                f"a span needs one log-probability a token: {count} tokens, {len(self.logprobs)} log-probabilities"
            )
            raise ValueError(message)

    def __len__(self) -> int:
        """Number of tokens; 0 where there are no ids."""
        return 0 if self.tokens is None else len(self.tokens)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a strategy put aside: the spans that followed the first `fork_at` tokens of the transcript."""

    fork_at: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message, as every API of the field spells it: `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True)
class Tools:
    """The tools that a model can call in a conversation, as a chat format describes them to the model.

    Attributes:
        schemas: one JSON schema a tool, as the `tools` variable of chat templates takes them.
        signs: a chat template that holds one of these strings describes calls in the format that will be parsed; ()
            for a format that no chat template describes.
        prompt: the description in words, for a system message where the template does not describe the tools.
        examples: messages with calls, put after that system message.
    """

    schemas: tuple[Mapping[str, Any], ...] = field(hash=False)
    signs: tuple[str, ...] = ()
    prompt: str = ""
    examples: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """Spans in order. `transcript + span` is a longer transcript that shares its prefix.

    Attributes:
        spans: the words, oldest first.
        tokenizer: fingerprint of the tokenizer behind `tokens`; None before a sampler has read it.
        tried: what strategies considered and put aside, so that `cost` is honest.
        tools: what the model can call; a chat format describes them when it reads the first message. None: nothing.
    """

    spans: tuple[Span, ...] = ()
    tokenizer: str | None = None
    tried: tuple[Tried, ...] = ()
    tools: Tools | None = None

    @classmethod
    def of(cls, messages: "Sequence[Message]", tools: Tools | None = None) -> "Transcript":
        """Opens a transcript with chat messages, and with tools that the model can call.

        Raises:
            ValueError: a role is none of system, user, assistant, tool.
        """
        return cls(tuple(Span(author_of(message.role), message.content) for message in messages), tools=tools)

    def __add__(self, more: "Span | Iterable[Span]") -> "Transcript":
        """Returns this transcript with one or more spans after it."""
        spans = (more,) if isinstance(more, Span) else tuple(more)
        return replace(self, spans=self.spans + spans)

    def aside(self, tried: Iterable[Tried]) -> "Transcript":
        """Returns this transcript with more put-aside attempts counted in."""
        return replace(self, tried=self.tried + tuple(tried))

    def __iter__(self) -> Iterator[Span]:
        """Iterates over the spans."""
        return iter(self.spans)

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @cached_property
    def tokens(self) -> "array[int]":
        """Exactly what the model saw, in order; spans without ids contribute nothing."""
        ids = array("i")
        for span in self.spans:
            if span.tokens is not None:
                ids.extend(span.tokens)
        return ids

    @property
    def text(self) -> str:
        """Everything a person reads, joined."""
        return "".join(span.text for span in self.spans)

    @cached_property
    def reply(self) -> str:
        """All text after the user (or the system) last spoke, or a tool answered a turn that the model had ended.

        What a tool said inside a turn is part of it.
        """
        start, over = 0, False
        for number, span in enumerate(self.spans):
            if span.author in (Author.USER, Author.SYSTEM) or (over and span.author is Author.ENVIRONMENT):
                start = number + 1
            if span.author is Author.MODEL:
                over = span.stop is Stop.END
        return "".join(span.text for span in self.spans[start:])

    @cached_property
    def heard(self) -> list[Span]:
        """What an environment said to the model's words, oldest first; tool messages of the prompt are not among it."""
        said, spoken = [], False
        for span in self.spans:
            spoken = spoken or span.author is Author.MODEL
            if spoken and span.author is Author.ENVIRONMENT:
                said.append(span)
        return said

    @property
    def stop(self) -> Stop | None:
        """Why the last model span ended; None where the model has not written."""
        for span in reversed(self.spans):
            if span.author is Author.MODEL:
                return span.stop
        return None

    @property
    def cost(self) -> int:
        """Tokens the model wrote, here and in what was put aside."""
        aside = sum(len(span) for tried in self.tried for span in tried.spans if span.author is Author.MODEL)
        return aside + sum(len(span) for span in self.spans if span.author is Author.MODEL)

    def by(self, *authors: Author) -> list[bool]:
        """Returns, for each token, whether one of `authors` wrote it."""
        mask: list[bool] = []
        for span in self.spans:
            mask.extend([span.author in authors] * len(span))
        return mask

    def cut(self, length: int) -> "Transcript":
        """Returns the first `length` tokens; a span that is cut keeps the matching part of its log-probabilities.

        The text of a cut span is dropped, because only a tokenizer could shorten it; `tried` is dropped too.

        Raises:
            ValueError: the transcript is shorter than `length`, or `length` is negative.
        """
        if not 0 <= length <= len(self.tokens):
            message = f"cannot cut a transcript of {len(self.tokens)} tokens at {length}"
            raise ValueError(message)
        kept: list[Span] = []
        for span in self.spans:
            if length <= 0:
                break
            if span.tokens is None or len(span) <= length:
                kept.append(span)
            else:
                logprobs = None if span.logprobs is None else span.logprobs[:length]
                kept.append(replace(span, text="", tokens=span.tokens[:length], logprobs=logprobs, stop=Stop.LENGTH))
            length -= len(span)
        return Transcript(tuple(kept), self.tokenizer, tools=self.tools)


ROLES = {
    "system": Author.SYSTEM,
    "user": Author.USER,
    "assistant": Author.TEACHER,
    "tool": Author.ENVIRONMENT,
}


def author_of(role: str) -> Author:
    """Returns the author that a chat role stands for.

    Raises:
        ValueError: the role is unknown.
    """
    if role not in ROLES:
        message = f"unknown chat role {role!r}; use one of {', '.join(ROLES)}"
        raise ValueError(message)
    return ROLES[role]
