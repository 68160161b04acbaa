"""A chat template by itself: messages in, text out, with what transformers gives to templates, in a sandbox.

Contents are rendered as placeholders, so a message's words can neither change what the template does nor be taken
for it: a template's own text and the places of the messages come apart exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2

from poziomka.core.errors import ModelError
from poziomka.core.transcript import CLOSE, THINK
from poziomka.models.text.renderer import CLOCK, Refused, environment, render

CORE = "zq{}qz"  # lower case letters and a number: no template changes it by accident
PAD = "\t\n "  # around each placeholder, to see whether the template strips white space
ESCAPED, ESCAPED_AFTER = "\\t\\n ", " \\n\\t"  # what a template makes of it that writes words as JSON
CALL_ID = "call00001"  # of every tool message: some templates demand one of nine letters or digits


@dataclass(frozen=True, slots=True)
class Piece:
    """What a template writes before one message's words.

    Attributes:
        text: the template's own words.
        message: the number of the message whose words follow.
        strip_left, strip_right: whether the template strips white space from them.
        as_json: the template writes them as JSON does, inside quotation marks of its own.
    """

    text: str
    message: int
    strip_left: bool
    strip_right: bool
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation taken apart: pieces in order, then the template's last words."""

    pieces: tuple[Piece, ...]
    tail: str


class Template:
    """A Jinja chat template.

    Args:
        source: its text.
        variables: what it may name beside the messages: bos_token, enable_thinking, …
        tools: schemas of the tools that it is to describe, as transformers' templates take them; None for none.
        moment: what it reads from the clock, by strftime_now; None for the time at which this object is made.

    Attributes:
        reads_clock: whether it asks for the time.

    Raises:
        ModelError: it does not parse.
    """

    def __init__(
        self,
        source: str,
        variables: Mapping[str, object] | None = None,
        tools: Sequence[Mapping[str, object]] | None = None,
        moment: datetime | None = None,
    ) -> None:
        """Reads it; nothing of it runs in this process."""
        self.source = source
        self.variables = dict(variables or {})
        self.tools = list(tools) if tools else None
        self.moment = moment or datetime.now().astimezone().replace(microsecond=0)
        try:
            names = environment().parse(source).find_all(jinja2.nodes.Name)
            self.reads_clock = any(node.name == CLOCK for node in names)
        except jinja2.TemplateSyntaxError as error:
            message = f"the checkpoint's chat template does not parse: line {error.lineno}: {error.message}"
            raise ModelError(message) from error
        except RecursionError as error:
            message = "the checkpoint's chat template is nested too deeply: give another template"
            raise ModelError(message) from error
        self._known: dict[tuple[tuple[str, ...], bool], Rendered] = {}

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """Returns the text of a conversation, with the opening of a reply after it where `generation` is set.

        Raises:
            ModelError: the template raises, or goes on for too long.
        """
        values = {"messages": list(messages), "tools": self.tools, "documents": None}
        try:
            return render(self.source, values | {"add_generation_prompt": generation} | self.variables, self.moment)
        except Refused as error:
            roles = ", ".join(message["role"] for message in messages)
            message = f"the checkpoint's chat template refuses messages of {roles}: {error}"
            raise ModelError(message) from error

    def take_apart(self, roles: tuple[str, ...], *, generation: bool) -> Rendered:
        """Returns what the template writes around messages of these roles; once found, it is remembered.

        Raises:
            ModelError: the template raises, or drops or changes the words of a message.
        """
        key = (roles, generation)
        if key not in self._known:
            self._known[key] = self._take_apart(roles, generation=generation)
        return self._known[key]

    def _take_apart(self, roles: tuple[str, ...], *, generation: bool) -> Rendered:
        cores = [CORE.format(number) for number in range(len(roles))]
        messages = [
            {"role": role, "content": f"{PAD}{core}{PAD[::-1]}"} | ({"tool_call_id": CALL_ID} if role == "tool" else {})
            for role, core in zip(roles, cores, strict=True)
        ]
        rest = self.render(messages, generation=generation)
        for role, core in zip(roles, cores, strict=True):
            if core not in rest:
                message = (
                    f"the checkpoint's chat template drops or changes the words of a {role} message "
                    f"(of {', '.join(roles)}): give another template"
                )
                raise ModelError(message)
        pieces = []
        while found := [(place, number) for number, core in enumerate(cores) if (place := rest.find(core)) >= 0]:
            place, number = min(found)
            text, rest = rest[:place], rest[place + len(cores[number]) :]
            as_json = text.endswith(ESCAPED) and rest.startswith(ESCAPED_AFTER)
            before, after = (ESCAPED, ESCAPED_AFTER) if as_json else (PAD, PAD[::-1])
            left, right = text.endswith(before), rest.startswith(after)
            text = text.removesuffix(before)
            rest = rest.removeprefix(after)
            pieces.append(Piece(text, number, not left, not right, as_json))
        return Rendered(tuple(pieces), rest)


def accepts(template: Template, *roles: str) -> bool:
    """Whether a template writes the words of messages of these roles."""
    try:
        template.take_apart(roles, generation=True)
    except ModelError:
        return False
    return True


def tells_tools(template: Template) -> bool:
    """Whether a template writes the names of the tools that it is given."""
    bare = Template(template.source, template.variables, moment=template.moment)
    probe = [{"role": "user", "content": "zq"}]
    try:
        told, without = template.render(probe, generation=True), bare.render(probe, generation=True)
    except ModelError:
        return False
    return all(told.count(name) > without.count(name) for name in map(_name, template.tools or ()))


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("function", schema).get("name"))


def peculiarities(template: Template) -> list[str]:
    """Returns sentences about a template whose conversations cannot be continued by rendering them anew, or the like.

    They are found by rendering probes, not by reading the source.
    """
    notes = []
    if not accepts(template, "system", "user"):
        notes.append("this chat template knows no system message: its words stand before the user's")
    if not accepts(template, "user", "assistant", "tool"):
        notes.append("this chat template knows no tool message: a tool's words are written as a user's")
    if not accepts(template, "user", "assistant", "user"):
        return [*notes, "this chat template knows one question and one answer: a second question is refused"]
    opened = template.take_apart(("user",), generation=True).tail
    again = template.take_apart(("user", "assistant", "user"), generation=True).pieces[1]
    if again.text != opened or again.strip_left or again.strip_right:
        notes.append("this chat template writes earlier replies otherwise than they were written: here they stay")
    if "zqthought" not in _reply_in(template, f"{THINK}\nzqthought\n{CLOSE}\n\nzqanswer"):
        notes.append("this chat template drops the thoughts of earlier replies: here they stay")
    if _changes_words(template):
        notes.append("this chat template changes a user's words: here they stay")
    return notes


def _reply_in(template: Template, reply: str) -> str:
    """Returns a conversation's text in which `reply` was answered."""
    roles = ("user", "assistant", "user")
    contents = ("one", reply, "two")
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    return template.render(messages, generation=True)


def _changes_words(template: Template) -> bool:
    apart = template.take_apart(("user",), generation=True)
    (piece,) = apart.pieces
    words = "Ą \"b\"  <c> & 'd'\n\n{e} </f> [g] \\n"
    return template.render([{"role": "user", "content": words}], generation=True) != piece.text + words + apart.tail
