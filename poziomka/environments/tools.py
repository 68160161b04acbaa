"""Tools: what a model can call, each with a name, a sentence and a schema.

A function with type hints and a docstring is a tool by `tool(function)`. A tool that keeps something between calls
opens a running tool for each session, which forks with it.

Whose fault it is when something goes wrong: a call that does not fit the schema, and a ToolFault, are the model's, and
are said to it in words. Whatever else a tool raises is ours: EnvironmentFailure, so that the attempt is not judged.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from poziomka.core.errors import SettingsError
from poziomka.core.failures import failures_of
from poziomka.environments.interpreter import Console, Interpreter, Output
from poziomka.environments.schema import Schema, as_hinted, fault_in, hints_of, schema_of, summary

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
NOTHING = "(nothing was printed)"
LOST = "(the interpreter was restarted: its variables are gone)"


class ToolFault(Exception):
    """What the model did wrong with a tool; its words are the result that the model reads."""


class RunningTool(Protocol):
    """A tool within one session."""

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Returns the result of a call whose arguments fit the schema.

        Raises:
            ToolFault: the model's fault, in words for it.
        """

    def fork(self) -> "RunningTool":
        """Returns a running tool that shares the past and none of the future, or raises EnvironmentFailure."""

    def close(self) -> None:
        """Frees what it holds; may be called twice."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question that a call answers: the call's arguments, its result, and the answer that is given then."""

    question: str
    arguments: Mapping[str, Any]
    result: str
    answer: str


@dataclass(frozen=True, slots=True)
class Tool:
    """What a model can call.

    Attributes:
        name: letters, digits and _.
        description: a sentence for the model.
        parameters: JSON schema of an object, its properties in the order in which they are told.
        open: returns the tool as one session runs it.
        close: frees what all sessions share; may be called twice.
        examples: to show to a model that was not trained to call tools.

    Raises:
        SettingsError: the name or the schema is none, or the description is missing.
    """

    name: str
    description: str
    parameters: Schema
    open: Callable[[], RunningTool]
    close: Callable[[], None] = lambda: None
    examples: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what no model could call."""
        if not NAME.fullmatch(self.name):
            message = f"a tool's name is made of letters, digits and _: received {self.name!r}; give it another"
            raise SettingsError(message)
        if not self.description.strip():
            message = f"the tool {self.name!r} has no description: a model could not know what it does; add a docstring"
            raise SettingsError(message)
        if self.parameters.get("type") != "object" or not isinstance(self.parameters.get("properties"), Mapping):
            message = f"the parameters of the tool {self.name!r} are no object's schema: received {self.parameters!r}"
            raise SettingsError(message)

    @property
    def schema(self) -> dict[str, Any]:
        """The tool as chat templates and endpoints take it."""
        described = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": described}

    def run(self, running: RunningTool, arguments: object) -> str:
        """Returns what a call comes to.

        Raises:
            ToolFault: the arguments do not fit, or the tool says so.
            EnvironmentFailure: the tool itself failed.
        """
        fault = fault_in(arguments, self.parameters)
        if fault:
            raise ToolFault(fault)
        assert isinstance(arguments, Mapping)
        with failures_of(f"the tool {self.name!r}", passes=(ToolFault,)):
            return running.call(arguments)


def tool(function: Callable[..., Any], name: str = "") -> Tool:
    """Makes a tool of a function that keeps nothing between calls.

    Its name and description are the function's name and the beginning of its docstring; its parameters are described
    by their hints (str, int, float, bool, list, dict, Literal, Enum, Optional) and by the docstring's "Args:".

    Args:
        function: what a call runs; it may raise ToolFault with words for the model.
        name: another name.

    Raises:
        SettingsError: the function cannot be described, and why.
    """
    name = name or str(getattr(function, "__name__", ""))
    if inspect.iscoroutinefunction(function):
        message = f"the tool {name!r} is a coroutine: calls run inline, one after another; write a plain function"
        raise SettingsError(message)
    schema = schema_of(function)
    hints = hints_of(function)

    def call(arguments: Mapping[str, Any]) -> str:
        return _said(function(**{key: as_hinted(value, hints[key]) for key, value in arguments.items()}))

    return Tool(name, summary(function), schema, lambda: Stateless(call))


def _said(value: object) -> str:
    """Returns what a function returned as text: JSON where Python has no better words."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


class Stateless:
    """A function as a running tool: forking costs nothing, for there is nothing to keep."""

    def __init__(self, function: Callable[[Mapping[str, Any]], str]) -> None:
        """Remembers the function."""
        self._function = function

    def call(self, arguments: Mapping[str, Any]) -> str:
        """See RunningTool."""
        return self._function(arguments)

    def fork(self) -> "Stateless":
        """See RunningTool."""
        return self

    def close(self) -> None:
        """Holds nothing."""


# ------------------------------------------------------------------------------------------------------ an interpreter
def python_tool(interpreter: Interpreter, description: str = "") -> Tool:
    """Makes a tool of an interpreter: Python code, its variables kept from call to call.

    Args:
        interpreter: where the code runs; it belongs to the tool, whose close closes it.
        description: for the model; "" says what every interpreter can do.
    """
    description = description or (
        "Runs Python code and returns what it prints, and the value of its last line. Variables are kept between calls."
    )
    code = {"type": "string", "description": "Python code"}
    parameters = {"type": "object", "properties": {"code": code}, "required": ["code"]}
    examples = (
        Example("What is 12 * 13?", {"code": "12 * 13"}, "156", "12 * 13 is 156."),
        Example("What is 2 to the power of 20?", {"code": "2 ** 20"}, "1048576", "It is 1048576."),
        Example("How many letters has strawberry?", {"code": "len('strawberry')"}, "10", "It has 10 letters."),
    )
    return Tool(
        "python", description, parameters, lambda: RunningPython(interpreter.open()), interpreter.close, examples
    )


class RunningPython:
    """A console as a running tool."""

    def __init__(self, console: Console) -> None:
        """Takes the console over."""
        self._console = console

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Runs code; what it printed before it failed stands before the fault.

        Raises:
            ToolFault: the code failed.
        """
        output = self._console.run(arguments["code"])
        if output.fault or output.lost:
            raise ToolFault("\n".join(_lines(output)))
        return output.text.rstrip("\n") or NOTHING

    def fork(self) -> "RunningPython":
        """See RunningTool."""
        return RunningPython(self._console.fork())

    def close(self) -> None:
        """Ends the console."""
        self._console.close()


def _lines(output: Output) -> list[str]:
    """Returns what came of code that failed: its output, the fault, and whether the variables are gone."""
    return [*filter(None, (output.text.rstrip("\n"), output.fault)), *([LOST] if output.lost else [])]
