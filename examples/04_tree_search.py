"""Tree search as a strategy: trunks are sampled first, then leaves from each trunk, and every leaf is judged.

    python examples/04_tree_search.py

A scripted sampler shows the branches of one attempt. Reinforcement learning trains through the strategy unchanged, by
`reinforce(session, Policy(sampler, Tree(trunks=2, leaves=3, depth=1)), …)`.
"""

import asyncio
from dataclasses import dataclass, replace

from poziomka import Problem, SamplingParams, Score, Task
from poziomka.core.rollout import Branch
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, Strategy
from poziomka.testing import ScriptedSampler


@dataclass(frozen=True)
class Tree(Strategy):
    """Samples `trunks` beginnings of `depth` tokens each, and `leaves` endings of each beginning.

    The first leaf of a trunk is a branch of its own; the others are forked from it after the trunk, so the trunk's
    tokens are learned from once, with the mean advantage of its leaves.
    """

    trunks: int
    leaves: int
    depth: int

    async def attempt(self, sampler, prompt, params, *, open_session=None, problem=None):
        begins = [self._params(params, self.depth, trunk) for trunk in range(self.trunks)]
        trunks = await sampler.branch(prompt, begins)
        grown = await asyncio.gather(*(self._grow(sampler, trunk, params, n) for n, trunk in enumerate(trunks)))
        branches = []
        for trunk, (first, *others) in zip(trunks, grown, strict=True):
            parent = len(branches)
            branches.append(Branch(first))
            branches += [Branch(leaf, parent=parent, fork_at=len(trunk)) for leaf in others]
        return Attempt(tuple(branches))

    async def _grow(self, sampler, trunk, params, number):
        ends = [self._params(params, params.max_tokens - self.depth, number, leaf) for leaf in range(self.leaves)]
        return await sampler.branch(trunk, ends)

    @staticmethod
    def _params(params, tokens, *place):
        return replace(params, max_tokens=tokens, seed=seed_of(params.seed, "tree", *place))


if __name__ == "__main__":
    task = Task("toss", lambda *_: Problem.ask("toss", "0", "Heads?"), lambda *_: Score.wrong(""), trusted=True)
    toss = ScriptedSampler(lambda _, sampling: " heads" if sampling.seed % 2 else " tails")
    with Scoring(task) as scoring:
        collector = Collector(toss, scoring, Tree(trunks=2, leaves=3, depth=1))
        ((rollout,),) = collector.collect(task.take("train", 0, 1), SamplingParams(max_tokens=2))
    for index, branch in enumerate(rollout.branches):
        print(index, "of its own" if branch.parent is None else f"forked from {branch.parent}", branch.transcript.text)
