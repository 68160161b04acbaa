"""Filter of training problems whose prompts are too long for a reply to fit the context."""

from collections.abc import Callable
from dataclasses import dataclass

from poziomka.core.errors import ModelError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.task import Task, asked
from poziomka.learning.curriculum.levels import SPLIT, only
from poziomka.models.text.chat import ChatFormat


@dataclass(frozen=True)
class Fitting:
    """Result of `fitting`: a task without the training problems that cannot be answered, and counts of those removed.

    Attributes:
        task: the task with the remaining problems.
        overlong: number of problems whose prompts are too long.
        unread: number of problems whose prompts the chat format cannot tokenize; short prompts are not checked.
        notes: sentences for the user about removed problems and about replies that will be truncated.
    """

    task: Task
    overlong: int = 0
    unread: int = 0
    notes: tuple[str, ...] = ()


def fitting(task: Task, chat: ChatFormat, context: int | None, tokens: int) -> Fitting:
    """Returns a task without the training problems whose prompts leave no room for a reply in the context.

    A reply needs `tokens`, or half of the context if that is less. Only a finite task is filtered. In an endless task,
    an attempt whose prompt fills the context is scored as truncated.

    Args:
        task: the task whose training split is filtered.
        chat: chat format that tokenizes the prompts.
        context: largest number of tokens of a transcript; None for no limit.
        tokens: largest number of tokens of a reply.

    Raises:
        TaskError: no problem remains.
    """
    if context is None:
        return Fitting(task)
    cut = f"a reply of {tokens} tokens does not fit the context of {context}: it is cut there"
    notes: tuple[str, ...] = (cut,) if tokens >= context else ()
    size, longest = task.count(SPLIT), context - min(tokens, context // 2)
    if not size:
        return Fitting(task, notes=notes)
    length = _length(task, chat, context)
    lengths = [length(task.problem(SPLIT, index)) for index in range(size)]
    kept = [index for index, found in enumerate(lengths) if found is not None and found <= longest]
    unread = lengths.count(None)
    overlong = size - len(kept) - unread
    left_out = (
        *_told(overlong, size, f"longer than {longest} tokens, which leaves no room for a reply in {context}"),
        *_told(unread, size, "such that the chat format cannot read them"),
    )
    if not kept:
        remedy = "raise the context" if overlong else "give the task other prompts"
        message = f"no training problem of task {task.name!r} can be answered: {'; '.join(left_out)}; {remedy}"
        raise TaskError(message)
    notes += left_out
    return Fitting(task if len(kept) == size else only(task, kept), overlong, unread, notes)


def _length(task: Task, chat: ChatFormat, context: int) -> Callable[[Problem], int | None]:
    """Returns a function that counts the tokens of a problem's prompt; None if the chat format cannot tokenize it.

    For a short prompt, the function returns an upper bound instead: its bytes plus the tokens of the first prompt with
    as many messages. Tokenizing all prompts of a large data set takes a minute.
    """
    around: dict[
        int, int
    ] = {}  # number of messages → tokens of the first such prompt, which include the chat format's own

    def length(problem: Problem) -> int | None:
        most = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in problem.prompt)
        count = len(problem.prompt)
        if count in around and most + around[count] <= context // 2:
            return most + around[count]
        try:
            found = len(chat.read(asked(task, problem)))
        except ModelError:
            return None
        around.setdefault(count, found)
        return found

    return length


def _told(count: int, size: int, what: str) -> tuple[str, ...]:
    return (f"{count} of {size} training prompts are left out: they are {what}",) if count else ()
