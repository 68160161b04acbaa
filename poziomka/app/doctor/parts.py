"""What the doctor examines: the parts that a recipe builds, and a few rollouts that they made."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from poziomka.app.settings.recipe import Recipe
from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Group, Rollout, rewards_of
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler
from poziomka.core.task import Task, asked
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.learner import Learner
from poziomka.learning.loops.rl import ReinforceSettings
from poziomka.learning.monitoring.consistency import Precision, precision_of
from poziomka.learning.samples.advantages import Advantages, advantage_named, informative
from poziomka.learning.samples.weighting import Example, policy_examples
from poziomka.models.base import Architecture
from poziomka.models.text.chat import ChatFormat

PROBLEMS, ATTEMPTS = 8, 4  # of the rollouts that are looked at
SAMPLED = 8192  # most tokens of these
LEARNED = 2048  # about as many tokens are learned from in a rehearsed step


@dataclass(frozen=True)
class Parts:
    """What a recipe builds.

    Attributes:
        task: problems and scorer.
        chat: where spans get their tokens.
        model: the weights that learn.
        sampler: writes the rollouts, with weights of its own.
        learner: turns a batch into a step.
        settings: of the reinforcement.
        warmed: whether `model` is what reinforcement begins with, no warm start before it.
        recipe: what they were built from; None where no recipe built them, which leaves its checks out.
        collect: makes judged groups.
        weigh: puts weights on tokens.
    """

    task: Task
    chat: ChatFormat
    model: Architecture
    sampler: Sampler
    learner: Learner
    settings: ReinforceSettings
    warmed: bool = True
    recipe: Recipe | None = None
    collect: Callable[..., list[Group]] = collect
    weigh: Callable[..., list[Example]] = policy_examples

    @property
    def precision(self) -> Precision:
        """What model and sampler compute in, the coarser of the two; the bounds of the checks depend on it."""
        return precision_of(self.model, self.sampler)


class Bench:
    """A few rollouts by the parts, made when first asked for."""

    def __init__(self, parts: Parts) -> None:
        """Samples nothing yet."""
        self.parts = parts
        self.seconds: dict[str, float] = {}  # what took how long, for the estimate of a step

    @cached_property
    def problems(self) -> list[Problem]:
        """The first problems of the training split."""
        settings, task = self.parts.settings, self.parts.task
        count = max(2, min(PROBLEMS, settings.problems, SAMPLED // (self.attempts * settings.tokens)))
        return task.take("train", 0, count)

    @property
    def prompts(self) -> list[Transcript]:
        """What the sampler reads of these problems: their prompts, with the tools that the model can call."""
        return [asked(self.parts.task, problem) for problem in self.problems]

    @property
    def attempts(self) -> int:
        """Rollouts a problem."""
        return min(ATTEMPTS, self.parts.settings.attempts)

    @cached_property
    def groups(self) -> list[Group]:
        """Judged groups, as the recipe would sample them."""
        parts, began = self.parts, time.perf_counter()
        with Scoring(parts.task, parts.settings.scorer_seconds) as scoring:
            how = {"attempts": self.attempts, "name": "doctor", "scoring": scoring}
            groups = parts.collect(parts.sampler, parts.task, self.problems, parts.settings.sampling, **how)
        self.seconds["sampling"] = time.perf_counter() - began
        return groups

    @property
    def rollouts(self) -> list[Rollout]:
        """All rollouts."""
        return [rollout for group in self.groups for rollout in group]

    @cached_property
    def mixed(self) -> list[Group]:
        """The groups, with rewards of right and wrong in turn where the scorer's own rewards do not differ."""
        return [group if informative(group) else _in_turn(group) for group in self.groups]

    @property
    def artificial(self) -> bool:
        """Whether any group of `mixed` has rewards that no scorer gave."""
        return any(not informative(group) for group in self.groups)

    @cached_property
    def few(self) -> list[Group]:
        """As many groups of `mixed` as a rehearsed step takes, two attempts with different rewards at the least."""
        chosen: list[Group] = []
        tokens = 0
        for group in self.mixed:
            size = sum(len(rollout.transcript) for rollout in group)
            if chosen and tokens + size > LEARNED:
                break
            chosen.append(group if size <= LEARNED else _two(group))
            tokens += size
        return chosen

    def advantages(self, groups: Sequence[Group]) -> Advantages:
        """Returns what the recipe's estimator makes of the rewards."""
        return advantage_named(self.parts.settings.advantage)(groups)

    def examples(self, groups: Sequence[Group], advantages: Advantages) -> list[Example]:
        """Returns the weights that the recipe puts on tokens."""
        return self.parts.weigh(groups, advantages, self.parts.settings.aggregation, self.parts.settings.tokens)


def _in_turn(group: Group) -> Group:
    scores = (Score.right("", "artificial"), Score.wrong("", "artificial"))
    return [_scored(rollout, scores[number % 2]) for number, rollout in enumerate(group)]


def _scored(rollout: Rollout, score: Score) -> Rollout:
    first, *others = rollout.branches
    return replace(rollout, branches=(replace(first, score=score), *others))


def _two(group: Group) -> Group:
    """Returns the shortest attempt of the highest reward, and the shortest of the lowest."""
    rewards = rewards_of(group)
    ends = [[r for r in group if r.score.reward == reward] for reward in (max(rewards), min(rewards))]
    return [min(some, key=lambda rollout: len(rollout.transcript)) for some in ends]


def own_tokens(rollout: Rollout) -> list[int]:
    """Returns the places of the tokens that the model wrote, in the first branch."""
    return [place for place, own in enumerate(rollout.transcript.by(Author.MODEL)) if own]
