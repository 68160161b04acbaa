"""In which format a model calls its tools: the one that its chat template describes, else a plain one."""

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
    """Returns the name of the format in which a model calls these tools; None for Toolbox's own choice."""
    if not isinstance(chat, TemplateFormat):
        return "spelled" if chat.tokenizer.files is None else None
    name = format_of(chat.source)
    return name if chat.describes(Toolbox(tools, name).described) else None


def suited(task: Task, chat: ChatFormat) -> Task:
    """Returns a task whose toolboxes take calls as the model's chat template describes them.

    A toolbox that was made with a format of its own keeps it, and so does any in a model from nothing.
    """
    made = task.environment
    if made is None or not isinstance(chat, TemplateFormat):
        return task

    last: list[Toolbox] = []  # one that the task made, and what became of it: most tasks have one for all problems

    def environment(problem: Problem) -> Environment | None:
        inner = made(problem)
        if not isinstance(inner, Toolbox) or inner.chosen:
            return inner
        if not last or last[0] is not inner:
            name = calls_of(chat, [*inner.tools.values()])
            last[:] = [inner, inner if name is None else inner.suited(name)]
        return last[1]

    return replace(task, environment=environment)
