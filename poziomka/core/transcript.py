"""Transcripts: append-only sequences of spans, each with an author from which training masks are derived."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

THINK, CLOSE = "<think>", "</think>"  # around a thought


class Author(StrEnum):
    """Author of a span, from which all training masks are derived.

    Attributes:
        SYSTEM: system message.
        USER: message of the user.
        MODEL: sampled from the policy.
        TEACHER: assistant text from another source: a demonstration, a few-shot example.
        ENVIRONMENT: a tool's output, a game's move, a page.
        FORCED: inserted into the model's reply without sampling, "</think>" for example.
        TEMPLATE: tokens of the chat format.
    """

    SYSTEM = "system"
    USER = "user"
    MODEL = "model"
    TEACHER = "teacher"
    ENVIRONMENT = "environment"
    FORCED = "forced"
    TEMPLATE = "template"


class Stop(StrEnum):
    """Reason why a span by the model ends.

    Attributes:
        END: the end token was sampled; it is kept in `tokens`.
        LENGTH: a limit of tokens was reached.
        PHRASE: one of the request's stop strings was sampled.
        THOUGHT: the thought was closed; the reply continues in the next span.
        SWAP: the sampler loaded new weights; the reply continues in the next span.
    """

    END = "end"
    LENGTH = "length"
    PHRASE = "phrase"
    THOUGHT = "thought"
    SWAP = "swap"


def compact(tokens: Iterable[int]) -> "array[int]":
    """Returns token ids as a compact array of 32-bit integers."""
    return array("i", tokens)


def compact_floats(values: Iterable[float]) -> "array[float]":
    """Returns log-probabilities as a compact array of 32-bit floats."""
    return array("f", values)


@dataclass(frozen=True, slots=True)
class Span:
    """A contiguous part of a transcript by one author.

    Attributes:
        author: author of the span.
        text: readable text; an end token is in `tokens` but not in the text.
        tokens: token ids, set once by the sampler; None if there are none (a remote endpoint, or text that no sampler
            has tokenized yet).
        logprobs: natural log-probability of each token when it was sampled, at the sampling temperature; model spans
            only.
        stop: reason why the span ends; model spans only.
        policy: version of the weights that sampled it; model spans only.
        seconds: wall-clock seconds that it took to produce; 0 if not measured.
        reward: reward of this turn, -1 to 1; environment spans only, None if only the scorer assigns rewards.
        feedback: textual feedback; environment spans only.
        usage: number of tokens as an endpoint reports it, for spans without token ids; 0 if unknown.

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
    usage: int = 0

    def __post_init__(self) -> None:
        """Checks that there is one log-probability per token, which masks and losses rely on.

        Raises:
            ValueError: `logprobs` and `tokens` differ in length.
        """
        if self.logprobs is not None and (self.tokens is None or len(self.tokens) != len(self.logprobs)):
            count = None if self.tokens is None else len(self.tokens)
            message = (
                f"a span needs one log-probability a token: {count} tokens, {len(self.logprobs)} log-probabilities"
            )
            raise ValueError(message)

    def __len__(self) -> int:
        """Returns the number of tokens; 0 without token ids."""
        return 0 if self.tokens is None else len(self.tokens)

    @property
    def cost(self) -> int:
        """Number of tokens that were sampled for this span; 0 if the model did not write it."""
        return (len(self) or self.usage) if self.author is Author.MODEL else 0


@dataclass(frozen=True, slots=True)
class Tried:
    """A continuation that a strategy discarded: `spans` followed the first `fork_at` tokens of the transcript."""

    fork_at: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Difference between the cost of the strategies that made a transcript and the cost that its tokens show.

    Judges, prompts of other branches and concurrent replies are not among the tokens. The fields are those of
    `rollout.Cost`; they may be negative.
    """

    sampled: int = 0
    read: int = 0
    judged: float = 0.0
    latency: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message: `role` is "system", "user", "assistant" or "tool", `content` the text."""

    role: str
    content: str


@dataclass(frozen=True)
class Tools:
    """Descriptions of the tools that a model can call, for the chat format.

    Attributes:
        schemas: one JSON schema per tool, for the `tools` variable of chat templates.
        signs: strings that show that a chat template describes tools in the call format that the parser reads: the
            template contains one of them. () for a call format that no chat template describes.
        prompt: textual description, for a system message if the template does not describe the tools.
        examples: example messages with calls, inserted after that system message.
    """

    schemas: tuple[Mapping[str, Any], ...] = field(hash=False)
    signs: tuple[str, ...] = ()
    prompt: str = ""
    examples: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """An immutable sequence of spans. `transcript + span` returns a longer transcript with the same prefix.

    Attributes:
        spans: all spans, oldest first.
        tokenizer: fingerprint of the tokenizer of `tokens`; None before tokenization.
        tried: continuations that strategies discarded; their tokens count in `cost`.
        tools: tools that the model can call, rendered by the chat format with the first message; None for no tools.
        correction: what strategies cost beyond the tokens of the transcript, in `Cost.of`; None for nothing.
    """

    spans: tuple[Span, ...] = ()
    tokenizer: str | None = None
    tried: tuple[Tried, ...] = ()
    tools: Tools | None = None
    correction: Correction | None = None

    @classmethod
    def of(cls, messages: "Sequence[Message]", tools: Tools | None = None) -> "Transcript":
        """Returns a transcript with one span for each chat message.

        Args:
            messages: chat messages, in order.
            tools: tools that the model can call; None for no tools.

        Raises:
            ValueError: a role is none of system, user, assistant, tool.
        """
        return cls(tuple(Span(author_of(message.role), message.content) for message in messages), tools=tools)

    def __add__(self, more: "Span | Iterable[Span]") -> "Transcript":
        """Returns this transcript with one or more spans appended."""
        spans = (more,) if isinstance(more, Span) else tuple(more)
        return replace(self, spans=self.spans + spans)

    def aside(self, tried: Iterable[Tried]) -> "Transcript":
        """Returns a copy of this transcript with further discarded continuations appended to `tried`."""
        return replace(self, tried=self.tried + tuple(tried))

    def __iter__(self) -> Iterator[Span]:
        """Returns an iterator over the spans."""
        return iter(self.spans)

    def __len__(self) -> int:
        """Returns the number of tokens."""
        return len(self.tokens)

    @cached_property
    def tokens(self) -> "array[int]":
        """Token ids of all spans, exactly as the model's input; spans without ids contribute none."""
        ids = array("i")
        for span in self.spans:
            if span.tokens is not None:
                ids.extend(span.tokens)
        return ids

    @property
    def text(self) -> str:
        """Concatenated text of all spans."""
        return "".join(span.text for span in self.spans)

    @cached_property
    def reply(self) -> str:
        """Text after the last user or system span, or after the last tool result that followed the end of a turn.

        Tool results within a turn are part of the reply.
        """
        start, over = 0, False
        for number, span in enumerate(self.spans):
            if span.author in (Author.USER, Author.SYSTEM) or (over and span.author is Author.ENVIRONMENT):
                start = number + 1
            if span.author is Author.MODEL:
                over = span.stop is Stop.END
        return "".join(span.text for span in self.spans[start:])

    @property
    def thought(self) -> str:
        """Text of the model's thought in the reply, without "<think>" and "</think>"; "" if there is none."""
        return split_thought(self.reply)[0]

    @property
    def answer(self) -> str:
        """Text of the reply after the thought, which a scorer reads; "" if there is no answer.

        There is none if the thought is still open, if a "</think>" closes no open thought, or if no text follows.
        """
        return split_thought(self.reply)[1] or ""

    @property
    def question(self) -> str:
        """Text of the last message of the user before the model's first span; "" if there is none."""
        asked = ""
        for span in self.spans:
            if span.author is Author.MODEL:
                break
            asked = span.text if span.author is Author.USER else asked
        return asked

    @cached_property
    def heard(self) -> list[Span]:
        """ENVIRONMENT spans after the first MODEL span, oldest first; tool messages of the prompt are not included."""
        said, spoken = [], False
        for span in self.spans:
            spoken = spoken or span.author is Author.MODEL
            if spoken and span.author is Author.ENVIRONMENT:
                said.append(span)
        return said

    @property
    def stop(self) -> Stop | None:
        """Stop reason of the last model span; None without a model span."""
        for span in reversed(self.spans):
            if span.author is Author.MODEL:
                return span.stop
        return None

    @cached_property
    def cost(self) -> int:
        """Number of MODEL tokens, discarded continuations (`tried`) included."""
        return sum(span.cost for tried in self.tried for span in tried.spans) + sum(span.cost for span in self.spans)

    def by(self, *authors: Author) -> list[bool]:
        """Returns one boolean per token: whether the author of its span is one of `authors`."""
        mask: list[bool] = []
        for span in self.spans:
            mask.extend([span.author in authors] * len(span))
        return mask

    def cut(self, length: int) -> "Transcript":
        """Returns a transcript of the first `length` tokens.

        A truncated span keeps its first tokens with their log-probabilities and has stop reason LENGTH. Its text is
        dropped, because only a tokenizer could shorten it; `tried` and `correction` are dropped too.

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


AnswerReader = Callable[[Transcript], str | None]  # returns the answer of a reply, None if it has none


def split_thought(reply: str) -> tuple[str, str | None]:
    """Returns (thought, answer) of a reply, which is split at its last "</think>".

    If tool calls interrupt the thought, its parts are joined. A reply without a thought has thought "". The answer is
    None while a thought is open, because text inside a thought is never an answer, and if a "</think>" closes no open
    thought: a model could otherwise continue to think after its thinking budget.
    """
    if CLOSE not in reply:
        before, opened, inside = reply.partition(THINK)
        return (inside.strip(), None) if opened else ("", before.strip())
    thought, *between, answer = reply.split(CLOSE)
    closed_twice = any(THINK not in words for words in between)
    thought = CLOSE.join([thought, *between]).replace(THINK, "", 1).strip()
    return thought, None if closed_twice or THINK in answer else answer.strip()


ROLES = {
    "system": Author.SYSTEM,
    "user": Author.USER,
    "assistant": Author.TEACHER,
    "tool": Author.ENVIRONMENT,
}


def author_of(role: str) -> Author:
    """Returns the author of messages with a chat role: TEACHER for assistant messages, ENVIRONMENT for tool messages.

    Raises:
        ValueError: the role is unknown.
    """
    if role not in ROLES:
        message = f"unknown chat role {role!r}; use one of {', '.join(ROLES)}"
        raise ValueError(message)
    return ROLES[role]
