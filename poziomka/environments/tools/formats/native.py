"""Call formats of model families, as the models were trained on them.

    hermes      <tool_call>{"name": …, "arguments": {…}}</tool_call>   Hermes 2 Pro and later, Qwen2.5, Qwen3, SmolLM3
    llama       {"name": …, "parameters": {…}}                         Llama 3.1 and later
    mistral     [TOOL_CALLS][{"name": …, "arguments": {…}}]            Mistral; newer ones [TOOL_CALLS]name[ARGS]{…}
    gemma       ```tool_code … ```                                     Gemma 3, where the prompt asks for it
    fenced      ```python … ``` and ```output … ```                    ToRA and models trained like it

In all but `fenced` a call ends the model's turn, and the checkpoint's template writes each result as a tool message.
`hermes:inside` uses the marks of Hermes inside the turn: the model stops at </tool_call>, reads the result and
continues to think, like reasoning models that were trained to do so.

Checked against: the chat templates of Qwen2.5-7B-Instruct, Llama-3.2-3B-Instruct, Mistral-Nemo-Instruct-2407 and
SmolLM3-3B; ai.google.dev/gemma, "Function calling"; inference of ToRA (Gou et al. 2023, arXiv 2309.17452;
github.com/microsoft/ToRA, src/infer).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poziomka.core.transcript import CLOSE
from poziomka.environments.tools.formats.call_format import Call, Result, unknown
from poziomka.environments.tools.formats.quoted import DECODER, Body, body_at
from poziomka.environments.tools.tool import Tool


def described(tools: Mapping[str, Tool]) -> str:
    """Returns the definitions of tools (name, description, parameters) as JSON, one tool a line."""
    return "\n".join(json.dumps(tool.schema, ensure_ascii=False) for tool in tools.values())


def call_of(written: object, tools: Mapping[str, Tool], *keys: str) -> Call:
    """Returns the call that a parsed JSON value describes; its `fault` is set if it describes none.

    Args:
        written: the parsed JSON value, normally an object with a name and arguments.
        tools: the tools, by name.
        *keys: keys of the arguments; the first one that is present is used.
    """
    if not isinstance(written, dict) or not isinstance(written.get("name"), str):
        return Call("", fault='a call is an object with "name" and ' + f'"{keys[0]}"')
    name, id_ = written["name"], written.get("id")
    if name not in tools:
        return Call(name, fault=unknown(name, tools))
    arguments: object = next((written[key] for key in keys if key in written), {})
    if isinstance(arguments, str):  # JSON within JSON, as endpoints write it
        arguments, fault = decoded(arguments)
        if fault:
            return Call(name, fault=fault)
    return Call(name, arguments, id=id_ if isinstance(id_, str) else "")


def decoded(text: str) -> tuple[object, str]:
    """Parses a text that must be one JSON value.

    Returns:
        the value and "", or None and the error message.
    """
    text = text.strip()
    try:
        value, end = DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        return None, f"the call is not JSON: {error.msg} at character {error.pos + 1}"
    except (RecursionError, ValueError) as error:
        return None, f"the call is not JSON that can be read: {error}"
    if text[end:].strip():
        return None, f"the call is not JSON alone: more follows at character {end + 1}"
    return value, ""


class Hermes:
    """Call format `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of calls in a turn.

    Args:
        inside: whether the model stops after </tool_call>, and the result becomes part of its turn; otherwise the call
            ends the turn, and the result is a message.
    """

    marks: tuple[str, ...] = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
    signs: tuple[str, ...] = ("<tool_call>",)

    def __init__(self, *, inside: bool = False) -> None:
        self.name = "hermes:inside" if inside else "hermes"
        self.stop: tuple[str, ...] = ("</tool_call>",) if inside else ()

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the calls in the model's latest text, one for each `<tool_call>` block; the last may be unclosed.

        Args:
            words: the text.
            tools: the tools, by name.
        """
        calls = []
        for body in self._bodies(words):
            written, fault = decoded(body.text)
            calls.append(Call("", fault=fault) if fault else call_of(written, tools, "arguments", "parameters"))
        return calls

    def unclosed(self, words: str) -> bool:
        """Returns whether a closing mark is inside a JSON string of a call, so that generation must continue."""
        return any(body.held for body in self._bodies(words))

    @staticmethod
    def _bodies(words: str) -> Iterator[Body]:
        """Yields the text between the marks of each `<tool_call>` block."""
        opened, closed = "<tool_call>", "</tool_call>"
        place, strings = words.find(opened), True
        while place >= 0:
            body = body_at(words, place + len(opened), closed, strings=strings)
            yield body
            strings = strings and not body.held
            place = words.find(opened, body.end) if body.end >= 0 else -1

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns the text of each result, with the marks `<tool_response>` if it becomes part of the model's turn.

        Args:
            results: results of all calls of one turn.
            message: whether each result is a message, around which the chat template writes the marks.
        """
        if message:
            return [result.text for result in results]
        return [f"\n<tool_response>\n{result.text}\n</tool_response>\n" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it: JSON in `<tool_call>` marks."""
        written = json.dumps({"name": tool.name, "arguments": arguments}, ensure_ascii=False)
        return f"<tool_call>\n{written}\n</tool_call>"

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns instructions for a prompt: the schemas of the tools and the syntax of a call."""
        return (
            f"These tools can be called:\n<tools>\n{described(tools)}\n</tools>\n\n"
            'To call one, write <tool_call>{"name": the tool, "arguments": {…}}</tool_call>. '
            "The result comes in <tool_response>."
        )

    def refuse(self, tool: Tool) -> str:
        """Returns "": this format can write calls of every tool."""
        return ""


class Llama:
    """Call format of a turn that is a JSON object with "name" and "parameters"; several are separated by semicolons.

    After <|python_tag|>, anything that is not JSON is code for the tool `python`. A turn that begins otherwise is plain
    text: an answer in JSON without a name calls nothing.
    """

    name = "llama"
    stop: tuple[str, ...] = ()
    tag = "<|python_tag|>"
    call_begins = re.compile(r'\{\s*"(?:name|type|function)"')
    said_begins = re.compile(rf"(?:\A|{CLOSE})\s*(?=<\|python_tag\|>|{call_begins.pattern})")
    marks: tuple[str, ...] = ("<|python_tag|>",)
    signs: tuple[str, ...] = ("<|python_tag|>", "<|start_header_id|>")

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the calls in the model's latest text after its thought; [] if that is plain text.

        Args:
            words: the text.
            tools: the tools, by name.
        """
        begun = self.said_begins.search(words)  # the end mark of a thought may also occur in a string of the call
        said = (words[begun.end() :] if begun else words.rpartition(CLOSE)[2]).strip()
        tagged = not self.call_begins.match(said) and self.tag in said
        said = said.partition(self.tag)[2].strip() if tagged else said
        if tagged and not said.startswith("{"):
            return [
                Call("python", {"code": said}) if "python" in tools else Call("python", fault=unknown("python", tools))
            ]
        if not tagged and not self.call_begins.match(said):
            return []
        return list(self._calls(said, tools))

    @staticmethod
    def _calls(said: str, tools: Mapping[str, Tool]) -> Iterator[Call]:
        place = 0
        while place < len(said):
            try:
                written, place = DECODER.raw_decode(said, place)
            except (ValueError, RecursionError):
                yield Call("", fault=decoded(said[place:])[1])
                return
            if isinstance(written, dict) and isinstance(written.get("function"), dict):
                written = written["function"]
            yield call_of(written, tools, "parameters", "arguments")
            while place < len(said) and said[place] in " \t\r\n;":
                place += 1

    def unclosed(self, words: str) -> bool:
        """Returns False: a call ends the model's turn, so no stop string can be inside an argument."""
        return False

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns the text of each result.

        Args:
            results: results of all calls of one turn.
            message: whether each result is a message; otherwise it is part of the model's turn, between line breaks.
        """
        return [result.text if message else f"\n{result.text}\n" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it: {"name": …, "parameters": {…}}."""
        return json.dumps({"name": tool.name, "parameters": arguments}, ensure_ascii=False)

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns instructions for a prompt: the schemas of the tools and the syntax of a call."""
        return (
            f"These functions can be called:\n\n{described(tools)}\n\n"
            'To call one, answer with {"name": the function, "parameters": {…}} and nothing else.'
        )

    def refuse(self, tool: Tool) -> str:
        """Returns "": this format can write calls of every tool."""
        return ""


class Mistral:
    """Call format `[TOOL_CALLS]` with a list of JSON objects, or `[TOOL_CALLS]name[ARGS]{…}` for each call.

    Newer models write the second form. Both are parsed; `call` returns the first.
    """

    name = "mistral"
    stop: tuple[str, ...] = ()
    head = re.compile(r'((?:[^\[{"]|\[CALL_ID\])*)\[ARGS\]')
    marks: tuple[str, ...] = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
    signs: tuple[str, ...] = ("[TOOL_CALLS]",)

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the calls in the model's latest text, in order; an invalid one has a `fault`.

        Args:
            words: the text.
            tools: the tools, by name.
        """
        calls: list[Call] = []
        opened = "[TOOL_CALLS]"
        place, strings = words.find(opened), True
        while place >= 0:
            named = self.head.match(words, place + len(opened))
            body = body_at(words, named.end() if named else place + len(opened), opened, strings=strings)
            place, strings = body.end, strings and not body.held
            written, fault = decoded(body.text)
            if fault:
                calls.append(Call("", fault=fault))
            elif named:
                name, _, id_ = named.group(1).strip().partition("[CALL_ID]")
                calls.append(call_of({"name": name, "arguments": written, "id": id_}, tools, "arguments"))
            else:
                objects = written if isinstance(written, list) else [written]
                calls += [call_of(one, tools, "arguments", "parameters") for one in objects]
        return calls

    def unclosed(self, words: str) -> bool:
        """Returns False: a call ends the model's turn, so no stop string can be inside an argument."""
        return False

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns each result as JSON, with the marks `[TOOL_RESULTS]` if it becomes part of the model's turn.

        Args:
            results: results of all calls of one turn.
            message: whether each result is a message, around which the chat template writes the marks.
        """
        told = [self._as_json(result.text) for result in results]
        return told if message else [f'[TOOL_RESULTS]{{"content": {text}}}[/TOOL_RESULTS]' for text in told]

    @staticmethod
    def _as_json(text: str) -> str:
        return json.dumps(text, ensure_ascii=False) if decoded(text)[1] else text

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it: `[TOOL_CALLS]` and a list of one JSON object."""
        return "[TOOL_CALLS]" + json.dumps([{"name": tool.name, "arguments": arguments}], ensure_ascii=False)

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns instructions for a prompt: the schemas of the tools and the syntax of a call."""
        return (
            f"These tools can be called:\n\n{described(tools)}\n\n"
            'To call some, end your reply with [TOOL_CALLS] and a list: [{"name": the tool, "arguments": {…}}].'
        )

    def refuse(self, tool: Tool) -> str:
        """Returns "": this format can write calls of every tool."""
        return ""
