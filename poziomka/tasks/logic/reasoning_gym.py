"""Tasks of the package reasoning-gym: a hundred generators of problems (Stojanovski et al. 2025, arXiv 2505.24760).

`reasoning_gym("chain_sum")` is the task named reasoning_gym:chain_sum. The package generates the questions. This
project adds

- the randomness: a problem's seed is a hash of its name, so that neighbours share nothing (reasoning/drawing.py),
- the splits: a hash of a problem's kind, usually its question, decides the split (here),
- the levels: steps of the package's curricula (reasoning/levels.py),
- the scorers: 1 for a right answer and else 0, by a rule for each data set (reasoning/scoring_table.py),
- and filters, which leave out problems for which the package's answer is wrong (reasoning/item_filters.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from poziomka.core.errors import TaskError, nearest
from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.tasks.logic.reasoning.checks.answer_parsers import Unread
from poziomka.tasks.logic.reasoning.drawing import draw
from poziomka.tasks.logic.reasoning.item_filters import SOUND
from poziomka.tasks.logic.reasoning.levels import LONGEST, steps_of
from poziomka.tasks.logic.reasoning.ruling import Item, Ruling
from poziomka.tasks.logic.reasoning.scoring_table import LEFT_OUT, RULINGS
from poziomka.tasks.reasoning_gym_package import installed, registry

HELD_OUT = 4  # one kind of problem in this many belongs to the test split
TRIES = 400  # most draws until a problem of the split is found
LISTED = 2500  # draws that list a finite data set
SPARE = 64  # an answer may have twice the characters of the gold answer and this many more


class Unsound(ValueError):
    """Raised for a problem of reasoning-gym that must not be used; the message gives the reason."""


def datasets() -> list[str]:
    """Returns the names of reasoning-gym's data sets that are tasks; [] if the package is not installed."""
    return sorted(RULINGS) if installed() else []


def is_test(name: str, kind: str) -> bool:
    """Whether problems of a kind belong to the test split, which has one kind in 4.

    Args:
        name: name of the data set.
        kind: the text that problems of one kind share, usually the question; no two splits share a kind.
    """
    return seed_of("reasoning_gym", name, "kind", kind) % HELD_OUT == 0


@dataclass(frozen=True)
class Generator:
    """Draws and scores the problems of one data set of reasoning-gym.

    Attributes:
        name: name of the data set.
        ruling: rules for scoring its answers.
    """

    name: str
    ruling: Ruling

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The steps of the data set's curriculum that are used as levels, lowest first; () if it has no levels."""
        return steps_of(self.name)

    @cached_property
    def listed(self) -> Mapping[bool, list[Problem]]:
        """The distinct problems of a finite data set: those of the test split under True, the others under False."""
        found: dict[str, tuple[Problem, bool]] = {}
        for number in range(LISTED):
            try:
                problem, test = self.drawn(None, "listed", number)
            except Unsound:
                continue
            found.setdefault(problem.key, (problem, test))
        return {split: [problem for problem, test in found.values() if test is split] for split in (False, True)}

    def count(self, split: str) -> int:
        """Returns the number of problems in a split of a finite data set."""
        return len(self.listed[split == "test"])

    def source(self, split: str, index: int, level: int | None = None) -> Problem:
        """Returns a problem of a split (a task's source).

        Args:
            split: name of the split.
            index: from 0.
            level: from 1; `level=None` draws it uniformly.

        Raises:
            TaskError: 400 draws gave no problem of the split.
        """
        if self.ruling.finite:
            return self.listed[split == "test"][index]
        trouble = ""
        for attempt in range(TRIES):
            asked = level
            if asked is None and self.steps:
                asked = random_of("reasoning_gym", self.name, split, index, attempt).randint(1, len(self.steps))
            try:
                problem, test = self.drawn(asked, split, index, attempt)
            except Unsound as error:
                trouble = f"; one was not asked: {error}"
                continue
            if test is (split == "test"):
                return problem
        at = "" if level is None else f" at level {level}"
        message = f"split {split!r} of reasoning_gym:{self.name} is exhausted{at}: none of {TRIES} problems{trouble}"
        raise TaskError(message)

    def drawn(self, level: int | None, *names: str | int) -> tuple[Problem, bool]:
        """Draws a problem, and returns it with whether it belongs to the test split.

        Args:
            level: from 1; None if the data set has no levels.
            *names: the values that its seed is a hash of, such as split and index.

        Raises:
            Unsound: the package raised, or the problem must not be used.
        """
        step = None if level is None else self.steps[level - 1]
        try:
            item = draw(self.name, step, seed_of("reasoning_gym", self.name, *names, level or 0))
            self._check(item)
        except TaskError:
            raise
        except Exception as error:  # the package documents no exceptions
            message = f"{type(error).__name__}: {error}"
            raise Unsound(message) from error
        problem = self.asked(item, level or 0)
        return problem, is_test(self.name, item["question"] if self.ruling.kind is None else self.kind(problem))

    def _check(self, item: Item) -> None:
        """Raises Unsound for an item that must not be used; replaces the gold answer where the ruling has its own."""
        ruling = self.ruling
        if ruling.gold is not None:
            item["answer"] = ruling.gold(item)
        if self.name in SOUND and (trouble := SOUND[self.name](item)):
            raise Unsound(trouble)
        if ruling.form is not None:
            ruling.form(item["answer"])
        if len(item["question"]) + len(item["answer"] or "") > LONGEST:
            message = f"it has more than {LONGEST} characters"
            raise Unsound(message)

    def kind(self, problem: Problem) -> str:
        """Returns the text that problems of different splits never share: the question, or the text it disguises."""
        return problem.prompt[-1].content if self.ruling.kind is None else self.ruling.kind(problem)

    def asked(self, item: Item, level: int = 0) -> Problem:
        """Converts an item of reasoning-gym (question, answer, metadata) into a problem."""
        question, ruling = item["question"].strip(), self.ruling
        gold = "" if ruling.example is not None else item["answer"].strip()
        key = f"{seed_of('reasoning_gym', self.name, question, gold):016x}"
        facts = {} if ruling.facts is None else plain(ruling.facts(item))
        prompt = f"{question}\n\n{ruling.more}" if ruling.more else question
        return Problem(prompt, gold, task=self.task, key=key, facts=facts, level=level)

    @property
    def task(self) -> str:
        """Name of the task, "reasoning_gym:NAME"."""
        return f"reasoning_gym:{self.name}"

    def scorer(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns reward 1 if the whole answer after the thought is right by the data set's ruling."""
        answer = transcript.answer
        if not answer:
            return Score.unparsed("the thought never ended, or nothing follows it")
        gold = problem.answer or str(problem.facts.get("example", ""))
        longest = 2 * len(gold) + SPARE if self.ruling.judge is None else self.ruling.longest
        if len(answer) > longest:
            return Score.unparsed(f"the answer has {len(answer)} characters, where {longest} are enough")
        try:
            trouble = self._trouble(problem.facts, gold, answer)
        except Unread as error:
            return Score.unparsed(str(error))
        return Score.wrong(answer, trouble) if trouble else Score.right(answer, "the answer is right")

    def _trouble(self, facts: Mapping[str, Any], gold: str, answer: str) -> str:
        if self.ruling.judge is not None:
            return self.ruling.judge(facts, answer)
        form = self.ruling.form
        assert form is not None, "a ruling has a judge or a form"
        return "" if form(answer) == form(gold) else f"the answer is not {gold[:200]!r}"

    def read(self, transcript: Transcript) -> str | None:
        """Returns an answer for votes, in the normal form of a data set with one right answer; None if it has none."""
        answer, form = transcript.answer, self.ruling.form
        if form is None:
            return answer or None
        try:
            return repr(form(answer)) if answer else None
        except Unread:
            return None

    def example(self, problem: Problem) -> tuple[str, str]:
        """Returns an empty thought and a right answer, for data sets with many right answers."""
        assert self.ruling.example is not None, "only rulings where many answers are right have examples"
        return "", self.ruling.example(problem.facts)

    def mistakes(self, problem: Problem) -> Mapping[str, str]:
        """Returns one answer that is certainly wrong, keyed by its fault, for data sets with many right answers."""
        assert self.ruling.mistake is not None, "only rulings where many answers are right have mistakes"
        return {"a right answer, spoilt": self.ruling.mistake(problem.facts, self.example(problem)[1])}


def plain(value: Any) -> Any:
    """Returns a value as JSON data: numpy numbers become Python numbers, and tuples and sets become lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    return value.item() if hasattr(value, "item") else value


def reasoning_gym(name: str) -> Task:
    """Task of a data set of the package reasoning-gym, by its name there: "chain_sum", "sudoku" and a hundred more.

    Args:
        name: name of the data set.

    Raises:
        TaskError: the package is not installed, has no such data set, or the data set is left out; the message gives
            the reason.
    """
    if name in LEFT_OUT:
        message = f"reasoning_gym:{name} is no task: {LEFT_OUT[name]}"
        raise TaskError(message)
    if name not in RULINGS:
        message = f"reasoning_gym has no data set {name!r}{nearest(name, RULINGS)}"
        raise TaskError(message)
    known, _ = registry()
    if name not in known:
        message = f"the package reasoning-gym that is installed has no data set {name!r}: install a later one"
        raise TaskError(message)
    ruling = RULINGS[name]
    generator = Generator(name, ruling)
    many = ruling.example is not None
    return Task(
        generator.task,
        generator.source,
        generator.scorer,
        size=generator.count if ruling.finite else None,
        levels=(1, len(generator.steps)) if generator.steps else None,
        trusted=ruling.judge is None,
        demonstration=generator.example if many else None,
        mistakes=generator.mistakes if many else None,
        limits=(*LIMITS, *((EXAMPLES,) if many else ())),
        kind=generator.kind,
        read=generator.read,
    )


SHARED = (
    "Held-out problems share no question with training; of hidden texts no text, of ARC no task, of given numbers no "
    "set. All patterns occur in training, and a question in other words, names or order may be in two splits."
)
LIMITS = (
    "Questions and answers are the package's; those known to be wrong are not asked, the others are taken as they are.",
    SHARED,
)
EXAMPLES = "The demonstration is one of many right answers, and has no thought."
