"""Tools of a recipe, and the format of a model's tool calls: that of its chat template, else a plain one."""

from collections.abc import Sequence
from dataclasses import replace

from poziomka.app.settings.recipe import Recipe
from poziomka.core.environment import Environment
from poziomka.core.problem import Problem
from poziomka.core.task import Task
from poziomka.environments.tools.formats.registry import format_named, format_of
from poziomka.environments.tools.registry import tools_named
from poziomka.environments.tools.tool import Tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.template import TemplateFormat
from poziomka.tasks.tools import demand_no_environment, with_tools


def calls_of(chat: ChatFormat | None, tools: Sequence[Tool]) -> str | None:
    """Returns the name of the tool-call format for a model; None for the default of Toolbox.

    Args:
        chat: the model's chat format. A plain one whose tokenizer has no files (a model from nothing) gives "spelled".
            None for an endpoint, which gives "hermes": its calls end a turn, so that no reply must be continued.
        tools: the tools to call; a template's format is used only if the template describes them.
    """
    if chat is None:
        return "hermes"
    if not isinstance(chat, TemplateFormat):
        return "spelled" if chat.tokenizer.files is None else None
    name = format_of(chat.source)
    return name if chat.describes(Toolbox(tools, name).described) else None


def suited(task: Task, chat: ChatFormat | None) -> Task:
    """Returns a task whose toolboxes parse calls in the format of the model's chat template, or of an endpoint (None).

    A toolbox that was created with an explicit format keeps it. A chat format without a template changes nothing.
    """
    made = task.environment
    if made is None or not isinstance(chat, TemplateFormat | None):
        return task

    last: list[Toolbox] = []  # cache of one toolbox and its adapted copy: most tasks have one for all problems

    def environment(problem: Problem) -> Environment | None:
        inner = made(problem)
        if not isinstance(inner, Toolbox) or inner.chosen:
            return inner
        if not last or last[0] is not inner:
            name = calls_of(chat, [*inner.tools.values()])
            last[:] = [inner, inner if name is None else inner.suited(name)]
        return last[1]

    return replace(task, environment=environment)


def tools_of(recipe: Recipe, task: Task) -> list[Tool]:
    """Returns the tools that the recipe names; [] for none.

    Raises:
        SettingsError: no tool, or no call format, has such a name.
        EnvironmentFailure: a tool cannot run on this machine, with the reason.
        TaskError: the task has an environment of its own.
    """
    names = None if recipe.tools is None else recipe.tools.names
    if recipe.tools is None or names is None:
        return []
    if recipe.tools.format is not None:
        format_named(recipe.tools.format)
    demand_no_environment(task)
    return tools_named(names)


def unused(recipe: Recipe) -> tuple[str, ...]:
    """Returns a sentence for each of `tools.format` and `tools.cost` that is set although the recipe names no tool."""
    tools = recipe.tools
    if tools is None or tools.names is not None:
        return ()
    given = {"tools.format": tools.format, "tools.cost": tools.cost or None}
    return tuple(
        f"{name} = {value!r} is not used, because the recipe has no tools: name some (tools.python={{}} for one), or "
        f"leave {name} out"
        for name, value in given.items()
        if value is not None
    )


def equipped(recipe: Recipe, task: Task, tools: list[Tool], chat: ChatFormat) -> Task:
    """Returns the task with the recipe's tools, in the recipe's call format or the one of the model's chat template.

    Args:
        recipe: recipe with the call format and the cost of a call.
        task: a task without tools.
        tools: the recipe's tools; for an empty list, the task's own toolboxes are adapted to the chat template.
        chat: the model's chat format.

    Raises:
        SettingsError: the tools cannot be called in that format.
    """
    if tools and recipe.tools is not None:
        return with_tools(task, Toolbox(tools, recipe.tools.format or calls_of(chat, tools)), recipe.tools.cost)
    return suited(task, chat)
