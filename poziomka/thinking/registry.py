"""Strategies by text, as the command line names them: "majority:8", "rsa:n=8,k=3,rounds=2", "budget:512/majority:8".

A text names strategies from the outermost to the innermost, with "/" between them:

    NAME[:VALUE][,FIELD=VALUE]…[/NAME…]

The value without a field is the strategy's first one, its number of replies for example; "maj@8" is read as "maj:8".
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.rollouts import readers
from poziomka.core.rollouts.conversation import SingleReply
from poziomka.core.rollouts.readers import AnswerOf
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler
from poziomka.core.strategy import Strategy
from poziomka.core.transcript import AnswerReader
from poziomka.thinking.aggregate import SelfAggregation
from poziomka.thinking.agreement import AgreementVotes
from poziomka.thinking.budget import Budget, Continue, RandomBudget
from poziomka.thinking.compaction import Compaction
from poziomka.thinking.confident import ConfidentVotes
from poziomka.thinking.judges.confidence import ExactJudge, Logprobs, SelfCertainty
from poziomka.thinking.judges.judge import Judge
from poziomka.thinking.majority import Majority
from poziomka.thinking.parallel import AdaptiveConsistency, BestOf
from poziomka.thinking.revise import EnvironmentFeedback, Feedback, Revise, ScorerFeedback, SelfCritique
from poziomka.thinking.search import DVTS, MCTS, Beam, ParticleFilter, Rebase, Search, Steps, ValueGuided

Part = Judge | Feedback
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """How one strategy is written.

    Attributes:
        make: the strategy's class; if it is a dataclass, its numbers, choices, judges and readers can be written.
        first: name of the field whose value is written without a name; "" if there is none.
        about: what the strategy does, for the help of a command.
        aliases: other names of the strategy.
        short: other names of fields.
        given: fields that this name sets, as they are written; they can be written otherwise.
    """

    make: type[Strategy]
    first: str
    about: str
    aliases: tuple[str, ...] = ()
    short: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)


def _search(make: type[Search], first: str, about: str, *aliases: str, **given: str) -> Row:
    """Returns the row of a search, whose first field is also written "n"; it has a judge and the values `given`."""
    return Row(make, first, about, aliases, {"n": first}, {"judge": "logprobs", **given})


STRATEGIES: dict[str, Row] = {
    "single": Row(SingleReply, "", "one reply", ("one", "cot")),
    "budget": Row(Budget, "most", "at most this many thinking tokens", ("cap",), {"max": "most", "min": "least"}),
    "random_budget": Row(RandomBudget, "budgets", "at most a number of thinking tokens drawn from a list: 4-8-16-24"),
    "continue": Row(
        Continue, "times", 'a "</think>" is replaced by " Wait"', ("wait", "extend", "budget_forcing", "s1")
    ),
    "compaction": Row(
        Compaction,
        "limit",
        "a conversation that is summarised, and goes on from the summary, whenever it has this many tokens",
        ("compact", "summarise", "summarize"),
    ),
    "revise": Row(Revise, "revisions", "further replies, each of which sees the last", ("revision", "sequential")),
    "refine": Row(
        Revise,
        "revisions",
        "further replies, each of which sees the last and a critique of it",
        ("self_refine",),
        given={"feedback": "critique"},
    ),
    "majority": Row(
        Majority,
        "votes",
        "the most frequent answer",
        ("maj", "cons", "consensus", "self_consistency", "vote"),
        {"n": "votes"},
    ),
    "weighted": Row(
        Majority,
        "votes",
        "the answer with the largest sum of a judge's values",
        ("weighted_majority", "weighted_vote"),
        {"n": "votes"},
        {"judge": "logprobs"},
    ),
    "deepconf": Row(
        Majority,
        "votes",
        "a vote of the half of the replies whose least confident passage is the most confident",
        ("confident", "confidence_filtered"),
        {"n": "votes"},
        {"judge": "logprobs:64", "keep": "0.5"},
    ),
    "deepconf_online": Row(
        ConfidentVotes,
        "votes",
        "a vote of confident replies; others end while they are sampled",
        ("confident_online",),
        {"n": "votes"},
        {"judge": "logprobs:64"},
    ),
    "best_of": Row(
        BestOf,
        "replies",
        "the reply that a judge values most",
        ("bon", "best_of_n", "rerank"),
        {"n": "replies"},
        {"judge": "logprobs"},
    ),
    "oracle": Row(
        BestOf, "replies", "a correct reply if there is one: pass@n", ("pass",), {"n": "replies"}, {"judge": "exact"}
    ),
    "adaptive": Row(
        AdaptiveConsistency,
        "most",
        "votes until the vote is decided, at most this many",
        ("adaptive_consistency", "asc", "early_stopping"),
        {"n": "most"},
    ),
    "agreement": Row(
        AgreementVotes,
        "votes",
        "as many votes as the agreement of the first replies calls for: 2-5-3 if 0, 1, 2 of two agree",
    ),
    "rsa": Row(
        SelfAggregation,
        "population",
        "a population of replies, of which random subsets are merged round by round",
        ("aggregate", "self_aggregation", "recursive_self_aggregation"),
        {"n": "population", "k": "subset"},
    ),
    "beam": _search(Beam, "candidates", "beginnings of which a judge keeps the best, step by step", "beam_search"),
    "dvts": _search(DVTS, "candidates", "independent beams, each of which keeps its best step", "diverse_tree_search"),
    "rebase": _search(Rebase, "budget", "children of a step in proportion to its value", "reward_balanced_search"),
    "particles": _search(
        ParticleFilter, "particles", "beginnings resampled by their values", "particle_filtering", "smc"
    ),
    "mcts": _search(MCTS, "simulations", "Monte-Carlo tree search with PUCT", "tree_search", "puct", prior="policy"),
    "guided": _search(ValueGuided, "width", "each step chosen by policy and value", "value_guided", "q_star"),
}
READERS: dict[str, readers.Reader] = {
    "number": readers.number,
    "last_integer": readers.last_integer,
    "boxed": readers.boxed,
    "choice": readers.choice,
    "whole_answer": readers.whole_answer,
}
PARTS: dict[str, Part] = {
    "logprobs": Logprobs(),
    "critique": SelfCritique(),
    "environment": EnvironmentFeedback(),
}
NEEDED = {"certainty": "a sampler", "exact": "a task's scorer", "scorer": "a task's scorer"}  # by `parts_of`

STEPS = {"paragraph": ("\n\n",), "line": ("\n",), "sentence": (". ", "\n")}  # by name: strings that end a step
GOLD = ("exact", "scorer", "environment")  # judges and feedback that use gold answers, or rewards that may
LOGPROBS = ("logprobs", "certainty", "policy", "probability")  # judges and priors that read probabilities of tokens


def parts_of(sampler: Sampler, scoring: Scoring | None = None) -> dict[str, Part]:
    """Returns the judges and sources of feedback that need a sampler or a scorer, by the names used in texts.

    Args:
        sampler: sampler of the policy, for "certainty".
        scoring: scores replies, for "exact" and "scorer"; None where gold answers must not be used.
    """
    found: dict[str, Part] = {"certainty": SelfCertainty(sampler)}
    return found if scoring is None else {**found, "exact": ExactJudge(scoring), "scorer": ScorerFeedback(scoring)}


def strategy_of(text: str, parts: Mapping[str, Part] | None = None, read: AnswerReader | None = None) -> Strategy:
    """Returns the strategy that a text names.

    Args:
        text: the text, "budget:512/majority:8" for example; see the module's docstring.
        parts: judges and sources of feedback by name, beside "logprobs", "critique" and "environment"; see `parts_of`.
        read: reader of answers for votes whose text names none; None for that of the task that is attempted.

    Raises:
        SettingsError: a name is unknown, or a value is missing, given twice or out of range.
    """
    known = {**PARTS, **(parts or {})}
    inner: Strategy | None = None
    for one in reversed(text.split("/")):
        inner = _strategy(one, known, read, inner)
    assert inner is not None  # a split text has at least one part
    return inner


def reads_gold(text: str) -> bool:
    """Returns whether a strategy uses gold answers, so that its accuracy is an upper bound.

    Raises:
        SettingsError: a name is unknown.
    """
    return bool(gold_in(text))


def gold_in(text: str) -> list[tuple[tuple[type[Strategy], ...], str]]:
    """Returns the judges and feedback of a strategy's text that use gold answers, each with the strategies around it.

    The strategies are in the order of the text: the last one is that of which the judge or the feedback is part.

    Raises:
        SettingsError: a name is unknown.
    """
    parts = text.split("/")
    makes = [_parsed(one)[1].make for one in parts]
    around = [tuple(makes[: place + 1]) for place in range(len(parts))]
    pairs = [(made, value) for made, one in zip(around, parts, strict=True) for _, value in _values(one)]
    return [(made, value) for made, value in pairs if value in GOLD]


def reads_logprobs(text: str) -> bool:
    """Returns whether a judge or a prior of a strategy reads probabilities of tokens, which no endpoint returns.

    Raises:
        SettingsError: a name is unknown.
    """
    return any(value in LOGPROBS for _, value in _values(text))


def votes(text: str) -> bool:
    """Returns whether a strategy compares answers, for which it needs a reader.

    Raises:
        SettingsError: a name is unknown.
    """
    for one in text.split("/"):
        _, row, written = _parsed(one)
        known: Mapping[str, Any] = getattr(row.make, "__dataclass_fields__", {})
        choices = [written.get(name, known[name].default).strip() for name in ("pick", "answer") if name in known]
        if "read" in known and all(choice in ("vote", "majority") for choice in choices):
            return True
    return False


def _values(text: str) -> list[tuple[Row, str]]:
    """Returns the values in the text of strategies, each up to its colon, with the row of its strategy."""
    parts = [_parsed(one) for one in text.split("/")]
    pairs = [(row, value) for _, row, written in parts for value in {**row.given, **written}.values()]
    return [(row, value.partition(":")[0].strip()) for row, value in pairs]


def reader_named(name: str) -> AnswerOf:
    """Returns the reader of answers with a name, "number" for example.

    Raises:
        SettingsError: the name is unknown.
    """
    return AnswerOf(_among("read", name, READERS))


def _strategy(text: str, parts: Mapping[str, Part], read: AnswerReader | None, inner: Strategy | None) -> Strategy:
    name, row, written = _parsed(text)
    hints = get_type_hints(row.make)
    writable = {key: hint for key, hint in hints.items() if _is_writable(key, hint)}
    values: dict[str, Any] = {}
    for key, value in {**row.given, **written}.items():
        if key not in writable:
            message = f"{name!r} has no value {key!r}{nearest(key, [*writable, *row.short])}"
            raise SettingsError(message)
        values[key] = _value(f"{name}:{key}", value, writable[key], parts)
    if "read" in hints and read is not None:
        values.setdefault("read", read)
    if inner is not None:
        if "inner" not in hints:
            message = f"{name!r} cannot contain another strategy: write it last in {text!r}"
            raise SettingsError(message)
        values["inner"] = inner
    _demand_all(name, row, values)
    return row.make(**values)


def _parsed(text: str) -> tuple[str, Row, dict[str, str]]:
    """Returns the name, the row, and the written values by field, of one strategy's text."""
    head, *rest = text.strip().split(",")
    said, colon, first = head.replace("@", ":", ":" not in head).partition(":")
    name = said.strip().casefold().replace("-", "_").replace(" ", "_")
    names = {alias: name for name, row in STRATEGIES.items() for alias in (name, *row.aliases)}
    if name not in names:
        message = f"unknown strategy {said!r}{nearest(name, names)}"
        raise SettingsError(message)
    row = STRATEGIES[names[name]]
    pairs = [one.partition("=") for one in ([first] if colon else []) + rest]
    found: dict[str, str] = {}
    for key, equals, value in pairs:
        place = row.short.get(key.strip(), key.strip()) if equals else row.first
        if place in found or not place:
            message = f"strategy {text!r} has a value twice, or one that it does not take: {key + equals + value!r}"
            raise SettingsError(message)
        found[place] = value if equals else key
    return names[name], row, found


def _demand_all(name: str, row: Row, values: Mapping[str, object]) -> None:
    """Raises SettingsError if a field without a default has no value."""
    fields: Mapping[str, dataclasses.Field[Any]] = getattr(row.make, "__dataclass_fields__", {})
    for one in fields.values():
        if one.name not in values and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            message = f"{name!r} needs {one.name}: write {name}:8, or {name}:{one.name}=8"
            raise SettingsError(message)


def _is_writable(key: str, hint: object) -> bool:
    """Returns whether a field's value can be written: a number, a choice, a word, a judge, feedback, or the reader."""
    kinds = set(_kinds(hint))
    wide = hint in (tuple[int, ...], Steps) or get_origin(hint) is Literal
    return wide or key == "read" or bool(kinds & {int, float, str, Judge, Feedback})


def _kinds(hint: object) -> tuple[object, ...]:
    """Returns the types of a union, or the one type."""
    return get_args(hint) if get_origin(hint) in (Union, type(int | None)) else (hint,)


def _value(name: str, text: str, hint: object, parts: Mapping[str, Part]) -> object:
    """Returns a written value as the type of its field.

    Raises:
        SettingsError: the text is no such value.
    """
    kinds = _kinds(hint)
    if text.strip().casefold() == "none" and type(None) in kinds:
        return None
    if Judge in kinds or Feedback in kinds:
        return _part(name, text.strip(), parts, Judge if Judge in kinds else Feedback)
    if name.endswith(":read"):
        return AnswerOf(_among(name, text.strip(), READERS))
    if hint is Steps:
        return Steps(stops=STEPS[text]) if text in STEPS else Steps(stops=(), tokens=int(_number(name, text, int)))
    if hint == tuple[int, ...]:
        return tuple(int(_number(name, one, int)) for one in text.split("-"))
    if get_origin(hint) is Literal:
        return _among(name, text.strip(), {str(choice): choice for choice in get_args(hint)})
    for kind in (int, float):
        if kind in kinds:
            return _number(name, text, kind)
    return text


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(text)
    except ValueError:
        wanted = "an integer" if kind is int else "a number"
        message = f"{name} is {wanted}: received {text[:40]!r}"
        raise SettingsError(message) from None


def _among(name: str, text: str, known: Mapping[str, T]) -> T:
    if text not in known:
        message = f"{name} cannot be {text!r}{nearest(text, known)}"
        raise SettingsError(message)
    return known[text]


def _part(name: str, text: str, parts: Mapping[str, Part], kind: type) -> Part:
    """Returns a judge or a source of feedback by name; "logprobs:64" is the judge with a window of 64 tokens."""
    said, colon, window = text.partition(":")
    if said in NEEDED and said not in parts:
        message = f"{name}={said} needs {NEEDED[said]}, which there is none of here: choose another"
        raise SettingsError(message)
    found = _among(name, said, {key: part for key, part in parts.items() if isinstance(part, kind)})
    if not colon:
        return found
    if not isinstance(found, Logprobs | SelfCertainty):
        message = f"{name}={said} takes no window: received {text!r}"
        raise SettingsError(message)
    return replace(found, window=int(_number(name, window, int)))
