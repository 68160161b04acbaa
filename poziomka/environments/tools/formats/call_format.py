"""How a model writes a call, and how the result is written back to it.

    plain       … <tool> 12 * 30 </tool>
                 <result> 360 </result>

`Plain` is for models that know no other way: tiny ones, and those that an example in the prompt must teach. Model
families have ways of their own (native.py). A format reads the model's own latest words only: a call that somebody
quoted, that a tool returned, or that a strategy forced is never run.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from poziomka.core.errors import nearest
from poziomka.core.transcript import CLOSE, THINK, Author, Transcript
from poziomka.environments.tools.tool import Tool

SPELLED = frozenset("0123456789+-*/%()=.,")  # what a result may be made of where symbols stand apart


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the model wrote it.

    Attributes:
        name: of the tool; "" where none could be read.
        arguments: by name; whatever the model wrote, not yet held against the tool's schema.
        fault: why it cannot be run, in a line for the model; "" where it can.
        id: what the family gives a call to know its result by; "" for most.
    """

    name: str
    arguments: object = None
    fault: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call: the text that the model reads, and whether it says what the model did wrong."""

    call: Call
    text: str
    fault: bool = False


class CallFormat(Protocol):
    """How calls and results are written.

    Attributes:
        name: of the format.
        stop: strings that end a call, and after which the model waits; () where a call ends the model's turn.
        marks: strings of the format and of the thought, which a tool's words must not hold.
        signs: strings by which a chat template is known to describe calls in this format; () where none does.
    """

    name: str
    stop: tuple[str, ...]
    marks: tuple[str, ...]
    signs: tuple[str, ...]

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the calls in the model's latest words, in order; [] where there is none."""

    def unclosed(self, words: str) -> bool:
        """Whether the words end in a call whose stop string is part of an argument, so that the model must go on."""

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns a text for each result.

        Args:
            results: of all calls of one turn.
            message: the model ended its turn, and the chat template writes results as messages; else they stand
                inside the turn, and the model goes on after them.
        """

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it; `alone` where there is no other tool."""

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns what a model that was not trained on the format must be told."""

    def refuse(self, tool: Tool) -> str:
        """Returns why the format cannot write calls of a tool; "" where it can."""


def latest(transcript: Transcript) -> str:
    """Returns the model's own words since somebody else spoke."""
    words: list[str] = []
    for span in reversed(transcript.spans):
        if span.author in (Author.ENVIRONMENT, Author.USER, Author.SYSTEM):
            break
        if span.author is Author.MODEL:
            words.append(span.text)
    return "".join(reversed(words))


def calls_in(transcript: Transcript) -> int:
    """Returns how many calls the model made that were answered, by a result or a fault."""
    return len(transcript.heard)


def unmarked(text: str, marks: Sequence[str]) -> str:
    """Returns a tool's words in which no mark can be read, and which any tokenizer takes.

    Code could print "</think>" or the beginning of another result; a space after its first character breaks a mark.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    for mark in (THINK, CLOSE, *marks):
        while mark in text:  # breaking one of two that overlap can make another
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text


def value_of(text: str, tool: Tool) -> dict[str, Any]:
    """Returns the arguments of a call whose words are its first parameter; the words as a value of its type."""
    name = next(iter(tool.parameters["properties"]), None)
    if name is None:
        return {}
    schema = tool.parameters["properties"][name]
    if schema.get("type") != "string":
        try:
            return {name: json.loads(text)}
        except (ValueError, RecursionError):
            pass
    return {name: text}


def unknown(name: str, tools: Mapping[str, Tool]) -> str:
    """Returns what to say of a tool that is not there."""
    return f"unknown tool {name[:60]!r}{nearest(name[:60], tools)}"


class Plain:
    """`<tool> … </tool>`, answered ` <result> … </result>`, inside the turn.

    With one tool the words between the marks are its first parameter; with several, the first word is the tool's
    name. Every mark has a space before it, as everything has that tiny models write. Other parameters keep their
    defaults.

    Args:
        spelled: symbols stand apart, as a model reads them that knows one digit a token: " 4 8 7 * 3 9 " is read as
            "487 * 39", and 18993 is answered as "1 8 9 9 3". A result of anything but digits and signs, and whatever
            the model does wrong, is the word "error": no other word is sure to be in such a vocabulary.
    """

    stop: tuple[str, ...] = ("</tool>",)
    marks: tuple[str, ...] = ("<tool>", "</tool>", "<result>", "</result>")
    signs: tuple[str, ...] = ()

    def __init__(self, *, spelled: bool = False) -> None:
        """Remembers how symbols stand."""
        self.name = "spelled" if spelled else "plain"
        self.spelled = spelled

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """See CallFormat: the last call; one that was closed without being opened is an empty one."""
        before, called, _ = words.rpartition("</tool>")
        if not called:
            return []
        body = before.rpartition("<tool>")[2] if "<tool>" in before else ""
        if len(tools) == 1:
            (tool,) = tools.values()
            return [Call(tool.name, value_of(self._joined(body), tool))]
        name, rest = [*body.split(maxsplit=1), "", ""][:2]
        if name not in tools:
            return [Call(name, fault=unknown(name, tools))]
        return [Call(name, value_of(self._joined(rest), tools[name]))]

    def unclosed(self, words: str) -> bool:
        """See CallFormat: the words between the marks are no JSON, so the first closing mark ends them."""
        return False

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """See CallFormat."""
        return [f" <result> {self._apart(result) if self.spelled else result.text} </result>" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """See CallFormat: the first of the arguments is written."""
        value = next(iter(arguments.values()), "")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text = " ".join("".join(text.split())) if self.spelled else text
        return f"<tool> {text if alone else f'{tool.name} {text}'} </tool>"

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """See CallFormat."""
        several = len(tools) > 1
        lines = []
        for tool in tools.values():
            first = next(iter(tool.parameters["properties"]), "")
            lines.append(f"<tool> {f'{tool.name} ' if several else ''}{first} </tool>  {tool.description}")
        which = "these tools" if several else "a tool"
        told = "\n".join(lines)
        return (
            f"You can use {which} while you think. Write:\n\n{told}\n\n"
            "Then stop: the answer comes back as <result> … </result>, and you go on from there."
        )

    def refuse(self, tool: Tool) -> str:
        """See CallFormat."""
        others = [
            name for name in tool.parameters.get("required", ()) if name != next(iter(tool.parameters["properties"]))
        ]
        return f"it has no place for the argument {others[0]!r}, which the tool needs" if others else ""

    def _joined(self, body: str) -> str:
        body = body.strip()
        return re.sub(r"(?<=\d)\s+(?=\d)", "", body) if self.spelled else body

    @staticmethod
    def _apart(result: Result) -> str:
        signs = "".join(result.text.split())
        return "error" if result.fault or not signs or set(signs) - SPELLED else " ".join(signs)
