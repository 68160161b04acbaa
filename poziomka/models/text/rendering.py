"""Sandboxed rendering of chat templates, which separates a template's own text from the messages' contents.

Contents are rendered as placeholders, so a message can neither change the output of the template nor be confused with
it, and the template's text and the positions of the messages are separated exactly. Templates get the same variables
and functions as in transformers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2

from poziomka.core.errors import ModelError
from poziomka.core.transcript import CLOSE, THINK
from poziomka.models.text.renderer import CLOCK, Refused, environment, render

CORE = "zq{}qz"  # lower case letters and a number, which no template changes by accident
PAD = "\t\n "  # around each placeholder, to find out whether the template strips white space
ESCAPED, ESCAPED_AFTER = "\\t\\n ", " \\n\\t"  # PAD in the output of a template that writes contents as JSON
CALL_ID = "call00001"  # id of every tool message: some templates require nine letters or digits


@dataclass(frozen=True, slots=True)
class Piece:
    """The template's text before the content of one message.

    Attributes:
        text: the template's own text.
        message: index of the message whose content follows, from 0.
        strip_left, strip_right: whether the template strips white space at the beginning and at the end of the content.
        as_json: whether the template writes the content with JSON escapes, inside quotation marks of its own.
    """

    text: str
    message: int
    strip_left: bool
    strip_right: bool
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """A chat template's own text around the contents of messages.

    Attributes:
        pieces: the text before each content, in the order in which the template writes them.
        tail: the text after the last content.
    """

    pieces: tuple[Piece, ...]
    tail: str


class Template:
    """A Jinja chat template with its variables; it is rendered in a sandboxed subprocess.

    Args:
        source: the Jinja source.
        variables: variables beside the messages: bos_token, enable_thinking, …
        tools: JSON schemas of the tools to describe, in the format of transformers' templates; None for none.
        moment: the time that the template's function strftime_now returns; None for the time at which this object is
            created.

    Attributes:
        reads_clock: whether the template uses strftime_now.

    Raises:
        ModelError: the template does not parse.
    """

    def __init__(
        self,
        source: str,
        variables: Mapping[str, object] | None = None,
        tools: Sequence[Mapping[str, object]] | None = None,
        moment: datetime | None = None,
    ) -> None:
        """Parses the template; it is executed in a subprocess only."""
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
        """Renders a conversation to text; `generation` adds the generation prompt, which opens a reply.

        Args:
            messages: chat messages with "role" and "content".
            generation: whether to add the generation prompt.

        Raises:
            ModelError: the template raises an error or exceeds a limit of time, memory or length.
        """
        values = {"messages": list(messages), "tools": self.tools, "documents": None}
        try:
            return render(self.source, values | {"add_generation_prompt": generation} | self.variables, self.moment)
        except Refused as error:
            roles = ", ".join(message["role"] for message in messages)
            message = f"the checkpoint's chat template refuses messages of {roles}: {error}"
            raise ModelError(message) from error

    def take_apart(self, roles: tuple[str, ...], *, generation: bool) -> Rendered:
        """Returns the template's own text around the contents of messages with these roles; results are cached.

        Args:
            roles: roles of the messages, in order.
            generation: whether to add the generation prompt, which opens a reply.

        Raises:
            ModelError: the template raises an error, or drops or changes the content of a message.
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
    """Whether a template can render messages of these roles with their contents unchanged."""
    try:
        template.take_apart(roles, generation=True)
    except ModelError:
        return False
    return True


def tells_tools(template: Template) -> bool:
    """Whether a template describes its tools: the names of all of them are in the text of a test conversation."""
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
    """Returns sentences for the user about a template's peculiarities, such as an unsupported role.

    The peculiarities are found by rendering test conversations, not by parsing the source.
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
    """Returns the rendered text of three messages: a user's, `reply` as the assistant's, and a second user's."""
    roles = ("user", "assistant", "user")
    contents = ("one", reply, "two")
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    return template.render(messages, generation=True)


def _changes_words(template: Template) -> bool:
    apart = template.take_apart(("user",), generation=True)
    (piece,) = apart.pieces
    words = "Ą \"b\"  <c> & 'd'\n\n{e} </f> [g] \\n"
    return template.render([{"role": "user", "content": words}], generation=True) != piece.text + words + apart.tail
