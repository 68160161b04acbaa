"""Recursive self-aggregation: a population of replies, of which the model merges random subsets, round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.problem import Problem
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import random_of, seed_of
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import AnswerReader, Transcript
from poziomka.thinking.ensemble import Ensemble, Member, asked_with, written_out
from poziomka.thinking.majority import answers_of, elected, votes_of

AGGREGATOR = "aggregator"  # role of the branches that merge earlier ones
Ask = Callable[[Sequence[Transcript]], str]
Pick = Literal["majority", "random"]
Learn = Literal["all", "merges"]


def merge(attempts: Sequence[Transcript]) -> str:
    """Returns the request to merge attempts at a problem into a better one, which quotes them in order."""
    quoted = "\n\n".join(f"Attempt {number}:\n{written_out(reply)}" for number, reply in enumerate(attempts, 1))
    return (
        "Here is what was tried at this problem. Each attempt may be wrong, in part or as a whole. Keep the steps that "
        "you can confirm, correct the mistakes, and solve the problem again from its beginning. End with the answer in "
        f"the form that the problem asks for.\n\n{quoted}"
    )


@dataclass(frozen=True)
class SelfAggregation(Strategy):
    """Recursive self-aggregation (RSA): the model merges random subsets of its own replies, round by round.

    Venkatraman et al. 2025 (arXiv 2509.26626), algorithm 1. The first population are `population` independent replies.
    In each round, each new member is a reply to the prompt with `subset` members of the population before, which are
    drawn without replacement. With a subset of one it is parallel self-refinement. Branches of rounds have the role
    "aggregator", so that training compares them with one another. Each reply has the scorer's reward; a model that is
    trained so learns to merge (aggregation-aware reinforcement learning, section 4 of the paper, which samples the
    replies to merge beforehand; here the policy in training samples them).

    Attributes:
        population: number of members of each population, 1 or more.
        subset: number of members that a new one merges, 1 to `population`; if fewer did not fail, all of them.
        rounds: number of rounds of merging, 0 or more; the paper's T counts the first population too.
        pick: member of the last population that answers: one with the most frequent answer, or a random one.
        read: reader of answers for the vote, as that of `Majority`.
        learn: replies that training learns from: all, or merges, all but the first population.
        ask: function from the drawn replies to the text that is added to the prompt; a model with a small vocabulary
            needs one of its own.
        inner: strategy that makes all replies.

    Raises:
        SettingsError: a number is out of range, or `pick` or `learn` is unknown.
    """

    population: int
    subset: int = 4
    rounds: int = 2
    pick: Pick = "majority"
    read: AnswerReader | None = None
    learn: Learn = "all"
    ask: Ask = merge
    inner: Strategy = SINGLE_REPLY

    def __post_init__(self) -> None:
        """Raises SettingsError if a number is out of range, or `pick` or `learn` is unknown."""
        if not 1 <= self.subset <= self.population or self.rounds < 0:
            message = (
                "self-aggregation merges 1 member or more, at most its population, in 0 rounds or more: "
                f"received {self.subset} of {self.population}, {self.rounds} rounds"
            )
            raise SettingsError(message)
        if self.rounds == 0 and self.learn == "merges":
            message = "self-aggregation of 0 rounds merges nothing to learn from: give rounds=1 or more, or learn=all"
            raise SettingsError(message)
        for what, name, known in (("pick", self.pick, get_args(Pick)), ("learn", self.learn, get_args(Learn))):
            if name not in known:
                message = f"unknown {what} {name!r}{nearest(name, known)}"
                raise SettingsError(message)

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with the branches of all populations, answered by a member of the last one."""
        ensemble = Ensemble(self.inner, sampler, open_session, problem)
        population = await ensemble.sample(prompt, votes_of(params, self.population))
        if self.learn == "merges":
            ensemble.freeze(population)
        for number in range(1, self.rounds + 1):
            if not population:
                break
            merges = [self._merge(prompt, population, params, (number, place)) for place in range(self.population)]
            population = await ensemble.sample_each(merges, AGGREGATOR) or population
        return ensemble.attempt(self._picked(population, params))

    def _merge(
        self, prompt: Transcript, population: Sequence[Member], params: SamplingParams, name: tuple[int, int]
    ) -> tuple[Transcript, SamplingParams]:
        """Returns the prompt and the parameters of a new member; `name` is its round and its place in it."""
        drawn = random_of(params.seed, "aggregate/subset", *name).sample(population, min(self.subset, len(population)))
        text = self.ask([member.transcript for member in drawn])
        return asked_with(prompt, text), replace(params, seed=seed_of(params.seed, "aggregate", *name))

    def _picked(self, population: Sequence[Member], params: SamplingParams) -> Member | None:
        if self.pick == "random" and population:
            return random_of(params.seed, "aggregate/answer").choice(population)
        answers = answers_of(population, self.read)
        return elected(population, answers, {member.index: 1.0 for member in population})
