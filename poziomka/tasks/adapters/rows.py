"""Rows of a data set, as problems in splits that share no prompt."""

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

HELD_OUT = 8  # one prompt in this many belongs to the test split, where the rows come without splits

Row = Mapping[str, Any]
Rows = Sequence[Row] | Mapping[str, Sequence[Row]]  # a datasets.Dataset, or a DatasetDict, will do
Gold = str | Callable[[Row], str] | None


def messages_of(prompt: object, where: str) -> tuple[Message, ...]:
    """Returns the chat messages of a prompt; a text is one message of the user.

    Raises:
        TaskError: it is neither text nor messages with role and text; images and sounds are not supported.
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
    """Returns messages as a peer spells them."""
    return [{"role": message.role, "content": message.content} for message in prompt]


def key_of(name: str, prompt: Sequence[Message]) -> str:
    """Returns the key of a problem: a name of its whole prompt, so that one in two splits shows."""
    return f"{seed_of(name, 'prompt', json.dumps(spelled(prompt))):016x}"


def held_out(name: str, key: str) -> bool:
    """Whether a prompt belongs to the test split, where nobody has made splits."""
    return seed_of(name, "kind", key) % HELD_OUT == 0


def plain(columns: Row, where: str) -> dict[str, Any]:
    """Returns columns as plain data, which the journal keeps.

    Raises:
        TaskError: a column holds anything else.
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
    """Rows by split. Rows that come without splits are dealt by their prompts: one in HELD_OUT is held out for test.

    Attributes:
        name: of the task.
        rows: rows, or rows by the split's name.
        answer: the column of the right answer, or what makes one of a row as a model would write it; None: none known.

    Raises:
        TaskError: the rows cannot be counted, or there are none.
    """

    name: str
    rows: Rows
    answer: Gold = None

    def __post_init__(self) -> None:
        """Refuses rows that cannot be asked for by number."""
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
        """The splits that are kept apart here."""
        return tuple(self.rows) if isinstance(self.rows, Mapping) else (TRAIN, TEST)

    @cached_property
    def _dealt(self) -> tuple[list[int], list[int]]:
        """Which rows are for training, and which are held out."""
        rows = cast("Sequence[Row]", self.rows)
        keys = (key_of(self.name, messages_of(rows[i].get("prompt"), f"row {i}")) for i in range(len(rows)))
        dealt: tuple[list[int], list[int]] = ([], [])
        for number, key in enumerate(keys):
            dealt[held_out(self.name, key)].append(number)
        return dealt

    def _indices(self, split: str) -> Sequence[int]:
        if isinstance(self.rows, Mapping):
            return range(len(self.rows[split])) if split in self.rows else ()
        return self._dealt[split == TEST]

    def size(self, split: str) -> int:
        """Returns how many rows a split has; 0 where there is no such split."""
        return len(self._indices(split))

    def source(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a row as a problem; its other columns are facts.

        Raises:
            TaskError: the row has no prompt of text, or columns that are no plain data.
        """
        number = self._indices(split)[index]
        row = (self.rows[split] if isinstance(self.rows, Mapping) else self.rows)[number]
        where = f"row {number} of {split!r}"
        prompt = messages_of(row.get("prompt"), where)
        columns = plain({name: value for name, value in row.items() if name != "prompt"}, where)
        facts = {"columns": columns, "chat": not isinstance(row["prompt"], str)}
        return Problem(self.name, key_of(self.name, prompt), prompt, self._answer(row, where), facts)

    def _answer(self, row: Row, where: str) -> str:
        if self.answer is None:
            return ""
        found = row.get(self.answer) if isinstance(self.answer, str) else self.answer(row)
        if not isinstance(found, str):
            message = f"the right answer of {where} is a text: received {found!r:.80} for {self.answer!r}"
            raise TaskError(message)
        return found
