"""Strategies at test time, sequential, parallel and nested, the judges they choose by, and Thinker, a sampler of one.

Names by purpose; each is imported when it is used:
    sequential   Budget, RandomBudget, Continue, Compaction, Revise; feedback: ScorerFeedback, EnvironmentFeedback,
                 SelfCritique
    parallel     Majority, BestOf, AdaptiveConsistency, ConfidentVotes, SelfAggregation
    judges       Judge, Judgement; ExactJudge, FunctionJudge, Logprobs, SelfCertainty
    by text      strategy_of, parts_of
    as a sampler Thinker
"""

from importlib import import_module
from typing import Any

_PLACES = {  # name → module of this package that defines it
    "AdaptiveConsistency": "parallel",
    "BestOf": "parallel",
    "Budget": "budget",
    "Compaction": "compaction",
    "ConfidentVotes": "confident",
    "Continue": "budget",
    "EnvironmentFeedback": "revise",
    "ExactJudge": "judges.confidence",
    "Feedback": "revise",
    "FunctionJudge": "judges.confidence",
    "Judge": "judges.judge",
    "Judgement": "judges.judge",
    "Logprobs": "judges.confidence",
    "Majority": "majority",
    "RandomBudget": "budget",
    "Revise": "revise",
    "ScorerFeedback": "revise",
    "SelfAggregation": "aggregate",
    "SelfCertainty": "judges.confidence",
    "SelfCritique": "revise",
    "Thinker": "thinker",
    "parts_of": "registry",
    "strategy_of": "registry",
}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Returns a name of this package on first use, from the module that defines it, which is then imported.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _PLACES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
