"""Interface of call formats, which define how a model writes calls and reads results; and the format `Plain`.

    plain       … <tool> 12 * 30 </tool>
                 <result> 360 </result>

`Plain` is for models that were trained on no other format: tiny ones, and those that learn it from an example in the
prompt. Model families have formats of their own (native.py). A format parses only the model's own latest text: a call
that was quoted, returned by a tool or forced by a strategy is never run.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from poziomka.core.errors import nearest
from poziomka.core.transcript import CLOSE, THINK, Author, Transcript
from poziomka.environments.tools.tool import Tool

SPELLED = frozenset("0123456789+-*/%()=.,")  # characters allowed in a result of the format "spelled"


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call parsed from the model's text.

    Attributes:
        name: name of the tool; "" if none could be parsed.
        arguments: arguments by name, as the model wrote them, not yet validated against the tool's schema.
        fault: error in one line for the model if the call cannot run; "" if it can.
        id: ID by which a model family matches a result to its call; "" for most families.
    """

    name: str
    arguments: object = None
    fault: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a tool call.

    Attributes:
        call: the call.
        text: text that the model reads.
        fault: whether the text is the error message for a mistake of the model.
    """

    call: Call
    text: str
    fault: bool = False


class CallFormat(Protocol):
    """Interface of a call format, which parses calls from a model's text and formats results for it.

    Attributes:
        name: name of the format.
        stop: stop strings that end a call, after which the model waits; () if a call ends the model's turn.
        marks: strings of the format and of the thought, which must not occur in a tool's output.
        signs: strings by which a chat template that describes calls in this format is recognized; () if none does.
    """

    name: str
    stop: tuple[str, ...]
    marks: tuple[str, ...]
    signs: tuple[str, ...]

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the calls in the model's latest text, in order; [] if there are none.

        Args:
            words: the text.
            tools: the tools, by name.
        """

    def unclosed(self, words: str) -> bool:
        """Returns whether the last stop string is part of a call's argument, so that generation must continue."""

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns the text of each result, as the model reads it.

        Args:
            results: results of all calls of one turn.
            message: whether the model ended its turn, so that the chat template writes results as messages; otherwise
                they become part of the turn, and the model continues after them.
        """

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it.

        Args:
            tool: the tool.
            arguments: arguments by name.
            alone: whether there is no other tool.
        """

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns instructions for a prompt, for a model that was not trained on the format."""

    def refuse(self, tool: Tool) -> str:
        """Returns the reason why the format cannot write calls of a tool; "" if it can."""


def latest(transcript: Transcript) -> str:
    """Returns the model's latest text: what it wrote after the last text of the user, system or environment.

    Text that a strategy forced is left out.
    """
    words: list[str] = []
    for span in reversed(transcript.spans):
        if span.author in (Author.ENVIRONMENT, Author.USER, Author.SYSTEM):
            break
        if span.author is Author.MODEL:
            words.append(span.text)
    return "".join(reversed(words))


def calls_in(transcript: Transcript) -> int:
    """Returns the number of the model's calls that were answered, with a result or an error message."""
    return len(transcript.heard)


def unmarked(text: str, marks: Sequence[str]) -> str:
    """Returns a tool's output changed so that no mark of a call, a result or a thought occurs in it.

    Code could print "</think>" or the beginning of another result; a space after the first character breaks a mark.
    Characters that a tokenizer may refuse (lone surrogates, NUL) are replaced.

    Args:
        text: the output.
        marks: marks of the call format; those of the thought are always broken.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    for mark in (THINK, CLOSE, *marks):
        while mark in text:  # breaking one of two that overlap can make another
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text


def value_of(text: str, tool: Tool) -> dict[str, Any]:
    """Returns the arguments of a call that was written as plain text: the value of the tool's first parameter.

    The text is parsed as JSON unless the parameter is a string; it stays a string if that fails. Returns {} for a tool
    without parameters.
    """
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
    """Returns the error message for a call of a tool that does not exist, with the nearest name."""
    return f"unknown tool {name[:60]!r}{nearest(name[:60], tools)}"


class Plain:
    """Call format `<tool> … </tool>`, answered by ` <result> … </result>` inside the turn.

    With one tool, the text between the marks is its first parameter; with several, the first word is the tool's name.
    Every mark has a space before it, like every symbol that tiny models write. Other parameters keep their defaults.

    Args:
        spelled: whether symbols are separated by spaces, for models with one token per digit: " 4 8 7 * 3 9 " is parsed
            as "487 * 39", and the result 18993 is written as "1 8 9 9 3". A result of anything but digits and signs,
            and any mistake of the model, is written as the word "error": no other word is sure to be in such a
            vocabulary.
    """

    stop: tuple[str, ...] = ("</tool>",)
    marks: tuple[str, ...] = ("<tool>", "</tool>", "<result>", "</result>")
    signs: tuple[str, ...] = ()

    def __init__(self, *, spelled: bool = False) -> None:
        self.name = "spelled" if spelled else "plain"
        self.spelled = spelled

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the last call in the model's latest text, in a list; [] if there is none.

        A call that was closed without being opened has an empty argument.

        Args:
            words: the text.
            tools: the tools, by name.
        """
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
        """Returns False: a call ends at the first closing mark, since the text between the marks is not JSON."""
        return False

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns each result between the marks `<result>`; in the format "spelled", with spaces between its symbols.

        Args:
            results: results of all calls of one turn.
            message: unused: a result is written in the same way as a message.
        """
        return [f" <result> {self._apart(result) if self.spelled else result.text} </result>" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it, with the first argument only.

        Args:
            tool: the tool.
            arguments: arguments by name.
            alone: whether there is no other tool, so that the call needs no name.
        """
        value = next(iter(arguments.values()), "")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text = " ".join("".join(text.split())) if self.spelled else text
        return f"<tool> {text if alone else f'{tool.name} {text}'} </tool>"

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns instructions for a prompt: the call and the description of each tool."""
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
        """Returns an error message if a parameter other than the first is required; "" otherwise."""
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
