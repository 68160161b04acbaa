"""Results of a study of thinking: accuracy against cost, choices by difficulty, and the strategies of efforts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from poziomka.core.rollout import Group, rewards_of
from poziomka.core.rollouts.evaluation import Estimate, paired_gain, proportion
from poziomka.core.transcript import AnswerReader
from poziomka.thinking.registry import reads_gold
from poziomka.thinking.study.efforts import FIXED, LIMITS, SINGLE
from poziomka.thinking.study.fitting import Fitted, fit
from poziomka.thinking.study.frontier import Choice, Point, Replies, by_difficulty, demand_same, point

SCHEMA = 1  # schema version of study.json
CHOICES = (1.25, 4.5, 16.5)  # highest costs, in single replies, at which strategies are chosen by difficulty
PROBE = 2  # first replies whose agreement decides the effort
MOST_FAILED = 0.1  # share of failed branches above which a strategy is never chosen


@dataclass(frozen=True)
class Auto:
    """Votes by agreement at one limit of the mean cost, beside the majority that costs as much as the limit.

    Attributes:
        majority: number of votes of the majority.
        fitted: votes by agreement that were fitted to the limit.
        gain: accuracy over the majority, paired by problem.
        share: cost, as a share of the majority's.
    """

    majority: int
    fitted: Fitted
    gain: Estimate
    share: float


@dataclass(frozen=True)
class Findings:
    """Results of a study.

    Attributes:
        points: single replies and each strategy, in the order of the study.
        majority: (votes, accuracy) of majorities of single replies.
        oracle: (replies, accuracy) of an oracle that picks the best of single replies.
        reply_tokens: mean cost of a single reply, in tokens.
        choices: strategies chosen by difficulty, by the highest mean cost in single replies.
        auto: votes by agreement at several limits of the cost, in ascending order; () with too few replies.
        efforts: text that names the strategy of each effort level.
        notes: sentences about problems and strategies that are left out, because their checks failed, about strategies
            with failed branches, and about strategies that may use gold answers.
    """

    points: Sequence[Point]
    majority: Sequence[tuple[int, Estimate]]
    oracle: Sequence[tuple[int, Estimate]]
    reply_tokens: float
    choices: Mapping[float, Choice]
    auto: Sequence[Auto]
    efforts: Mapping[str, str]
    notes: Sequence[str] = ()


def findings(
    singles: Sequence[Group], strategies: Mapping[str, Sequence[Group]], read: AnswerReader | None = None
) -> Findings:
    """Computes the results of a study from judged attempts at the same problems in the same order.

    Problems without a judged single reply, and strategies without a judged attempt, are left out with a note. A
    strategy of which more than MOST_FAILED of the branches failed is never chosen: the others may be the easier ones.

    Args:
        singles: single replies, several to each problem.
        strategies: attempts by strategy, by the text that names it.
        read: reader of answers of the strategies' votes; None for the answers that the scorer names.

    Raises:
        SettingsError: a strategy has other problems than the single replies, no single reply was judged, or they have
            no number of tokens.
    """
    for groups in strategies.values():
        demand_same(groups, singles)
    singles, strategies, notes = _judged(singles, strategies)
    replies = Replies(singles, read)
    sizes = _doubling(replies.size)
    majority = [(votes, _mean(replies.majority(votes))) for votes in sizes]
    everything = {SINGLE: singles, **strategies}
    points = [point(name, groups, replies) for name, groups in everything.items()]
    gold = [name for name in strategies if reads_gold(name)]
    failed = {name: found for name, groups in strategies.items() if (found := _failed(groups))[0]}
    broken = [name for name, (reasons, count) in failed.items() if len(reasons) > MOST_FAILED * count]
    fair = {name: groups for name, groups in everything.items() if name not in (*gold, *broken)}
    limits = [limit for limit in CHOICES if len(singles) >= 2]
    choices = {limit: by_difficulty(fair, replies, most=limit * replies.tokens) for limit in limits}
    auto = [_auto(replies, votes) for votes in sizes if votes > PROBE and len(singles) >= 2]
    solved = any(each.accuracy.mean > 0 for each in points)
    nothing = [] if solved else ["no strategy solved a problem, so the efforts of this study say nothing"]
    return Findings(
        points=points,
        majority=majority,
        oracle=[(votes, _mean(replies.oracle(votes))) for votes in sizes],
        reply_tokens=replies.tokens,
        choices=choices,
        auto=auto,
        efforts=_efforts([each for each in points if each.name in fair], majority, replies.tokens, auto),
        notes=[*notes, *(_failing(name, *found) for name, found in failed.items()), *map(upper_bound, gold), *nothing],
    )


def upper_bound(name: str) -> str:
    """Returns a note about a strategy that may use gold answers."""
    return f"strategy {name} may use gold answers, so its accuracy is an upper bound"


def _failed(groups: Sequence[Group]) -> tuple[list[str], int]:
    """Returns the reasons of failed branches in attempts with a strategy, and the number of all branches."""
    branches = [branch for group in groups for attempt in group for branch in attempt.branches]
    return [each.score.why for each in branches if each.score is not None and each.score.reward is None], len(branches)


def _failing(name: str, reasons: Sequence[str], count: int) -> str:
    """Returns a note about a strategy with failed branches."""
    result = ", so it is not chosen" if len(reasons) > MOST_FAILED * count else ""
    return f"{len(reasons)} of {count} branches of strategy {name} failed{result}: {reasons[0]}"


def demand_comparable(singles: Sequence[Group]) -> None:
    """Checks, before strategies are sampled, that their costs can be compared with those of single replies.

    Raises:
        SettingsError: no single reply was judged, or they have no number of tokens.
    """
    Replies(_judged(singles, {})[0])


def _judged(
    singles: Sequence[Group], strategies: Mapping[str, Sequence[Group]]
) -> tuple[Sequence[Group], Mapping[str, Sequence[Group]], list[str]]:
    """Returns single replies and strategies without those that were never judged, and a note about each of these."""
    there = [number for number, group in enumerate(singles) if rewards_of(group)]
    notes = []
    if 0 < len(there) < len(singles):
        singles, count = [singles[number] for number in there], len(singles)
        strategies = {name: [groups[number] for number in there] for name, groups in strategies.items()}
        notes.append(f"{count - len(there)} of {count} problems are left out: no check of a single reply succeeded")
    judged = {name: groups for name, groups in strategies.items() if any(map(rewards_of, groups))}
    for name in strategies.keys() - judged.keys():
        why = strategies[name][0][0].score.why
        notes.append(f"strategy {name} is left out, because none of its attempts could be judged: {why}")
    return singles, judged, sorted(notes)


def _doubling(most: int) -> list[int]:
    """Returns 1, 2, 4, … and `most`."""
    sizes = [2**power for power in range(most.bit_length()) if 2**power <= most]
    return sizes if sizes[-1] == most else [*sizes, most]


def _mean(values: Sequence[float]) -> Estimate:
    return proportion([[value] for value in values])


def _auto(replies: Replies, votes: int) -> Auto:
    """Fits votes by agreement at the cost of a majority."""
    most = votes * replies.tokens
    found = fit(replies, probe=PROBE, most=most)
    gain = paired_gain([[value] for value in found.by_problem], [[value] for value in replies.majority(votes)])
    return Auto(votes, found, gain, found.tokens / most)


def _efforts(
    points: Sequence[Point], majority: Sequence[tuple[int, Estimate]], reply: float, auto: Sequence[Auto]
) -> dict[str, str]:
    """Returns the most accurate strategy of `points` within the cost of each level, votes included; see LIMITS."""
    priced = [(each.accuracy.mean, -each.tokens, each.name) for each in points]
    priced += [(each.mean, -votes * reply, f"majority:{votes}") for votes, each in majority if votes > 1]
    chosen = {
        level: max(each for each in priced if -each[1] <= limit * reply or each[2] == SINGLE)[2]
        for level, limit in LIMITS.items()
    }
    chosen["high"] = max(priced)[2]
    return {**chosen, "auto": f"agreement:{'-'.join(map(str, auto[-1].fitted.votes))}" if auto else FIXED["auto"]}


# ------------------------------------------------------------------------------------------------------------- output
def values_of(found: Findings) -> dict[str, Any]:
    """Returns the results of a study as JSON values."""
    return {
        "schema_version": SCHEMA,
        "reply_tokens": found.reply_tokens,
        "strategies": [asdict(each) for each in found.points],
        "majority": [{"votes": votes, **asdict(each)} for votes, each in found.majority],
        "oracle": [{"replies": votes, **asdict(each)} for votes, each in found.oracle],
        "by_difficulty": [{"most_replies": limit, **asdict(each)} for limit, each in found.choices.items()],
        "auto": [
            {
                "majority": each.majority,
                "votes": list(each.fitted.votes),
                "accuracy": asdict(each.fitted.accuracy),
                "tokens": each.fitted.tokens,
                "gain": asdict(each.gain),
                "cost_share": each.share,
            }
            for each in found.auto
        ],
        "efforts": dict(found.efforts),
        "notes": list(found.notes),
    }


def rows_of(found: Findings) -> list[tuple[str, ...]]:
    """Returns the results of a study as the cells of a table: names of the columns, then a row per strategy.

    Strategies come first, cheapest first, then majorities of single replies, then votes by agreement, which are
    cross-fitted and stand beside the majority of the cost that they were allowed.
    """
    columns = ("strategy", "accuracy [95 %]", "tokens", "sequential tokens", "votes of equal cost", "gain", "oracle")
    majorities = dict(found.majority)
    points = [
        (
            each.name,
            str(each.accuracy),
            f"{each.tokens:,.0f}",
            f"{each.latency:,.0f}",
            *("–" if value is None else str(value) for value in (each.majority, each.gain, each.oracle)),
        )
        for each in sorted(found.points, key=lambda each: each.tokens)
    ]
    votes = [
        (f"majority:{count}", str(each), f"{count * found.reply_tokens:,.0f}", "", "", "", str(best))
        for (count, each), (_, best) in zip(found.majority, found.oracle, strict=True)
        if count > 1
    ]
    agreed = [
        (
            f"agreement:{'-'.join(map(str, each.fitted.votes))}",
            str(each.fitted.accuracy),
            f"{each.fitted.tokens:,.0f}",
            "",
            str(majorities[each.majority]),
            str(each.gain),
            "",
        )
        for each in found.auto
    ]
    return [columns, *points, *votes, *agreed]


def table_of(found: Findings) -> str:
    """Returns the results of a study as a Markdown table."""
    head, *rows = rows_of(found)
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"
