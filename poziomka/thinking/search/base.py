"""Search: the common part of all searches over steps, from the request to the answer."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.problem import Problem
from poziomka.core.rollouts.votes import elect
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import AnswerReader, Transcript
from poziomka.thinking.judges.judge import Judge
from poziomka.thinking.majority import answer_in
from poziomka.thinking.search.steps import Steps
from poziomka.thinking.search.tree import Node, Request, Tree

STEPS = Steps()


@dataclass(frozen=True, kw_only=True)
class Search(Strategy):
    """Interface of a search over the steps of a reply.

    `SamplingParams.max_tokens` and the thinking budget bound each reply as a whole, over all its steps. The seed of a
    step is derived from its place in the tree, so that a larger budget samples the same steps and more. The answer is
    one of the complete replies that the search found, by `answer`:
        vote    the reply of the largest value with the answer whose replies have the largest sum of values (weighted
                majority, Li et al. 2023, arXiv 2206.02336); replies without an answer have no vote
        best    the reply of the largest value
    Among equals, the first one sampled wins.

    Attributes:
        judge: estimates the value of complete replies and of their beginnings.
        steps: how a reply is divided into steps.
        answer: vote or best.
        read: reader of answers for the vote, as that of `Majority`.

    Raises:
        SettingsError: a setting is out of range.
    """

    name: ClassVar[str]  # names the seeds
    answers: ClassVar[tuple[str, ...]] = ("vote", "best")

    judge: Judge
    steps: Steps = STEPS
    answer: Literal["vote", "best", "visits"] = "vote"
    read: AnswerReader | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError if a setting is out of range."""
        if self.answer not in self.answers:
            message = f"unknown answer {self.answer!r} of a {self.name} search{nearest(self.answer, self.answers)}"
            raise SettingsError(message)
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises SettingsError if a setting of this kind of search is out of range."""

    @abstractmethod
    async def search(self, tree: Tree) -> Sequence[Node]:
        """Grows the tree from its root, and returns the complete and judged replies that compete for the answer."""

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with one branch for each path of the tree; see `Strategy.attempt` for the arguments.

        The attempt has a failure if no reply could be completed and judged.

        Raises:
            EnvironmentFailure: the session cannot be opened.
            SamplerError: the sampler cannot sample at all.
            SettingsError: the judge cannot judge such transcripts.
        """
        request = Request(sampler, prompt, params, open_session, problem)
        tree = Tree(self.name, request, self.steps, self.judge)
        try:
            return tree.attempt(self._choose(await self.search(tree)))
        finally:
            tree.close()

    def _choose(self, replies: Sequence[Node]) -> Node | None:
        """Returns the reply that answers the problem; None if there is no reply."""
        if not replies:
            return None
        if self.answer == "vote":
            return best(voted(replies, self.read) or replies)[0]
        return best(replies)[0]


def value_of(node: Node) -> float:
    """Returns the value of a judged node."""
    assert node.value is not None  # nodes that were not judged, or not successfully, do not compete
    return node.value


def best(nodes: Sequence[Node], count: int = 1) -> list[Node]:
    """Returns the `count` nodes of largest value, the largest first; among equals, the first ones."""
    return sorted(nodes, key=value_of, reverse=True)[:count]


def voted(nodes: Sequence[Node], read: AnswerReader | None) -> list[Node]:
    """Returns the nodes with the answer that has the largest sum of values; none if no node has an answer."""
    votes: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        answer = answer_in(node.transcript, read)
        if answer is not None:
            votes[answer].append(node)
    winner = elect({answer: sum(map(value_of, alike)) for answer, alike in votes.items()})
    return [] if winner is None else votes[winner]
