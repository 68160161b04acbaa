"""Which demonstrations a model is warmed up on.

A thought that is shown may call a tool: then the task's environment answers, as it would answer the model, and what it
says is by ENVIRONMENT, which a warm start does not learn from.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from random import Random

from poziomka.core.answers import THINK
from poziomka.core.collect import wait_for
from poziomka.core.environment import Session, close, environment_of, goes_on, reply_of, session_of, stops_of
from poziomka.core.errors import EnvironmentFailure, ModelError, ProblemError, SettingsError, TaskError
from poziomka.core.failures import failures_of
from poziomka.core.problem import Problem, Task
from poziomka.core.seeds import random_of
from poziomka.core.settings import setting
from poziomka.core.transcript import Author, Span, Transcript, compact
from poziomka.learning.levels import SPLIT, of_levels
from poziomka.models.chat import ChatFormat

MOST_LEFT_OUT = 1000  # demonstrations in a row that cannot be shown before a warm start gives up
REASONS = 5  # that notes name


@dataclass(frozen=True, kw_only=True)
class LessonSettings:
    """What a warm start shows: first the skill, written out, then mostly direct answers."""

    tokens: int = setting(1000, "tokens of demonstrations in an update", low=1)
    skill_share: float = setting(0.8, "first share of the updates: all written out", low=0.0, high=1.0)
    grow_share: float = setting(0.6, "share of those over which the highest level grows to its end", low=0.0, high=1.0)
    direct_share: float = setting(0.85, "share of direct answers in the updates after", low=0.0, high=1.0)
    haste: float = setting(
        0.0, "chance, in the updates after, that a thought breaks off, at each of its words", low=0.0, high=1.0
    )
    levels: tuple[int, ...] | None = setting(
        None, "lowest and highest level of the demonstrations; none: those that are trained on"
    )

    def __post_init__(self) -> None:
        """Checks that levels are a lowest and a highest."""
        if self.levels is not None and (len(self.levels) != 2 or self.levels[0] > self.levels[1]):
            message = f"lessons.levels must be two numbers, the lowest and the highest: received {list(self.levels)}"
            raise SettingsError(message)


class Lessons:
    """Demonstrations for each update, named by seed and update.

    One that is longer than the context, that the chat format cannot read, that the task cannot give, or whose
    environment fails is left out, and another drawn.

    Args:
        task: with demonstrations.
        chat: gives them tokens.
        settings: which of them.
        seed: names the draws.
        context: most tokens of one; None for any number.

    Attributes:
        left_out: how many were left out, by the reason.

    Raises:
        TaskError: the task has no written-out solutions, or no problem of the settings' levels.
    """

    def __init__(
        self, task: Task, chat: ChatFormat, settings: LessonSettings, seed: int, context: int | None = None
    ) -> None:
        """Remembers what to show."""
        if task.demonstration is None:
            message = f"a warm start needs a task with demonstrations: {task.name!r} has none"
            raise TaskError(message)
        self.task = task if settings.levels is None else of_levels(task, *settings.levels)
        self.chat, self.settings, self.seed, self.context = chat, settings, seed, context
        self.left_out: Counter[str] = Counter()
        self.demonstration = task.demonstration

    @property
    def notes(self) -> list[str]:
        """Sentences about what was left out: for the most frequent reasons, and how many there were besides."""
        said = [f"{count} demonstrations were left out: {why}" for why, count in self.left_out.most_common(REASONS)]
        others = self.left_out.total() - sum(count for _, count in self.left_out.most_common(REASONS))
        return said + [f"{others} demonstrations were left out for other reasons"] * (others > 0)

    def at(self, update: int, updates: int) -> list[Transcript]:
        """Returns the demonstrations of 1 ≤ `update` ≤ `updates`.

        Raises:
            TaskError: MOST_LEFT_OUT of them in a row cannot be shown.
        """
        progress = (update - 1) / updates
        skill = progress < self.settings.skill_share
        grown = progress / max(self.settings.skill_share * self.settings.grow_share, 1e-9)
        lessons: list[Transcript] = []
        tokens = draws = shown = 0
        while tokens < self.settings.tokens:
            random = random_of("lesson", self.seed, update, draws)
            draws += 1
            level = self._level(min(1.0, grown), random.random())
            lesson = self._lesson(random, level, skill=skill)
            if lesson is not None:
                lessons.append(lesson)
                tokens, shown = tokens + len(lesson), draws
            elif draws - shown >= MOST_LEFT_OUT:
                message = f"no demonstration of task {self.task.name!r} can be shown: {self.notes[0]}"
                raise TaskError(message)
        return lessons

    def _lesson(self, random: Random, level: int | None, *, skill: bool) -> Transcript | None:
        """Returns a demonstration with tokens; None where it cannot be drawn or shown."""
        index = random.getrandbits(40) % (self.task.count(SPLIT) or 2**40)
        try:
            problem = self.task.problem(SPLIT, index, level)
            thought, answer = self._demonstrated(problem)
            lesson = self._shown(problem, thought if skill else self._hurried(thought, random), answer)
        except (ModelError, EnvironmentFailure, ProblemError) as error:
            self.left_out[f"{type(error).__name__}: {error}"[:200]] += 1
            return None
        if self.context is not None and len(lesson) > self.context:
            self.left_out[f"they are longer than the context of {self.context} tokens"] += 1
            return None
        return lesson

    def _demonstrated(self, problem: Problem) -> tuple[str, str]:
        """Returns thought and answer as the task writes them out.

        Raises:
            ProblemError: it cannot.
        """
        with failures_of(f"the demonstration of task {self.task.name!r}", ProblemError):
            thought, answer = self.demonstration(problem)
        if not all(isinstance(text, str) for text in (thought, answer)):
            received = f"{type(thought).__name__} and {type(answer).__name__}"
            message = (
                f"the demonstration of task {self.task.name!r} is two texts, thought and answer: received {received}"
            )
            raise ProblemError(message)
        return thought, answer

    def _shown(self, problem: Problem, thought: str, answer: str) -> Transcript:
        """Returns the demonstration with tokens, its calls answered."""
        environment, prompt = environment_of(self.task, problem)
        if environment is None or not any(stop in thought for stop in stops_of(environment)):
            return self.chat.demonstrate(prompt, thought, answer)
        session, stop = session_of(environment, problem)
        try:
            begun, thought = wait_for(_answered(self.chat, stop, session, self.chat.read(prompt), thought))
        except BaseException:
            with suppress(EnvironmentFailure):  # the first failure is the one to record
                close(session)
            raise
        close(session)
        return self.chat.demonstrate(begun, thought, answer)

    def _hurried(self, thought: str, random: Random) -> str:
        """Returns a thought that is left out or breaks off, as often as the settings say."""
        if random.random() < self.settings.direct_share:
            return ""
        if not self.settings.haste:
            return thought
        return " ".join(takewhile(lambda _: random.random() >= self.settings.haste, thought.split()))

    def _level(self, grown: float, draw: float) -> int | None:
        """Returns a level, log-uniform up to a top that has `grown` from the lowest to the highest."""
        if self.task.levels is None:
            return None
        low, high = max(1, self.task.levels[0]), self.task.levels[1]  # a logarithm begins at 1
        top = low + (high - low) * grown
        return min(high, int(low * ((top + 1) / low) ** draw))


async def _answered(
    chat: ChatFormat, stop: Sequence[str], session: Session, begun: Transcript, thought: str
) -> tuple[Transcript, str]:
    """Returns a reply up to the environment's last answer, and what is left of the thought.

    Every span is read by itself, as it is when the model writes.
    """
    place = 0
    while stops := [found + len(each) for each in stop if (found := thought.find(each, place)) >= 0]:
        place = min(stops)
        said, rest = thought[:place], thought[place:]
        opening = () if THINK in begun.reply else chat.tokenizer.think
        tokens = [*opening, *chat.tokenizer.encode(said)]
        longer = begun + Span(Author.TEACHER, chat.tokenizer.decode(tokens), compact(tokens))
        own = [replace(span, author=Author.MODEL) if span.author is Author.TEACHER else span for span in longer]
        if goes_on(session, replace(longer, spans=tuple(own))):
            continue
        reply = await reply_of(session, replace(longer, spans=tuple(own)))
        if reply is None:
            break
        answers = (reply.span, *reply.more)
        begun, thought, place = chat.read(longer + answers), rest, 0
    return begun, thought
