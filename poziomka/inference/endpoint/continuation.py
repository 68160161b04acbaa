"""Continued replies: whether an endpoint can go on with a reply that has begun, and how it is asked to.

Servers differ. vLLM and SGLang have fields for it, `continue_final_message` and `add_generation_prompt`. llama.cpp
continues every conversation that ends with an assistant message. Others take that message for a complete one and
silently begin a new reply. The number of prompt tokens that an endpoint reports tells these apart, whatever its model
writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from poziomka.inference.endpoint.faults import Refused

T = TypeVar("T")

QUESTION = {"role": "user", "content": "Repeat: zip zip zip"}
WORD = "zip"
WAYS: tuple[Mapping[str, Any], ...] = (
    {"continue_final_message": True, "add_generation_prompt": False},
    {},
)


@dataclass(frozen=True)
class Continuation:
    """How an endpoint continues a reply.

    Attributes:
        fields: fields of the request.
        echoes: whether the endpoint returns the beginning of the reply, too.
    """

    fields: Mapping[str, Any]
    echoes: bool = False


@dataclass(frozen=True)
class Probe:
    """Answer to a request for one token: the number of prompt tokens, and the text."""

    prompt: int
    text: str


Ask = Callable[[list[dict[str, str]], Mapping[str, Any]], Awaitable[Probe]]


async def continuation_of(ask: Ask) -> Continuation | str:
    """Finds how an endpoint continues a reply; if it cannot, returns the reason.

    A reply of one word and one of two words differ by the tokens of a word. The tokens that a reply of one word adds to
    the prompt are then those of the word alone, if the reply is continued; if it is taken for a complete message, the
    end of that message and the beginning of the next one are added.

    Args:
        ask: function of (messages, fields of the request) that returns the answer to a request for one token; it raises
            Refused if the endpoint does not accept the request.
    """
    try:
        begins = await ask([QUESTION], {})
    except Refused as refused:
        return refused.said
    reason = "it takes the beginning for a complete message"
    for fields in WAYS:
        try:
            once = await ask([QUESTION, _begun(WORD)], fields)
            twice = await ask([QUESTION, _begun(f"{WORD} {WORD}")], fields)
        except Refused as refused:
            reason = refused.said
            continue
        word = twice.prompt - once.prompt
        if word > 0 and once.prompt - word <= begins.prompt:
            return Continuation(fields, once.text.startswith(WORD) and twice.text.startswith(f"{WORD} {WORD}"))
    return reason if begins.prompt else "it reports no number of prompt tokens, by which that is seen"


def _begun(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@dataclass
class Once(Generic[T]):
    """Result of a coroutine that runs once, even if several requests need it at the same time; an error is not kept."""

    find: Callable[[], Awaitable[T]]
    _found: list[T] = field(default_factory=list)
    _locks: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = field(default_factory=WeakKeyDictionary)

    async def get(self) -> T:
        """Returns the result, which the first call finds."""
        lock = self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            if not self._found:
                self._found.append(await self.find())
        return self._found[0]
