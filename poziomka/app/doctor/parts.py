"""Inputs of the doctor's checks: the components that a recipe builds, and a few rollouts sampled with them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from poziomka.app.settings.recipe import Recipe
from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Group, Rollout, rewards_of
from poziomka.core.rollouts.collect import collect
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler, WeightHost
from poziomka.core.task import Task, asked
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.learner import Learner
from poziomka.learning.loops.rl import RLSettings
from poziomka.learning.monitoring.consistency import Precision, precision_of
from poziomka.learning.samples.advantages import Advantages, advantage_named, informative
from poziomka.learning.samples.weighting import Example, policy_examples
from poziomka.models.base import Architecture
from poziomka.models.text.chat import ChatFormat

PROBLEMS, ATTEMPTS = 8, 4  # largest number of sampled problems, and of attempts at each
SAMPLED = 8192  # token budget of the sampled rollouts; two problems at least
LEARNED = 2048  # approximate number of tokens of a test step


@dataclass(frozen=True)
class Parts:
    """Components to examine.

    Attributes:
        task: problems and scorer.
        chat: chat format, which tokenizes spans.
        model: the model to train.
        sampler: sampler with its own copy of the weights.
        learner: learner of the model.
        settings: settings of the rl stage to examine.
        warmed: whether the rl stage starts with the weights of `model`, without another stage before it.
        recipe: recipe of the components; None skips the checks that need one.
        collect: function that samples and scores groups; see `core.rollouts.collect.collect`.
        weigh: function that assigns policy weights to tokens; see `policy_examples`.
    """

    task: Task
    chat: ChatFormat
    model: Architecture
    sampler: Sampler
    learner: Learner
    settings: RLSettings
    warmed: bool = True
    recipe: Recipe | None = None
    collect: Callable[..., list[Group]] = collect
    weigh: Callable[..., list[Example]] = policy_examples

    @property
    def host(self) -> WeightHost:
        """The sampler as the host of the weights that the learner publishes.

        Raises:
            SettingsError: the sampler cannot load weights.
        """
        if isinstance(self.sampler, WeightHost):
            return self.sampler
        message = f"{type(self.sampler).__name__} cannot load new weights: give a sampler that is a WeightHost"
        raise SettingsError(message)

    @property
    def precision(self) -> Precision:
        """The coarser precision of model and sampler, which determines the bounds of the checks."""
        return precision_of(self.model, self.sampler)


class Bench:
    """The components that the doctor examines, with a few rollouts sampled on first use.

    Args:
        parts: components to examine.

    Attributes:
        seconds: measured seconds of "sampling" and "learning", for the estimate of a step.
    """

    def __init__(self, parts: Parts) -> None:
        """Samples nothing yet."""
        self.parts = parts
        self.seconds: dict[str, float] = {}

    @cached_property
    def problems(self) -> list[Problem]:
        """The first problems of the training split, 2 to 8 of them."""
        settings, task = self.parts.settings, self.parts.task
        count = max(2, min(PROBLEMS, settings.prompts_per_step, SAMPLED // (self.attempts * settings.max_tokens)))
        return task.take("train", 0, count)

    @property
    def prompts(self) -> list[Transcript]:
        """The initial transcripts of `problems`: their prompts, with the tools that the model can call."""
        return [asked(self.parts.task, problem) for problem in self.problems]

    @property
    def attempts(self) -> int:
        """Number of attempts at each problem, at most 4."""
        return min(ATTEMPTS, self.parts.settings.group_size)

    @cached_property
    def groups(self) -> list[Group]:
        """Scored groups of attempts at `problems`, sampled with the recipe's settings."""
        parts, began = self.parts, time.perf_counter()
        with Scoring(parts.task, parts.settings.scorer_seconds) as scoring:
            how = {"attempts": self.attempts, "name": "doctor", "scoring": scoring}
            groups = parts.collect(parts.sampler, parts.task, self.problems, parts.settings.sampling, **how)
        self.seconds["sampling"] = time.perf_counter() - began
        return groups

    @property
    def rollouts(self) -> list[Rollout]:
        """Rollouts of all groups."""
        return [rollout for group in self.groups for rollout in group]

    @cached_property
    def mixed(self) -> list[Group]:
        """The groups; where the rewards of a group are all equal, artificial scores (right, wrong, …) replace them."""
        return [group if informative(group) else _in_turn(group) for group in self.groups]

    @property
    def artificial(self) -> bool:
        """Whether any group of `mixed` has artificial rewards."""
        return any(not informative(group) for group in self.groups)

    @cached_property
    def few(self) -> list[Group]:
        """Groups of `mixed` for a test step of about 2048 tokens, at least two attempts with different rewards."""
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
        """Returns the advantage of each rollout of the groups, by the recipe's advantage estimator."""
        return advantage_named(self.parts.settings.advantage)(groups)

    def examples(self, groups: Sequence[Group], advantages: Advantages) -> list[Example]:
        """Returns the rollouts of groups as training sequences, with a policy weight on each token.

        Args:
            groups: groups of rollouts.
            advantages: the advantage of each rollout, by group.
        """
        return self.parts.weigh(groups, advantages, self.parts.settings.aggregation, self.parts.settings.max_tokens)


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
    """Returns the indices of the MODEL tokens in the first branch of a rollout."""
    return [place for place, own in enumerate(rollout.transcript.by(Author.MODEL)) if own]
