"""Monte-Carlo tree search with PUCT over the steps of a reply."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar, Literal, get_args

from poziomka.core.errors import SettingsError, nearest
from poziomka.thinking.search.base import Search, value_of
from poziomka.thinking.search.steps import demand
from poziomka.thinking.search.tree import Node, Tree

Prior = Literal["policy", "uniform"]


@dataclass(eq=False, slots=True)
class Move:
    """Statistics of a node that simulations can choose.

    Attributes:
        node: the node.
        prior: probability P of the move among its siblings.
        visits: number N of simulations that passed through it.
        total: sum W of the values that they backed up.
        expanded: whether continuations were sampled.
        moves: the continuations, of which equal ones are one move.
    """

    node: Node
    prior: float = 1.0
    visits: int = 0
    total: float = 0.0
    expanded: bool = False
    moves: "tuple[Move, ...]" = ()

    @property
    def mean(self) -> float:
        """Mean value Q = W / N; 0 without visits."""
        return self.total / self.visits if self.visits else 0.0

    @property
    def alive(self) -> "list[Move]":
        """Continuations that did not fail."""
        return [move for move in self.moves if move.node.failure is None]


@dataclass(frozen=True, kw_only=True)
class MCTS(Search):
    """Monte-Carlo tree search: simulations visit the moves of largest Q + c · P · √(ΣN) / (1 + N).

    PUCT of AlphaZero (Silver et al. 2017, arXiv 1712.01815) over steps, as in rStar-Math (Guan et al. 2025, arXiv
    2501.04519). A simulation starts at the prompt and follows the best moves. It expands a node that was visited before
    by sampling `width` next steps, of which equal ones are one move, and ends at a node without visits or at a complete
    reply. The value there is added to the statistics of all nodes that it passed. Among equals, the move of the largest
    prior is chosen, then the first. Further answers beside those of `Search`:
        visits    the reply at the end of the most visited moves, completed if it is not

    Attributes:
        simulations: number of simulations, 1 or more.
        width: number of next steps that an expansion samples, 1 or more.
        exploration: weight c of the prior and of few visits, 0 or more.
        prior: policy (the exponential of the step's mean log-probability, normalised among siblings) or uniform.
        rollouts: number of complete replies that are sampled from a new node by `steps.rest`, whose mean value is the
            node's value (with an exact checker as the judge, its share of correct replies); 0 judges the node itself.
    """

    name: ClassVar[str] = "mcts"
    answers: ClassVar[tuple[str, ...]] = ("vote", "best", "visits")

    simulations: int = 16
    width: int = 2
    exploration: float = 1.0
    prior: Prior = "policy"
    rollouts: int = 0

    def check(self) -> None:
        """Raises SettingsError if a setting is out of range."""
        demand("simulations", self.simulations, "1 or more", holds=self.simulations >= 1)
        demand("width", self.width, "1 or more", holds=self.width >= 1)
        demand("exploration", self.exploration, "0 or more", holds=self.exploration >= 0)
        demand("rollouts", self.rollouts, "0 or more", holds=self.rollouts >= 0)
        if self.prior not in get_args(Prior):
            message = f"unknown prior {self.prior!r}{nearest(self.prior, get_args(Prior))}"
            raise SettingsError(message)

    async def search(self, tree: Tree) -> Sequence[Node]:
        """Returns all complete replies, or the most visited one for the answer "visits"."""
        root = Move(tree.root)
        await self.simulate(tree, root)
        if self.answer == "visits":
            return await self._most_visited(tree, root) or tree.finished
        return tree.finished or await self._most_visited(tree, root)

    async def simulate(self, tree: Tree, root: Move) -> None:
        """Runs all simulations from `root`, and fills the statistics of the moves below it."""
        for _ in range(self.simulations):
            path = await self._descend(tree, root)
            if path is None:
                break
            value = await self._evaluate(tree, path[-1].node)
            for move in path if value is not None else ():
                move.visits += 1
                move.total += value or 0.0

    async def _descend(self, tree: Tree, root: Move) -> list[Move] | None:
        """Returns the moves of one simulation, root first; None if every continuation of the root failed."""
        path = [root]
        while not path[-1].node.done and (path[-1].visits or path[-1] is root):
            here = path[-1]
            if not here.expanded:
                await self._expand(tree, here)
            if here.alive:
                path.append(max(here.alive, key=lambda move: (self.score(move, here), move.prior)))
            elif len(path) == 1:
                return None
            else:  # a dead end: later simulations avoid it
                here.node.failure = _fault(here.node)
                path = [root]
        return path

    def score(self, move: Move, parent: Move) -> float:
        """Returns Q + c · P · √(Σ N of the siblings) / (1 + N)."""
        visits = sum(sibling.visits for sibling in parent.moves)
        return move.mean + self.exploration * move.prior * math.sqrt(visits) / (1 + move.visits)

    async def _expand(self, tree: Tree, move: Move) -> None:
        """Samples the continuations of a node and sets their priors."""
        sampled = await tree.grow([(move.node, self.width)], judged=False)
        distinct = {node.transcript.text: node for node in reversed(sampled)}
        nodes = [node for node in sampled if node in distinct.values()]
        move.moves = tuple(Move(*pair) for pair in zip(nodes, self._priors(nodes), strict=True))
        move.expanded = True

    def _priors(self, nodes: Sequence[Node]) -> list[float]:
        raw = [1.0 if self.prior == "uniform" else math.exp(mean_logprob(node)) for node in nodes]
        total = sum(raw)
        return [weight / total if total else 1 / len(raw) for weight in raw]

    async def _evaluate(self, tree: Tree, node: Node) -> float | None:
        """Returns the value of a node, judged at its first visit; None if the judgement failed."""
        if node.value is None and node.failure is None:
            if node.done or not self.rollouts:
                await tree.judge([node])
            else:
                replies = await tree.grow([(node, self.rollouts)], complete=True)
                if replies:
                    node.value = fmean(map(value_of, replies))
                else:
                    node.failure = _fault(node)
        return node.value if node.failure is None else None

    async def _most_visited(self, tree: Tree, move: Move) -> list[Node]:
        """Returns the reply at the end of the most visited moves, completed if it is not; none if it failed."""
        while move.alive:
            move = max(move.alive, key=lambda child: (child.visits, child.prior))
        if move.expanded:  # every continuation failed
            return []
        if not move.node.done:
            return await tree.grow([(move.node, 1)], complete=True)
        return [move.node] if move.visits else await tree.judge([move.node])


def _fault(node: Node) -> str:
    """Returns the reason why no continuation of a node is left."""
    return next((child.failure for child in node.children if child.failure), "no continuation is left")


def mean_logprob(node: Node) -> float:
    """Returns the mean log-probability, in nats, of the tokens of a node's step; 0 for a step of no tokens.

    Raises:
        SettingsError: the sampler returns no log-probabilities.
    """
    logprobs = node.logprobs
    if logprobs is None:
        message = 'the prior "policy" needs log-probabilities, which this sampler does not return; use "uniform"'
        raise SettingsError(message)
    return fmean(logprobs) if logprobs else 0.0
