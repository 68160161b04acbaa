"""The ways in which a policy can drift towards a reward that it does not earn, one entry each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from poziomka.core.problem import Score
from poziomka.core.rollout import Group, Rollout
from poziomka.learning.monitoring.clustered_stats import Moments
from poziomka.learning.monitoring.text_features import Signs, most_common_answer, signs_of

FOLLOWS = 2.0  # accuracy follows where it rises by so many times as much as the reward that is unearned
EXAMPLES = 3  # rollouts that show what an alarm is about
Record = dict[str, Moments]  # a step's quantities by name


@dataclass(frozen=True)
class Attempt:
    """A judged rollout with what is seen in it.

    Attributes:
        rollout: the rollout.
        signs: what its reply shows.
        opinion: what the audit says; None where nothing is known.
        common: whether its answer is the one that most attempts of the step gave.
        unearned: the reward beyond what the audit gives; 0 where it is unknown.
    """

    rollout: Rollout
    signs: Signs
    opinion: Score | None
    common: bool = False
    unearned: float = 0.0


def attempts_in(groups: Sequence[Group], opinions: Mapping[str, Score], *, graded: bool = True) -> list[list[Attempt]]:
    """Returns what is seen in judged groups.

    Args:
        groups: of one step, or of one evaluation.
        opinions: the audit's, by id.
        graded: the audit knows of partial credit; one that does not may contest only what the scorer calls right.
    """
    common = most_common_answer(groups)

    def seen(rollout: Rollout) -> Attempt:
        score, opinion = rollout.score, opinions.get(rollout.id)
        contested = opinion is not None and (graded or score.correct) and not opinion.correct
        beyond = (score.reward or 0.0) - (opinion.reward or 0.0) if contested and opinion is not None else 0.0
        shared = score.answer is not None and score.answer == common
        return Attempt(rollout, signs_of(rollout), opinion, shared, max(0.0, beyond))

    return [[seen(rollout) for rollout in group] for group in groups]


def _granted(attempt: Attempt) -> float:
    """Returns what the audit gives."""
    return 0.0 if attempt.opinion is None else attempt.opinion.reward or 0.0


def record_of(attempts: Sequence[Sequence[Attempt]]) -> Record:
    """Returns a step's quantities; those of the audit are over the attempts that it knows, rewards included."""

    def over(value: Callable[[Attempt], float], kept: Callable[[Attempt], bool] = lambda _: True) -> Moments:
        return Moments.of([[value(attempt) for attempt in group if kept(attempt)] for group in attempts])

    def judged(attempt: Attempt) -> bool:
        return attempt.rollout.score.reward is not None

    found = {
        "reward": over(lambda a: a.rollout.score.reward or 0.0, judged),
        "correct": over(lambda a: float(a.rollout.score.correct), judged),
        "audited_reward": over(lambda a: a.rollout.score.reward or 0.0, lambda a: a.opinion is not None),
        "audit": over(_granted, lambda a: a.opinion is not None),
        "unearned": over(lambda a: a.unearned, lambda a: a.opinion is not None),
        "beyond": over(lambda a: FOLLOWS * a.unearned - _granted(a), lambda a: a.opinion is not None),
        "repeated": over(lambda a: a.signs.repeated),
        "looping": over(lambda a: float(a.signs.looping)),
        "empty": over(lambda a: float(a.signs.empty)),
        "early": over(lambda a: float(a.signs.early)),
        "truncated": over(lambda a: float(a.signs.truncated)),
        "length": over(lambda a: float(a.signs.length)),
        "common": over(lambda a: float(a.common), judged),
        "level": Moments.of([[float(group[0].rollout.problem.level)] for group in attempts if group]),
    }
    return {name: moments for name, moments in found.items() if moments.count}


def together(records: Sequence[Record]) -> Record:
    """Returns the quantities of several steps as if they had been one."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: sum((record[name] for record in records if name in record), Moments()) for name in names}


METRICS = {  # quantity → the metric it is logged as
    "audit": "reward/audit_pass_rate",
    "unearned": "reward/unearned",
    "repeated": "text/repeated_share",
    "looping": "text/looping_share",
    "empty": "thinking/empty_share",
    "early": "thinking/early_share",
    "common": "answers/most_common_share",
    "length": "length/mean",
    "truncated": "length/truncated_share",
}


def metrics_of(record: Record) -> dict[str, float]:
    """Returns what is logged of a step; what did not occur is left out."""
    return {metric: record[name].mean for name, metric in METRICS.items() if name in record}


@dataclass(frozen=True)
class Drift:
    """A change that alarms where accuracy does not follow.

    Attributes:
        name: what the alarm is called.
        setting: the field of AlarmSettings that says how much is too much.
        quantity: what is compared.
        about: the quantity in words.
        shows: how much an attempt shows it; 0 for not at all.
        rule: how the rollouts shown are chosen, in words.
        pays: it alarms only while rewards are as high as at the beginning.
        factor: what is too much is a factor and no difference: 1 upwards, -1 downwards; 0 for a difference.
    """

    name: str
    setting: str
    quantity: str
    about: str
    shows: Callable[[Attempt], float]
    rule: str
    pays: bool = False
    factor: int = 0


def _wrong(attempt: Attempt) -> bool:
    judge = attempt.opinion or attempt.rollout.score
    return not judge.correct


UNEARNED = "unearned reward"
UNEARNED_HELD_OUT = "unearned reward, held out"
NO_GAIN = "no gain held out"
REFUSED = "rewarded, and refused by the audit; the highest reward first"

DRIFTS = (
    Drift(
        "repeated text",
        "repetition",
        "looping",
        "the share of replies of which half was said before",
        lambda a: a.signs.repeated if a.signs.looping else 0.0,
        "the replies that repeat most",
    ),
    Drift(
        "empty thought",
        "empty",
        "empty",
        "the share of thoughts that are empty or a single word",
        lambda a: 1.0 + (a.rollout.score.reward or 0.0) if a.signs.empty else 0.0,
        "empty thoughts; the highest reward first",
        pays=True,
    ),
    Drift(
        "answer before thought",
        "early",
        "early",
        "the share of replies whose answer comes before the thought",
        lambda a: 1.0 + (a.rollout.score.reward or 0.0) if a.signs.early else 0.0,
        "replies whose answer comes first; the highest reward first",
        pays=True,
    ),
    Drift(
        "longer replies",
        "length",
        "length",
        "the mean length of a reply in tokens",
        lambda a: float(a.signs.length) if _wrong(a) else 0.0,
        "the longest replies that are not right",
        factor=1,
    ),
    Drift(
        "shorter replies",
        "length",
        "length",
        "the mean length of a reply in tokens",
        lambda a: 1 / (1 + a.signs.length) if _wrong(a) else 0.0,
        "the shortest replies that are not right",
        factor=-1,
    ),
    Drift(
        "replies cut off",
        "truncation",
        "truncated",
        "the share of replies that ran into their limit",
        lambda a: float(a.signs.truncated),
        "replies that ran into their limit",
    ),
    Drift(
        "one answer for all",
        "sameness",
        "common",
        "the share of the answer that is given most",
        lambda a: a.common * (1.0 + _wrong(a)),
        "attempts with the answer that is given most; those that are not right first",
    ),
)


def showing(attempts: Sequence[Sequence[Attempt]], shows: Callable[[Attempt], float]) -> list[Attempt]:
    """Returns up to three attempts that show something most: of each group the first such one, then others."""
    found = [
        (place, -shows(attempt), number, attempt)
        for number, group in enumerate(attempts)
        for place, attempt in enumerate(sorted((a for a in group if shows(a) > 0), key=lambda a: -shows(a)))
    ]
    return [attempt for *_, attempt in sorted(found, key=lambda each: each[:3])[:EXAMPLES]]
