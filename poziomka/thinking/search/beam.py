"""Beam search over steps, and diverse verifier tree search (DVTS)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from poziomka.thinking.search.base import Search, best
from poziomka.thinking.search.steps import demand
from poziomka.thinking.search.tree import Node, Tree


@dataclass(frozen=True, kw_only=True)
class Beam(Search):
    """Beam search: of N candidates, the N / M of largest value are continued by M steps each.

    Snell et al. 2024 (arXiv 2408.03314, section 5.1). A complete reply keeps its place among the candidates for as long
    as its value is among the N / M largest. All complete replies that were found compete for the answer.

    Attributes:
        candidates: number of candidates N, a multiple of `width`.
        width: number of next steps M of each candidate that is kept.
    """

    name: ClassVar[str] = "beam"

    candidates: int = 4
    width: int = 2

    def check(self) -> None:
        """Raises SettingsError if N is no multiple of M."""
        divided(self.candidates, self.width)

    async def search(self, tree: Tree) -> Sequence[Node]:
        """Returns all complete replies."""
        found = await tree.grow([(tree.root, self.candidates)])
        while not all(node.done for node in found):
            kept = best(found, self.candidates // self.width)
            tree.keep(kept)
            found = [node for node in kept if node.done]
            found += await tree.grow((node, self.width) for node in kept if not node.done)
        return tree.finished


@dataclass(frozen=True, kw_only=True)
class DVTS(Search):
    """Diverse verifier tree search: N / M independent subtrees, each a greedy search among M next steps.

    Beeching, Tunstall & Rush 2024 (Scaling test-time compute with open models, Hugging Face), an extension of the beam
    search of Snell et al. 2024 (arXiv 2408.03314) that stays diverse at large N. A subtree ends when the best of its M
    candidates is complete. All complete replies compete for the answer.

    Attributes:
        candidates: number of candidates N of all subtrees together, a multiple of `width`.
        width: number of next steps M of each subtree.
    """

    name: ClassVar[str] = "dvts"

    candidates: int = 4
    width: int = 2

    def check(self) -> None:
        """Raises SettingsError if N is no multiple of M."""
        divided(self.candidates, self.width)

    async def search(self, tree: Tree) -> Sequence[Node]:
        """Returns all complete replies."""
        found = await tree.grow([(tree.root, self.candidates)])
        while found:
            subtrees = groupby(found, key=lambda node: node.path[0] // self.width)
            heads = [best(list(nodes))[0] for _, nodes in subtrees]
            tree.keep(heads)
            found = await tree.grow((head, self.width) for head in heads if not head.done)
        return tree.finished


def divided(candidates: int, width: int) -> None:
    """Raises SettingsError unless `width` is 1 or more and divides the positive number `candidates`."""
    demand("width", width, "1 or more", holds=width >= 1)
    fits = candidates >= 1 and candidates % width == 0
    demand("candidates", candidates, f"a positive multiple of width, which is {width}", holds=fits)
