"""Makes tools and toolboxes from the names that recipes and the command line use.

    python              Python code in monty           python:sandlock    in another interpreter
    calculator          integers, + - * // % ( )       search:FOLDER      in the text files below a folder
    python+search:docs  several, each by its name

Requesting an unavailable tool raises an error with the reason: code never runs with less isolation than was requested.
"""

from collections.abc import Callable
from dataclasses import replace

from poziomka.core.errors import SettingsError, nearest
from poziomka.environments.sandbox.registry import interpreter_named
from poziomka.environments.tools.calculator import calculate
from poziomka.environments.tools.formats.call_format import CallFormat
from poziomka.environments.tools.search import search_tool
from poziomka.environments.tools.tool import Example, Tool, ToolFault, python_tool, tool
from poziomka.environments.tools.toolbox import MOST, Toolbox


def calculator(expression: str) -> int:
    """Works out an expression in integers with + - * // % and parentheses.

    Args:
        expression: what to work out, 12 * (3 + 4) for one
    """
    try:
        return calculate(expression)
    except ValueError as error:
        raise ToolFault(str(error)) from error


def _python(where: str) -> Tool:
    return python_tool(interpreter_named(where or "monty"))


def _calculator(where: str) -> Tool:
    if where:
        message = f"the calculator has no kinds: received 'calculator:{where}'"
        raise SettingsError(message)
    example = Example("What is 12 * 13?", {"expression": "12 * 13"}, "156", "12 * 13 is 156.")
    return replace(tool(calculator), examples=(example,))


def _search(where: str) -> Tool:
    if not where:
        message = "search needs a folder: write search:FOLDER"
        raise SettingsError(message)
    return search_tool(where)


TOOLS: dict[str, Callable[[str], Tool]] = {"python": _python, "calculator": _calculator, "search": _search}


def tool_named(name: str) -> Tool:
    """Makes the tool with a name.

    Args:
        name: "python", "python:INTERPRETER" (such as "python:sandlock"), "calculator" or "search:FOLDER".

    Raises:
        SettingsError: no tool has this name, or the part after the colon is missing or not accepted.
        EnvironmentFailure: the tool cannot run on this machine; the message has the reason.
    """
    kind, _, where = name.partition(":")
    if kind not in TOOLS:
        message = f"unknown tool {name!r}{nearest(kind, TOOLS)}"
        raise SettingsError(message)
    return TOOLS[kind](where)


def tools_named(name: str) -> list[Tool]:
    """Makes the tools of several names, which are joined by plus signs.

    Args:
        name: for example "python+search:docs"; see `tool_named` for the names.

    Raises:
        SettingsError: a name is unknown.
        EnvironmentFailure: a tool cannot run on this machine; the message has the reason.
    """
    return [tool_named(part.strip()) for part in name.split("+")]


def toolbox_named(name: str, calls: str | CallFormat | None = None, most: int = MOST) -> Toolbox:
    """Makes a toolbox of the tools whose names are joined by plus signs.

    Args:
        name: for example "python", "python:sandlock", "calculator", "search:FOLDER" or "python+search:docs".
        calls: format in which the model writes calls: a name of formats.registry.FORMATS, or a CallFormat; None: the
            default of Toolbox.
        most: maximum calls of a session.

    Raises:
        SettingsError: a name is unknown, two tools have the same name, or the format cannot write their calls.
        EnvironmentFailure: a tool cannot run on this machine; the message has the reason.
    """
    return Toolbox(tools_named(name), calls, most)
