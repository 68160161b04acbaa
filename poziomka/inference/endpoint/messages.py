"""Transcripts as chat messages of an endpoint, and the beginning of a reply that is not complete."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from poziomka.core.errors import TranscriptError
from poziomka.core.transcript import Author, Message, Span, Stop, Tools, Transcript, author_of, split_thought

REPLY = (Author.MODEL, Author.TEACHER, Author.FORCED, Author.TEMPLATE)
FOLD = "\n\n"  # between texts that become one message


@dataclass
class Turn:
    """A chat message.

    Attributes:
        role: system, user or assistant. Tool results outside a reply are user messages, because endpoints accept a tool
            message only after a call in their own format.
        spans: its spans, in order.
        over: whether the message is complete; False for a reply that the model continues.
    """

    role: str
    spans: list[Span] = field(default_factory=list)
    over: bool = True

    @property
    def asks(self) -> bool:
        """Whether a user wrote the message, so that earlier thoughts are not needed any more."""
        return any(span.author is Author.USER for span in self.spans)

    @property
    def content(self) -> str:
        """Text of the message."""
        return ("" if self.role == "assistant" else FOLD).join(span.text for span in self.spans)

    @property
    def answer(self) -> str:
        """Text of the message without a thought."""
        answer = split_thought(self.content)[1] if self.role == "assistant" else None
        return self.content if answer is None else answer


def messages_of(transcript: Transcript) -> tuple[list[dict[str, str]], str]:
    """Returns (chat messages, beginning of the reply that the model continues).

    The beginning is "" for a new reply; else it is also the last message. The system message describes the tools. A
    reply before the last user message is sent without its thought, as the chat templates of reasoning models render it.

    Raises:
        TranscriptError: the transcript has token ids, is empty, or ends with a complete reply.
    """
    if transcript.tokenizer is not None:
        message = "an endpoint reads text, and this transcript has token ids of a tokenizer: pass it without tokens"
        raise TranscriptError(message)
    turns = turns_of(_introduced(transcript.tools, transcript.spans))
    if not turns or (turns[-1].role == "assistant" and turns[-1].over):
        state = "ends with a complete reply" if turns else "is empty"
        message = f"an endpoint replies to a message, and the transcript {state}: append a user message"
        raise TranscriptError(message)
    asked = max((number for number, turn in enumerate(turns) if turn.asks), default=0)
    messages = [
        {"role": turn.role, "content": turn.answer if number < asked else turn.content}
        for number, turn in enumerate(turns)
    ]
    return messages, turns[-1].content if turns[-1].role == "assistant" else ""


def turns_of(spans: Sequence[Span]) -> list[Turn]:
    """Returns spans grouped into messages; adjacent user messages become one, as many chat templates need it."""
    turns: list[Turn] = []
    over = True  # whether the last reply is complete
    for span in spans:
        if not span.text and (over or span.author not in REPLY):
            continue  # text of a template that has no words
        inside = span.author in REPLY or (span.author is Author.ENVIRONMENT and not over)
        role = "assistant" if inside else "system" if span.author is Author.SYSTEM else "user"
        if not turns or turns[-1].role != role or (inside and over):
            turns.append(Turn(role))
        over = not inside or span.stop is Stop.END or span.author is Author.TEACHER
        turns[-1].spans.append(span)
        turns[-1].over = over
    return turns


def _introduced(tools: Tools | None, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Returns the spans with a description of the tools, and their examples, before them."""
    if tools is None:
        return spans
    system = [span.text for span in spans[:1] if span.author is Author.SYSTEM]
    first = Span(Author.SYSTEM, FOLD.join([tools.prompt, *system]))
    return (first, *(_example(message) for message in tools.examples), *spans[len(system) :])


def _example(message: Message) -> Span:
    return Span(author_of(message.role), message.content)
