"""Sampling of demonstrations for supervised warm starts.

The thought of a demonstration may call a tool. The task's environment then answers it as it would answer the model; its
reply has the author ENVIRONMENT, and a warm start does not train on it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from random import Random

from poziomka.core.environment import Session, close, goes_on, reply_of, session_of, stops_of
from poziomka.core.errors import EnvironmentFailure, ModelError, ProblemError, SettingsError, TaskError
from poziomka.core.problem import Problem
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.safety.failures import failures_of
from poziomka.core.seeds import random_of
from poziomka.core.settings import setting
from poziomka.core.task import Task, environment_of
from poziomka.core.transcript import THINK, Author, Span, Transcript, compact
from poziomka.learning.curriculum.levels import SPLIT, of_levels
from poziomka.models.text.chat import ChatFormat

MOST_LEFT_OUT = 1000  # unusable demonstrations in a row after which a warm start raises
REASONS = 5  # most frequent reasons that `Lessons.notes` lists


@dataclass(frozen=True, kw_only=True)
class LessonSettings:
    """Settings of the demonstrations of a warm start: first written-out solutions, then mostly direct answers."""

    tokens_per_step: int = setting(1000, "tokens of demonstrations per step", low=1)
    skill_share: float = setting(
        0.8, "share of the steps, from the first, in which all demonstrations have a thought", low=0.0, high=1.0
    )
    grow_share: float = setting(0.6, "share of those steps in which the highest level rises", low=0.0, high=1.0)
    direct_share: float = setting(
        0.85, "share of demonstrations without a thought in the remaining steps", low=0.0, high=1.0
    )
    cutoff_prob: float = setting(
        0.0, "probability, per word in the remaining steps, that a thought is cut off", low=0.0, high=1.0
    )
    levels: tuple[int, ...] | None = setting(
        None, "lowest and highest level of the demonstrations; none: those of training"
    )

    def __post_init__(self) -> None:
        """Raises SettingsError unless `levels` is None or a lowest and a highest level."""
        if self.levels is not None and (len(self.levels) != 2 or self.levels[0] > self.levels[1]):
            message = f"lessons.levels must be two numbers, the lowest and the highest: received {list(self.levels)}"
            raise SettingsError(message)


def demonstrated(task: Task, settings: LessonSettings) -> tuple[Task, Callable[[Problem], tuple[str, str]]]:
    """Returns a task restricted to the settings' levels, and its function that demonstrates a problem's solution.

    The function returns (thought, answer).

    Raises:
        TaskError: the task has no written-out solutions, or no problem of these levels.
    """
    if task.demonstration is None:
        message = (
            f"a stage of kind sft needs a task with demonstrations: {task.name!r} has none; leave the stage out, or "
            "set its steps to 0"
        )
        raise TaskError(message)
    return (task if settings.levels is None else of_levels(task, *settings.levels)), task.demonstration


class Lessons:
    """Draws the demonstrations for each update of a warm start; the seed and the update's number determine them.

    A demonstration is skipped, and another is drawn, if it is longer than the context, the chat format cannot tokenize
    it, the task cannot return it, or its environment fails.

    Args:
        task: a task with demonstrations.
        chat: chat format that tokenizes them.
        settings: number, kind and levels of the demonstrations.
        seed: seed of the draws.
        context: largest number of tokens of a demonstration; None for no limit.

    Attributes:
        left_out: number of skipped demonstrations by reason.

    Raises:
        TaskError: the task has no written-out solutions, or no problem of the settings' levels.
    """

    def __init__(
        self, task: Task, chat: ChatFormat, settings: LessonSettings, seed: int, context: int | None = None
    ) -> None:
        """Draws nothing yet."""
        self.task, self.demonstration = demonstrated(task, settings)
        self.chat, self.settings, self.seed, self.context = chat, settings, seed, context
        self.left_out: Counter[str] = Counter()

    @property
    def notes(self) -> list[str]:
        """Sentences about skipped demonstrations: one for each of the most frequent reasons, one for all others."""
        said = [f"{count} demonstrations were left out: {why}" for why, count in self.left_out.most_common(REASONS)]
        others = self.left_out.total() - sum(count for _, count in self.left_out.most_common(REASONS))
        return said + [f"{others} demonstrations were left out for other reasons"] * (others > 0)

    def at(self, update: int, updates: int) -> list[Transcript]:
        """Returns the demonstrations of one update, at least `settings.tokens_per_step` tokens of them.

        Args:
            update: number of the update, 1 to `updates`.
            updates: number of updates of the warm start.

        Raises:
            TaskError: 1,000 (MOST_LEFT_OUT) demonstrations in a row were skipped.
        """
        progress = (update - 1) / updates
        skill = progress < self.settings.skill_share
        grown = progress / max(self.settings.skill_share * self.settings.grow_share, 1e-9)
        lessons: list[Transcript] = []
        tokens = draws = shown = 0
        while tokens < self.settings.tokens_per_step:
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
        """Returns a tokenized demonstration; None if it cannot be drawn or used, which `left_out` then counts."""
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
        """Returns (thought, answer) of the task's demonstration of a problem.

        Raises:
            ProblemError: the demonstration raised, or is not two texts.
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
        """Returns the tokenized demonstration, with the environment's replies to its tool calls."""
        environment, prompt = environment_of(self.task, problem)
        if environment is None or not any(stop in thought for stop in stops_of(environment)):
            return self.chat.demonstrate(prompt, thought, answer)
        session, stop = session_of(environment, problem)
        try:
            begun, thought = wait_for(_answered(self.chat, stop, session, self.chat.read(prompt), thought))
        except BaseException:
            with suppress(EnvironmentFailure):  # the first failure is recorded
                close(session)
            raise
        close(session)
        return self.chat.demonstrate(begun, thought, answer)

    def _hurried(self, thought: str, random: Random) -> str:
        """Returns "" with probability `direct_share`, else the thought, cut at each word with `cutoff_prob`."""
        if random.random() < self.settings.direct_share:
            return ""
        if not self.settings.cutoff_prob:
            return thought
        return " ".join(takewhile(lambda _: random.random() >= self.settings.cutoff_prob, thought.split()))

    def _level(self, grown: float, draw: float) -> int | None:
        """Returns a log-uniform level up to a top that grows from the lowest to the highest level; None without levels.

        Args:
            grown: how far the top has grown, 0 to 1.
            draw: uniform random number, 0 to 1.
        """
        if self.task.levels is None:
            return None
        low, high = max(1, self.task.levels[0]), self.task.levels[1]  # the logarithm needs a level of at least 1
        top = low + (high - low) * grown
        return min(high, int(low * ((top + 1) / low) ** draw))


async def _answered(
    chat: ChatFormat, stop: Sequence[str], session: Session, begun: Transcript, thought: str
) -> tuple[Transcript, str]:
    """Runs the tool calls in a thought; returns the transcript up to the last reply, and the rest of the thought.

    Each span is tokenized by itself, as in sampling.
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
