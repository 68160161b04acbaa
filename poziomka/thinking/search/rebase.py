"""REBASE: reward-balanced search, which gives better nodes more children."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from poziomka.thinking.search.base import Search, value_of
from poziomka.thinking.search.steps import demand
from poziomka.thinking.search.tree import Node, Tree


@dataclass(frozen=True, kw_only=True)
class Rebase(Search):
    """REBASE: the children of one depth are divided among its nodes by a softmax of their values.

    Wu et al. 2024 (arXiv 2408.00724, section 3.2): see `shares`. Each complete reply takes one sample from the budget
    of the depths after it. All complete replies compete for the answer, by default in a weighted vote.

    Attributes:
        budget: number of samples B at the first depth, 1 or more.
        temperature: temperature T of the softmax over values, above 0; 0.1 or so makes a difference of values decisive.
    """

    name: ClassVar[str] = "rebase"

    budget: int = 4
    temperature: float = 0.1

    def check(self) -> None:
        """Raises SettingsError if a setting is out of range."""
        demand("budget", self.budget, "1 or more", holds=self.budget >= 1)
        demand("temperature", self.temperature, "above 0", holds=self.temperature > 0)

    async def search(self, tree: Tree) -> Sequence[Node]:
        """Returns all complete replies."""
        budget = self.budget
        found = await tree.grow([(tree.root, budget)])
        while found:
            budget -= sum(node.done for node in found)
            nodes = [node for node in found if not node.done]
            children = shares([value_of(node) for node in nodes], budget, self.temperature)
            plan = [(node, count) for node, count in zip(nodes, children, strict=True) if count]
            tree.keep(node for node, _ in plan)
            found = await tree.grow(plan)
        return tree.finished


def shares(values: Sequence[float], budget: int, temperature: float) -> list[int]:
    """Returns the numbers of children W_j = round(B · exp(R_j / T) / Σ_k exp(R_k / T)), halves rounded up.

    If every number would be rounded to 0 although there is a budget, the first node of the largest value gets it all.

    Args:
        values: value R of each node, from 0 to 1.
        budget: number of children B; 0 or less gives none.
        temperature: temperature T, above 0.
    """
    if not values or budget <= 0:
        return [0] * len(values)
    largest = max(values)
    weights = [math.exp((value - largest) / temperature) for value in values]
    counts = [math.floor(budget * weight / sum(weights) + 0.5) for weight in weights]
    if not any(counts):
        counts[values.index(largest)] = budget
    return counts
