"""Calls in fenced blocks: Gemma's ```tool_code, and ```python as ToRA has it; native.py says where they come from."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poziomka.environments.calls import Call, Result, unknown
from poziomka.environments.tools import Tool

FENCE = "```"
FENCES = 8  # of a block, that may be the one that closes it
LONGEST = 100_000  # characters of a block that is read as calls; a longer one is code


class Gemma:
    """```` ```tool_code ```` with calls in Python, answered ```` ```tool_output ````.

    A block is `name(argument=value)`, one a line or in a list, perhaps inside print; values are literals. Whatever
    else a block holds is code for the tool `python`, where there is one. The call ends the turn, and as the template
    knows no tool message, the output is the user's.
    """

    name = "gemma"
    stop: tuple[str, ...] = ()
    marks: tuple[str, ...] = (FENCE,)
    signs: tuple[str, ...] = ()
    opened = re.compile(r"```tool_code[^\S\n]*\n")  # the line ends with it, which it does not inside a string

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """See CallFormat: the calls of every block, in order."""
        return [call for start, end in _blocks(self.opened, words) for call in _calls_in(words[start:end], tools)]

    def unclosed(self, words: str) -> bool:
        """See CallFormat."""
        return False

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """See CallFormat."""
        space = "" if message else "\n"
        return [f"{space}```tool_output\n{result.text}\n```{space}" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """See CallFormat."""
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        return f"```tool_code\n{tool.name}({given})\n```"

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """See CallFormat."""
        functions = "\n\n".join(map(_signature, tools.values()))
        return (
            f"These Python functions can be called:\n\n```python\n{functions}\n```\n\n"
            "To call one, write the call alone in a ```tool_code block and stop. What it returns comes in a "
            "```tool_output block."
        )

    def refuse(self, tool: Tool) -> str:
        """See CallFormat."""
        bad = [name for name in (tool.name, *tool.parameters["properties"]) if not name.isidentifier()]
        return f"{bad[0]!r} is no name in Python" if bad else ""


class Fenced:
    """```` ```python ```` code, and what it prints in ```` ```output ````; for the tool `python` alone.

    The model begins the output's block itself and waits there, or ends its turn with the code.
    """

    name = "fenced"
    stop: tuple[str, ...] = ("```output",)
    marks: tuple[str, ...] = (FENCE,)
    signs: tuple[str, ...] = ()
    opened = re.compile(r"```python[^\S\n]*\n")  # as in Gemma

    def read(self, words: str, tools: Mapping[str, Tool]) -> list[Call]:
        """See CallFormat: the code with which the words end."""
        block = self._last(words)
        code = block.removesuffix(FENCE)
        if not block.endswith(FENCE) or (FENCE in code and not _is_python(code)):  # the block was closed before
            return []
        return [Call("python", {"code": code})]

    def unclosed(self, words: str) -> bool:
        """See CallFormat: the code ends within a string."""
        before, stopped, _ = words.rpartition("```output")
        said = before.rstrip()
        parts = [(said[start:end], said[start:]) for start, end in _blocks(self.opened, said)]
        within = any(not _is_python(block) and _ends_in_string(rest) for block, rest in parts)
        return bool(stopped) and not said.endswith(FENCE) and within

    def _last(self, words: str) -> str:
        """Returns the last block, from its first line to the stop string; "" where there is none."""
        said = words.rstrip().removesuffix("```output").rstrip()
        *_, start = [len(said), *(start for start, _ in _blocks(self.opened, said))]
        return said[start:]

    def write(self, results: Sequence[Result], *, message: bool) -> list[str]:
        """See CallFormat."""
        begin = "```output" if message else ""
        end = "" if message else "\n"
        return [f"{begin}\n{result.text}\n```{end}" for result in results]

    def call(self, tool: Tool, arguments: Mapping[str, Any], *, alone: bool = True) -> str:
        """See CallFormat."""
        return f"```python\n{arguments['code']}\n```\n```output"

    def explain(self, tools: Mapping[str, Tool]) -> str:
        """See CallFormat."""
        return (
            f"{tools['python'].description}\n\nWrite the code in a ```python block and begin a ```output block after "
            "it; what the code prints will stand there. Go on from it."
        )

    def refuse(self, tool: Tool) -> str:
        """See CallFormat."""
        return "" if tool.name == "python" else "its blocks are code for the tool 'python'"


def _blocks(opened: re.Pattern[str], words: str) -> Iterator[tuple[int, int]]:
    """Yields where each block of Python begins and ends: what opens a block inside a string of another opens none."""
    found = opened.search(words)
    while found is not None:
        end = _end(words, found.end())
        yield found.end(), end
        found = opened.search(words, end)


def _end(words: str, start: int) -> int:
    """Returns the place of the fence that closes a block: the first before which its code is whole.

    A fence inside a string closes nothing. Where no beginning is Python, the first fence is taken; without a fence the
    block goes on to the end of the words.
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
    """Whether a text of Python ends within a string, as the parser says of it."""
    try:
        ast.parse(code if len(code) <= LONGEST else "")
    except SyntaxError as error:
        unterminated = "unterminated" in error.msg
        return unterminated and ("triple-quoted" in error.msg or error.lineno == code.count("\n") + 1)
    except (ValueError, MemoryError, RecursionError):
        return False
    return False


def _calls_in(body: str, tools: Mapping[str, Tool]) -> list[Call]:
    """Returns the calls that a block of Python makes, or the block as code for the tool `python`."""
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
    """Yields the calls of a module's lines; None for a line that is something else."""
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
    """Returns the name that is called; of `default_api.name`, the last part."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _signature(tool: Tool) -> str:
    """Returns a tool as a function without a body."""
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
    """Returns what is said of each parameter, and the values it may have where they are few."""
    said = []
    for name, schema in tool.parameters["properties"].items():
        values = "one of " + ", ".join(json.dumps(value) for value in schema["enum"]) if "enum" in schema else ""
        words = "; ".join(filter(None, (schema.get("description", ""), values)))
        said += [(name, words)] if words else []
    return said
