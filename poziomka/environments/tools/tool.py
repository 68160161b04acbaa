"""Tools that a model can call, each with a name, a description and a JSON schema.

`tool(function)` makes a tool from a function with type hints and a docstring. A stateful tool opens a running tool for
each session, which is forked with the session.

Errors are divided by their cause: arguments that do not match the schema, and a ToolFault, are mistakes of the model,
which reads the message as the result. Any other exception of a tool becomes an EnvironmentFailure, so that the attempt
is not scored.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from poziomka.core.errors import SettingsError
from poziomka.core.safety.failures import failures_of
from poziomka.environments.sandbox.interpreter import Console, Interpreter, Output
from poziomka.environments.tools.schema import Schema, as_hinted, fault_in, hints_of, schema_of, summary

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
NOTHING = "(nothing was printed)"
LOST = "(the interpreter was restarted: its variables are gone)"


class ToolFault(Exception):
    """Raised for a mistake of the model in using a tool; the model reads the message as the result."""


class RunningTool(Protocol):
    """Interface of a tool that is open in one session and may keep state between calls."""

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Runs a call and returns its result, as text for the model.

        Args:
            arguments: arguments by name, already validated against the schema.

        Raises:
            ToolFault: the model made a mistake; it reads the message as the result.
        """

    def fork(self) -> "RunningTool":
        """Returns a copy with the same state; later changes in one do not affect the other.

        Raises:
            EnvironmentFailure: the tool cannot be copied.
        """

    def close(self) -> None:
        """Releases the tool's resources; may be called twice."""


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a tool call, to show to a model.

    Attributes:
        question: the user's question.
        arguments: arguments of the call, by name.
        result: result of the call.
        answer: the model's answer after the result.
    """

    question: str
    arguments: Mapping[str, Any]
    result: str
    answer: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a model can call.

    Attributes:
        name: letters, digits, _ and -, at most 64; the first is a letter or _.
        description: description of the tool for the model.
        parameters: JSON schema of an object, its properties in the order in which the model reads them.
        open: function that returns a running tool for one session.
        close: function that releases resources that all sessions share; may be called twice.
        examples: examples for a model that was not trained to call tools.

    Raises:
        SettingsError: the name or the schema is invalid, or the description is missing.
    """

    name: str
    description: str
    parameters: Schema
    open: Callable[[], RunningTool]
    close: Callable[[], None] = lambda: None
    examples: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        """Checks the name, the description and the schema."""
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
        """Definition of the tool for chat templates and OpenAI endpoints: {"type": "function", "function": {…}}."""
        described = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": described}

    def run(self, running: RunningTool, arguments: object) -> str:
        """Validates the arguments of a call, runs it and returns its result, as text for the model.

        Args:
            running: the tool of the session, made by `open`.
            arguments: arguments as the model wrote them.

        Raises:
            ToolFault: the arguments do not match the schema, or the tool raised it.
            EnvironmentFailure: the tool itself failed.
        """
        fault = fault_in(arguments, self.parameters)
        if fault:
            raise ToolFault(fault)
        assert isinstance(arguments, Mapping)
        with failures_of(f"the tool {self.name!r}", passes=(ToolFault,)):
            return running.call(arguments)


def tool(function: Callable[..., Any], name: str = "") -> Tool:
    """Makes a tool from a stateless function.

    Its name and description are the function's name and the beginning of its docstring; its parameters are described
    by their type hints (str, int, float, bool, list, dict, Literal, Enum, Optional) and by the docstring's "Args:".

    Args:
        function: the function that a call runs; it may raise ToolFault with a message for the model.
        name: name of the tool; "": the function's.

    Raises:
        SettingsError: the function cannot be described by a schema; the message has the reason.
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
    """Returns a function's return value as text: a string unchanged, inf and nan by `str`, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


class Stateless:
    """A RunningTool that calls a function without state.

    Args:
        function: takes the arguments by name in a mapping, and returns the result.
    """

    def __init__(self, function: Callable[[Mapping[str, Any]], str]) -> None:
        self._function = function

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Calls the function with validated arguments, by name, and returns its result."""
        return self._function(arguments)

    def fork(self) -> "Stateless":
        """Returns this tool itself, since it has no state."""
        return self

    def close(self) -> None:
        """Does nothing: a function has no resources."""


# ------------------------------------------------------------------------------------------------------ an interpreter
def python_tool(interpreter: Interpreter, description: str = "") -> Tool:
    """Makes a tool that runs Python code in an interpreter and keeps variables between calls.

    Args:
        interpreter: interpreter that runs the code; closing the tool closes it.
        description: description for the model; "": a default that fits every interpreter.
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
    """A RunningTool that runs Python code in a console.

    Args:
        console: the console; closing the tool closes it.
    """

    def __init__(self, console: Console) -> None:
        """Stores the console, which the tool owns from now on."""
        self._console = console

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Runs code and returns its output.

        Args:
            arguments: {"code": Python source}.

        Raises:
            ToolFault: the code failed; the message is the output so far, then the error.
        """
        output = self._console.run(arguments["code"])
        if output.fault or output.lost:
            raise ToolFault("\n".join(_lines(output)))
        return output.text.rstrip("\n") or NOTHING

    def fork(self) -> "RunningPython":
        """Returns a running tool with a copy of the variables, by forking the console."""
        return RunningPython(self._console.fork())

    def close(self) -> None:
        """Ends the console."""
        self._console.close()


def _lines(output: Output) -> list[str]:
    """Returns the lines of the result of failed code: its output, the fault, and a note if the variables are lost."""
    return [*filter(None, (output.text.rstrip("\n"), output.fault)), *([LOST] if output.lost else [])]
