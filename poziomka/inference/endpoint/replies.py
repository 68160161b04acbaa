"""Replies of an endpoint: fields of its answers as text with thought tags, and the spans of a transcript."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poziomka.core.errors import TranscriptError
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop

ENDS = {"stop": Stop.END, "tool_calls": Stop.END, "function_call": Stop.END, "eos": Stop.END, "eos_token": Stop.END}
STOPS = ENDS | {"length": Stop.LENGTH, "max_tokens": Stop.LENGTH}
MOST = 2**31  # most tokens that an endpoint can report, and a journal can store
THOUGHTS = ("reasoning_content", "reasoning")  # of DeepSeek, llama.cpp, SGLang; of vLLM, OpenRouter, ollama

Hear = Callable[[Author, str], bool]


@dataclass
class Reply:
    """One reply while it is received: a choice of an answer, or of the chunks of a stream.

    Attributes:
        stops: stop strings. They are searched for here, not by the endpoint: it would remove them from the text, and
            few endpoints report which one they found.
        thinking: whether the reply continues an open thought.
        closed: whether the reply continues one whose thought was closed. A server that looks for "</think>" can then
            take the answer for a thought.
        parses: whether the endpoint is known to return thoughts in a field of their own.
        echo: text that the endpoint repeats before the reply, which is left out.
        hear: callback (author, text) → False to end the reply; None for no calls.
        text: text so far, with the tags "<think>" and "</think>".
        stop: reason why the reply ended; None while it goes on.
        cut: whether it was ended here, and not by the endpoint.
        tokens: number of tokens so far, as the endpoint reports it; None if it does not.
        thought: number of thinking tokens, as the endpoint reports it; None if it does not.
        pieces: number of chunks with text, about one for each token; 0 if the reply is not streamed.
    """

    stops: Sequence[str] = ()
    thinking: bool = False
    closed: bool = False
    parses: bool = False
    echo: str = ""
    hear: Hear | None = None
    text: str = ""
    stop: Stop | None = None
    cut: bool = False
    tokens: int | None = None
    thought: int | None = None
    pieces: int = 0
    _calls: dict[int, dict[str, str]] = field(default_factory=dict)

    def take(self, choice: Mapping[str, Any]) -> None:
        """Appends a choice of an answer (`message`) or of a chunk (`delta`); does nothing after the end.

        Raises:
            TranscriptError: a content filter or a fault of the endpoint ended the reply.
        """
        if self.stop is not None:
            return
        part = _object(choice.get("message")) or _object(choice.get("delta"))
        thought = next((text for name in THOUGHTS if (text := _text(part.get(name)))), "")
        self.parses = self.parses or bool(thought)
        self.pieces += "delta" in choice and bool(thought or part.get("content"))
        content = part.get("content")
        if isinstance(content, list):
            thought += "".join(_text(item.get("thinking")) for item in content if isinstance(item, dict))
        self._add_thought(thought)
        self._add_answer(_text(content))
        for number, call in enumerate(_list(part.get("tool_calls"))):
            self._add_call(number, call)
        reason = choice.get("finish_reason")
        if reason is not None and self.stop is None:
            self._finish(reason)

    def _add_thought(self, text: str) -> None:
        if not text:
            return
        opening = "" if self.thinking or self.closed else THINK
        self.thinking = not self.closed
        self._write(opening + text)

    def _add_answer(self, text: str) -> None:
        if not text:
            return
        closing = CLOSE if self.thinking and self.parses and not self.closed else ""
        self._write(closing + text)
        self.thinking = self.thinking and not closing

    def _add_call(self, number: int, part: Any) -> None:
        """Adds a call, or a fragment of one, that the endpoint took out of the text."""
        if not isinstance(part, dict):
            return
        place = part.get("index")
        call = self._calls.setdefault(place if isinstance(place, int) else number, {"name": "", "arguments": ""})
        for name in call:
            call[name] += _text(_object(part.get("function")).get(name))

    def _finish(self, reason: object) -> None:
        for _, call in sorted(self._calls.items()):
            self._add_answer(_written(call["name"], call["arguments"]))
        if self.stop is not None:
            return
        if not isinstance(reason, str) or reason not in STOPS:
            message = f"the endpoint ended a reply for the reason {reason!r:.60}, so that it is not complete"
            raise TranscriptError(message)
        self.stop = STOPS[reason]

    def _write(self, text: str) -> None:
        """Appends text up to the end of the first stop string, and passes it on."""
        if self.echo.startswith(text):
            self.echo = self.echo[len(text) :]
            return
        before, whole, self.echo = len(self.text), self.text + text.removeprefix(self.echo), ""
        ends = [
            place + len(stop) for stop in self.stops if (place := whole.find(stop, max(before - len(stop) + 1, 0))) >= 0
        ]
        self.text = whole[: min(ends, default=len(whole))]
        goes_on = self.hear is None or self.hear(Author.MODEL, self.text[before:])
        if ends or not goes_on:
            self.stop, self.cut = Stop.PHRASE if ends else Stop.LENGTH, True


def count(replies: Sequence[Reply], usage: object) -> None:
    """Stores the token counts of an answer in its replies; those of several replies are divided by their text."""
    if not isinstance(usage, dict):
        return
    tokens, details = _number(usage.get("completion_tokens")), _object(usage.get("completion_tokens_details"))
    thought = _number(details.get("reasoning_tokens"))
    lengths = [len(reply.text) or 1 for reply in replies]
    for number, reply in enumerate(replies):
        before, after = sum(lengths[:number]) / sum(lengths), sum(lengths[: number + 1]) / sum(lengths)
        reply.tokens = None if tokens is None else round(tokens * after) - round(tokens * before)
        reply.thought = thought if len(replies) == 1 else None


def spans_of(reply: Reply, policy: str, seconds: float) -> list[Span]:
    """Returns a complete reply as spans: one that ends with each "</think>", and one for the rest.

    The reported tokens are divided among the spans: the thought has as many as the endpoint reports, and else a share
    by its characters.

    Args:
        reply: the reply, with a stop reason.
        policy: name of the model.
        seconds: wall-clock seconds of the reply.
    """
    *thoughts, rest = reply.text.split(CLOSE)
    texts = [thought + CLOSE for thought in thoughts] + [rest]
    tokens = reply.pieces if reply.tokens is None else reply.tokens
    counts = [round(tokens * len(text) / max(len(reply.text), 1)) for text in texts[:-1]]
    if len(counts) == 1 and reply.thought:
        counts = [min(reply.thought, tokens)]
    counts.append(max(tokens - sum(counts), 0))
    reasons = [Stop.THOUGHT] * len(thoughts) + [reply.stop]
    shares = [seconds * number / max(tokens, 1) for number in counts]
    if rest == "" and thoughts and reply.stop in (Stop.LENGTH, Stop.PHRASE):  # they came with the tag itself
        reasons[-2], counts[-2] = reply.stop, counts[-2] + counts[-1]
        texts.pop()
    return [
        Span(Author.MODEL, text, stop=stop, policy=policy, seconds=share, usage=number)
        for text, stop, share, number in zip(texts, reasons, shares, counts, strict=False)
    ]


def _written(name: str, arguments: str) -> str:
    """Returns a call in the text form of Hermes, which call parsers read."""
    try:
        values: object = json.loads(arguments or "{}")
    except ValueError:
        values = arguments
    call = json.dumps({"name": name, "arguments": values}, ensure_ascii=False)
    return f"\n<tool_call>\n{call}\n</tool_call>"


def _text(value: object) -> str:
    """Returns a text, or the joined texts of a list of parts; "" for any other value."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST else None
