"""Selection of a model's tool-call format: the one that its chat template describes, else a plain one."""

from collections.abc import Sequence
from dataclasses import replace

from poziomka.core.environment import Environment
from poziomka.core.problem import Problem
from poziomka.core.task import Task
from poziomka.environments.tools.formats.registry import format_of
from poziomka.environments.tools.tool import Tool
from poziomka.environments.tools.toolbox import Toolbox
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.template import TemplateFormat


def calls_of(chat: ChatFormat, tools: Sequence[Tool]) -> str | None:
    """Returns the name of the tool-call format for a model; None for the default of Toolbox.

    Args:
        chat: the model's chat format. A plain one whose tokenizer has no files (a model from nothing) gives "spelled".
        tools: the tools to call; a template's format is used only if the template describes them.
    """
    if not isinstance(chat, TemplateFormat):
        return "spelled" if chat.tokenizer.files is None else None
    name = format_of(chat.source)
    return name if chat.describes(Toolbox(tools, name).described) else None


def suited(task: Task, chat: ChatFormat) -> Task:
    """Returns a task whose toolboxes parse calls in the format of the model's chat template.

    A toolbox that was created with an explicit format keeps it. A chat format without a template changes nothing.
    """
    made = task.environment
    if made is None or not isinstance(chat, TemplateFormat):
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
