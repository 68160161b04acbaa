"""Size of a strategy: the largest number of branches that an attempt can have, for estimates of memory and time."""

from collections.abc import Callable, Mapping
from typing import Any

from poziomka.core.strategy import Strategy
from poziomka.thinking.aggregate import SelfAggregation
from poziomka.thinking.agreement import AgreementVotes
from poziomka.thinking.confident import ConfidentVotes
from poziomka.thinking.majority import Majority
from poziomka.thinking.parallel import AdaptiveConsistency, BestOf
from poziomka.thinking.revise import Revise
from poziomka.thinking.search import DVTS, MCTS, Beam, ParticleFilter, Rebase, ValueGuided

OWN: Mapping[type[Strategy], Callable[[Any], int]] = {
    Majority: lambda strategy: strategy.votes,
    ConfidentVotes: lambda strategy: strategy.votes,
    BestOf: lambda strategy: strategy.replies,
    AdaptiveConsistency: lambda strategy: strategy.most,
    AgreementVotes: lambda strategy: max(strategy.votes),
    Revise: lambda strategy: strategy.revisions + 1,
    SelfAggregation: lambda strategy: strategy.population * (strategy.rounds + 1),
    Beam: lambda strategy: strategy.candidates,
    DVTS: lambda strategy: strategy.candidates,
    Rebase: lambda strategy: strategy.budget,
    ParticleFilter: lambda strategy: strategy.particles,
    MCTS: lambda strategy: strategy.simulations,
    ValueGuided: lambda strategy: strategy.width,
}


def most_branches(strategy: Strategy) -> int:
    """Returns the largest number of branches of an attempt, with those of inner strategies.

    Searches count as many as they keep at once, or simulate; discarded steps, which are shorter, are not counted. A
    strategy of another kind counts as one branch: the parts of `Compaction` have the tokens of one.
    """
    own = OWN.get(type(strategy), lambda _: 1)(strategy)
    inner = getattr(strategy, "inner", None)
    return own * (1 if inner is None else most_branches(inner))
