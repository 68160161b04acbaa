"""Turns rows of a data set into problems, in splits that share no prompt."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem
from poziomka.core.seeds import seed_of
from poziomka.core.splits import TEST, TRAIN
from poziomka.core.transcript import ROLES, Message

HELD_OUT = 8  # one prompt in this many belongs to the test split if the rows have no splits

Row = Mapping[str, Any]
Rows = Sequence[Row] | Mapping[str, Sequence[Row]]  # includes datasets.Dataset and DatasetDict
Gold = str | Callable[[Row], str] | None


def messages_of(prompt: object, where: str) -> tuple[Message, ...]:
    """Returns the chat messages of a prompt; a string becomes one message of the user.

    Args:
        prompt: a string, or chat messages as mappings with role and content.
        where: name of the row, for error messages.

    Raises:
        TaskError: the prompt is neither a string nor messages of text with a known role; images and sounds are not
            supported.
    """
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    if not isinstance(prompt, Sequence) or not prompt:
        message = f"the prompt of {where} must be a text or chat messages: received a {type(prompt).__name__}"
        raise TaskError(message)
    return tuple(_message_of(each, where) for each in prompt)


def _message_of(message: object, where: str) -> Message:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
    if isinstance(content, Sequence) and not isinstance(content, str):
        strange = [p for p in content if not (isinstance(p, Mapping) and isinstance(p.get("text"), str))]
        if strange:
            kind = strange[0].get("type") if isinstance(strange[0], Mapping) else type(strange[0]).__name__
            received = f"a prompt is made of text: {where} holds a part of type {kind!r}; leave such rows out"
            raise TaskError(received)
        content = "\n".join(part["text"] for part in content)
    if not isinstance(role, str) or role not in ROLES or not isinstance(content, str):
        received = f"a message of {where} must have a role ({', '.join(ROLES)}) and a text: received {message!r:.200}"
        raise TaskError(received)
    return Message(role, content)


def spelled(prompt: Sequence[Message]) -> list[dict[str, str]]:
    """Returns messages as dictionaries with the keys role and content, the format of other libraries."""
    return [{"role": message.role, "content": message.content} for message in prompt]


def key_of(name: str, prompt: Sequence[Message]) -> str:
    """Returns the key of a problem: a hash of its whole prompt, so that equal prompts in two splits are detected.

    White space at the beginning and end of a message is ignored.

    Args:
        name: name of the task.
        prompt: the messages.
    """
    bare = [message | {"content": message["content"].strip()} for message in spelled(prompt)]
    return f"{seed_of(name, 'prompt', json.dumps(bare)):016x}"


def held_out(name: str, key: str) -> bool:
    """Whether a prompt belongs to the test split, for data without splits; true for one key in 8.

    Args:
        name: name of the task.
        key: key of the prompt, from `key_of`.
    """
    return seed_of(name, "kind", key) % HELD_OUT == 0


def plain(columns: Row, where: str) -> dict[str, Any]:
    """Returns columns as JSON data (strings, numbers, booleans, None, lists and dictionaries), for the journal.

    Args:
        columns: values by column name.
        where: name of the row, for error messages.

    Raises:
        TaskError: a value cannot be serialized as JSON.
    """
    found = {}
    for column, value in columns.items():
        try:
            found[column] = json.loads(json.dumps(value))
        except (TypeError, ValueError) as error:
            message = f"column {column!r} of {where} is no plain data ({error}): leave it out, or turn it into text"
            raise TaskError(message) from error
    return found


@dataclass(frozen=True)
class Shelf:
    """Converts rows of a data set to problems, by split.

    Rows without splits are split by a hash of their prompts: one prompt in 8 belongs to "test", the others to "train".

    Attributes:
        name: name of the task.
        rows: a sequence of rows, or one sequence for each split, by the split's name.
        answer: name of the column with the right answer, or a function that returns the right answer for a row, as a
            model would write it. `answer=None` leaves it unknown.

    Raises:
        TaskError: the rows have no length or cannot be indexed, or there are none.
    """

    name: str
    rows: Rows
    answer: Gold = None

    def __post_init__(self) -> None:
        """Checks that rows can be counted and indexed, and that there are some."""
        splits = list(self.rows.values()) if isinstance(self.rows, Mapping) else [self.rows]
        for rows in splits:
            if not hasattr(rows, "__len__") or not hasattr(rows, "__getitem__"):
                message = f"rows are asked for by number: a {type(rows).__name__} has no length; load it whole"
                raise TaskError(message)
        if not any(len(rows) for rows in splits):
            message = f"task {self.name!r} has no rows: give at least one"
            raise TaskError(message)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits: those of `rows`, or train and test."""
        return tuple(self.rows) if isinstance(self.rows, Mapping) else (TRAIN, TEST)

    @cached_property
    def _dealt(self) -> tuple[list[int], list[int]]:
        """Indices of the rows of the train split and of the test split, for rows without splits."""
        rows = cast("Sequence[Row]", self.rows)
        keys = (key_of(self.name, messages_of(rows[i].get("prompt"), f"row {i}")) for i in range(len(rows)))
        dealt: tuple[list[int], list[int]] = ([], [])
        for number, key in enumerate(keys):
            dealt[held_out(self.name, key)].append(number)
        return dealt if all(dealt) else self._dealt_by_rank()

    def _dealt_by_rank(self) -> tuple[list[int], list[int]]:
        """Splits rows whose prompts all hash to one split: the prompt with the least hash becomes the test split."""
        rows = cast("Sequence[Row]", self.rows)
        keys = [key_of(self.name, messages_of(rows[i].get("prompt"), f"row {i}")) for i in range(len(rows))]
        first = min(keys, key=lambda key: seed_of(self.name, "kind", key))
        held = [number for number, key in enumerate(keys) if key == first and len(set(keys)) > 1]
        return [number for number in range(len(keys)) if number not in held], held

    def _indices(self, split: str) -> Sequence[int]:
        if isinstance(self.rows, Mapping):
            return range(len(self.rows[split])) if split in self.rows else ()
        return self._dealt[split == TEST]

    def size(self, split: str) -> int:
        """Returns the number of rows in a split; 0 if there is no such split."""
        return len(self._indices(split))

    def source(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a row as a problem (a task's source); columns other than the prompt are stored in facts["columns"].

        Args:
            split: name of the split.
            index: index of the row in the split, from 0.
            level: ignored, as rows have no levels.

        Raises:
            TaskError: the prompt is not text, a column is not JSON data, or the right answer is not a string.
        """
        number = self._indices(split)[index]
        row = (self.rows[split] if isinstance(self.rows, Mapping) else self.rows)[number]
        where = f"row {number} of {split!r}"
        prompt = messages_of(row.get("prompt"), where)
        columns = plain({name: value for name, value in row.items() if name != "prompt"}, where)
        facts = {"columns": columns, "chat": not isinstance(row["prompt"], str)}
        return Problem(prompt, self._answer(row, where), task=self.name, key=key_of(self.name, prompt), facts=facts)

    def _answer(self, row: Row, where: str) -> str:
        if self.answer is None:
            return ""
        found = row.get(self.answer) if isinstance(self.answer, str) else self.answer(row)
        if not isinstance(found, str):
            message = f"the right answer of {where} is a text: received {found!r:.80} for {self.answer!r}"
            raise TaskError(message)
        return found
