"""Call formats with fenced code blocks: Gemma's ```tool_code and ToRA's ```python. Sources are listed in native.py."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poziomka.environments.tools.formats.call_format import Call, Result, unknown
from poziomka.environments.tools.tool import Tool

FENCE = "```"
FENCES = 8  # number of fences that are tried as the end of a block
LONGEST = 100_000  # maximum characters of a block that is parsed for calls; a longer one is code


class Gemma:
    """Call format ```` ```tool_code ```` with calls in Python, answered by ```` ```tool_output ````.

    A block contains `name(argument=value)`, one a line or in a list, optionally inside print; values are literals. Any
    other block is code for the tool `python`, if there is one. The call ends the turn. Gemma's chat template has no
    tool messages, so the output is a message of the user.
    """

    name = "gemma"
    stop: tuple[str, ...] = ()
    marks: tuple[str, ...] = (FENCE,)
    signs: tuple[str, ...] = ()
    opened = re.compile(r"```tool_code[^\S\n]*\n")  # the mark ends its line, which it does not inside a string

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the calls of every ```` ```tool_code ```` block in the model's latest text, in order.

        Args:
            words: the text.
            tools: the tools, by name.
        """
        return [call for start, end in _blocks(self.opened, words) for call in _calls_in(words[start:end], tools)]

    def unclosed(self, words: str) -> bool:
        """Returns False: a call ends the model's turn, so no stop string can be inside an argument."""
        return False

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns each result in a ```` ```tool_output ```` block.

        Args:
            results: results of all calls of one turn.
            message: whether each result is a message; otherwise it is part of the model's turn, between line breaks.
        """
        space = "" if message else "\n"
        return [f"{space}```tool_output\n{result.text}\n```{space}" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it: `name(argument=value)` in a ```` ```tool_code ```` block."""
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return f"```tool_code\n{tool.name}({given})\n```"

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns instructions for a prompt: the tools as Python functions and the syntax of a call."""
        functions = "\n\n".join(map(_signature, tools.values()))
        return (
            f"These Python functions can be called:\n\n```python\n{functions}\n```\n\n"
            "To call one, write the call alone in a ```tool_code block and stop. What it returns comes in a "
            "```tool_output block."
        )

    def refuse(self, tool: Tool) -> str:
        """Returns an error message if the tool's name or a parameter's name is no name in Python; "" otherwise."""
        bad = [name for name in (tool.name, *tool.parameters["properties"]) if not name.isidentifier()]
        return f"{bad[0]!r} is no name in Python" if bad else ""


class Fenced:
    """Call format ```` ```python ```` with code, answered by ```` ```output ````; for the tool `python` only.

    After the code the model begins the output block itself and stops, or ends its turn.
    """

    name = "fenced"
    stop: tuple[str, ...] = ("```output",)
    marks: tuple[str, ...] = (FENCE,)
    signs: tuple[str, ...] = ()
    opened = re.compile(r"```python[^\S\n]*\n")  # as in Gemma

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """Returns the code block at the end of the model's latest text as a call of `python`; [] without such a block.

        Args:
            words: the text.
            tools: the tools, by name.
        """
        block = self._last(words)
        code = block.removesuffix(FENCE)
        if not block.endswith(FENCE) or (FENCE in code and not _is_python(code)):  # the block was closed before
            return []
        return [Call("python", {"code": code})]

    def unclosed(self, words: str) -> bool:
        """Returns whether the last "```output" is inside a string of the code, so that generation must continue."""
        before, stopped, _ = words.rpartition("```output")
        said = before.rstrip()
        parts = [(said[start:end], said[start:]) for start, end in _blocks(self.opened, said)]
        within = any(not _is_python(block) and _ends_in_string(rest) for block, rest in parts)
        return bool(stopped) and not said.endswith(FENCE) and within

    def _last(self, words: str) -> str:
        """Returns the last block, from its first line to the stop string; "" if there is none."""
        said = words.rstrip().removesuffix("```output").rstrip()
        *_, start = [len(said), *(start for start, _ in _blocks(self.opened, said))]
        return said[start:]

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """Returns each result as the content and end of an output block, which the model has begun.

        Args:
            results: results of all calls of one turn.
            message: whether each result is a message, which also needs the beginning of the block.
        """
        begin = "```output" if message else ""
        end = "" if message else "\n"
        return [f"{begin}\n{result.text}\n```{end}" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """Returns a call as the model should write it: the code block and the beginning of the output block."""
        return f"```python\n{arguments['code']}\n```\n```output"

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """Returns instructions for a prompt: the description of the tool `python` and the syntax of a call."""
        return (
            f"{tools['python'].description}\n\nWrite the code in a ```python block and begin a ```output block after "
            "it; what the code prints will stand there. Go on from it."
        )

    def refuse(self, tool: Tool) -> str:
        """Returns an error message for any tool but `python`; "" for `python`."""
        return "" if tool.name == "python" else "its blocks are code for the tool 'python'"


def _blocks(opened: re.Pattern[str], words: str) -> Iterator[tuple[int, int]]:
    """Yields the start and end index of the code of each block.

    A mark inside a string of another block's code begins no block.
    """
    found = opened.search(words)
    while found is not None:
        end = _end(words, found.end())
        yield found.end(), end
        found = opened.search(words, end)


def _end(words: str, start: int) -> int:
    """Returns the index of the fence that closes a block: the first fence before which the code is valid Python.

    A fence inside a string closes nothing. If the code before no fence is valid, the first fence is taken; without a
    fence the block ends with the text.
    """
    ends = [found.start() for found, _ in zip(re.compile(FENCE).finditer(words, start), range(FENCES), strict=False)]
    whole = next((end for end in ends if _is_python(words[start:end])), None)
    return whole if whole is not None else ends[0] if ends else len(words)


def _is_python(code: str) -> bool:
    if len(code) > LONGEST:
        return False
    try:
        ast.parse(code.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _ends_in_string(code: str) -> bool:
    """Whether Python code ends inside a string, according to the parser's error."""
    try:
        ast.parse(code if len(code) <= LONGEST else "")
    except SyntaxError as error:
        unterminated = "unterminated" in error.msg
        return unterminated and ("triple-quoted" in error.msg or error.lineno == code.count("\n") + 1)
    except (ValueError, MemoryError, RecursionError):
        return False
    return False


def _calls_in(body: str, tools: Mapping[str, Tool]) -> list[Call]:
    """Parses the calls in a block of Python; any other block becomes a call of the tool `python`, or a fault."""
    try:
        tree = ast.parse(body.strip(), mode="exec") if len(body) <= LONGEST else None
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        tree, why = None, f"the call is not Python: {error}"
    else:
        why = "the call is too long"
    calls = list(_written(tree, tools)) if tree else []
    if calls and all(calls):
        return [call for call in calls if call]
    if "python" in tools:
        return [Call("python", {"code": body})]
    if tree is None:
        return [Call("", fault=why)]
    names = [_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    strange = next((name for name in names if name not in (*tools, "print")), None)
    if strange is not None:
        return [Call(strange, fault=unknown(strange, tools))]
    return [Call("", fault="a call is name(argument=value), each value written out")]


def _written(tree: ast.Module, tools: Mapping[str, Tool]) -> Iterator[Call | None]:
    """Yields the call in each line of a module, or in each item of a list; None for a line that is no call."""
    for line in tree.body:
        value = line.value if isinstance(line, ast.Expr) else None
        for node in value.elts if isinstance(value, ast.List) else [value]:
            yield _call(node, tools)


def _call(node: ast.expr | None, tools: Mapping[str, Tool]) -> Call | None:
    if not isinstance(node, ast.Call):
        return None
    name = _name(node.func)
    if name == "print" and "print" not in tools and len(node.args) == 1:
        return _call(node.args[0], tools)
    if name not in tools:
        return None
    known = list(tools[name].parameters["properties"])
    if len(node.args) > len(known):
        return Call(name, fault=f"{name} takes {len(known)} arguments: received {len(node.args)}")
    try:
        given = {known[place]: ast.literal_eval(value) for place, value in enumerate(node.args)}
        given |= {str(pair.arg): ast.literal_eval(pair.value) for pair in node.keywords}
    except (ValueError, TypeError, RecursionError):
        return None
    return Call(name, given)


def _name(node: ast.expr) -> str:
    """Returns the name of the called function; the last part of `default_api.name`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _signature(tool: Tool) -> str:
    """Returns a tool as Python source: a function with type hints and a docstring, without a body."""
    types = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
    required = tool.parameters.get("required", ())
    given = []
    for name, schema in tool.parameters["properties"].items():
        kind = types.get(str(schema.get("type")), "object")
        given.append(f"{name}: {kind}" + ("" if name in required else " = ..."))
    told = [f"{name}: {said}" for name, said in _said(tool)]
    args = "\n\n    Args:\n        " + "\n        ".join(told) if told else ""
    return f'def {tool.name}({", ".join(given)}):\n    """{tool.description}{args}"""'


def _said(tool: Tool) -> list[tuple[str, str]]:
    """Returns the name and description of each described parameter, with its allowed values if they are enumerated."""
    said = []
    for name, schema in tool.parameters["properties"].items():
        values = "one of " + ", ".join(json.dumps(value) for value in schema["enum"]) if "enum" in schema else ""
        words = "; ".join(filter(None, (schema.get("description", ""), values)))
        said += [(name, words)] if words else []
    return said
