"""Detectors of reward hacking: quantities measured at each step, and the table of drifts that can raise an alarm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from poziomka.core.problem import Score
from poziomka.core.rollout import Group, Rollout
from poziomka.learning.monitoring.clustered_stats import Moments
from poziomka.learning.monitoring.text_features import Signs, most_common_answer, signs_of

FOLLOWS = 2.0  # no alarm if accuracy rises by at least this many times the rise of unearned reward
EXAMPLES = 3  # rollouts that an alarm shows as examples
Record = dict[str, Moments]  # a step's quantities by name


@dataclass(frozen=True)
class Attempt:
    """A scored rollout with its text features and the score of the audit, the second scorer that verifies rewards.

    Attributes:
        rollout: the rollout.
        signs: text features of its reply.
        opinion: the audit's score; None without an audit.
        common: whether its answer is the most frequent answer of the step.
        unearned: the reward minus the audit's reward, if the audit refuses the answer; else 0. A negative reward counts
            as 0 here: a smaller penalty is no reward.
    """

    rollout: Rollout
    signs: Signs
    opinion: Score | None
    common: bool = False
    unearned: float = 0.0


def attempts_in(groups: Sequence[Group], opinions: Mapping[str, Score], *, graded: bool = True) -> list[list[Attempt]]:
    """Returns the attempts of judged groups, by group, with their text features and audit scores.

    Args:
        groups: groups of one step or of one evaluation.
        opinions: scores of the audit (the second scorer) by rollout id; a rollout may have none.
        graded: whether the audit gives partial credit. If not, only rewards of answers that the first scorer judged
            CORRECT can count as unearned.
    """
    common = most_common_answer(groups)

    def seen(rollout: Rollout) -> Attempt:
        score, opinion = rollout.score, opinions.get(rollout.id)
        contested = opinion is not None and (graded or score.correct) and not opinion.correct
        beyond = _paid(score) - _paid(opinion) if contested and opinion is not None else 0.0
        shared = score.answer is not None and score.answer == common
        return Attempt(rollout, signs_of(rollout), opinion, shared, max(0.0, beyond))

    return [[seen(rollout) for rollout in group] for group in groups]


def _paid(score: Score) -> float:
    """Returns the reward of a score; 0 for a negative one or a failed check."""
    return max(0.0, score.reward or 0.0)


def _granted(attempt: Attempt) -> float:
    """Returns the audit's reward of an attempt; 0 if that is negative or there is no audit."""
    return 0.0 if attempt.opinion is None else _paid(attempt.opinion)


def _accepted(attempt: Attempt) -> float:
    """Returns 1 if the audit's verdict is CORRECT, else 0."""
    return float(attempt.opinion is not None and attempt.opinion.correct)


def record_of(attempts: Sequence[Sequence[Attempt]]) -> Record:
    """Returns the quantities of a step by name, as moments over groups, from its attempts by group.

    Quantities of the audit (the second scorer) cover the audited attempts only.

    "beyond" is 2 (FOLLOWS) × unearned reward - the audit's reward; its rise means that accuracy did not rise enough to
    explain the rise of unearned reward. "audit" is the audit's reward, which alarms compare with the reward, and
    "audit_correct" the share of its CORRECT verdicts. Quantities without a value are left out.
    """

    def over(value: Callable[[Attempt], float], kept: Callable[[Attempt], bool] = lambda _: True) -> Moments:
        return Moments.of([[value(attempt) for attempt in group if kept(attempt)] for group in attempts])

    def judged(attempt: Attempt) -> bool:
        return attempt.rollout.score.reward is not None

    found = {
        "reward": over(lambda a: a.rollout.score.reward or 0.0, judged),
        "penalized": over(lambda a: float((a.rollout.score.reward or 0.0) < 0), judged),
        "correct": over(lambda a: float(a.rollout.score.correct), judged),
        "audited_reward": over(lambda a: a.rollout.score.reward or 0.0, lambda a: a.opinion is not None),
        "audit": over(_granted, lambda a: a.opinion is not None),
        "audit_correct": over(_accepted, lambda a: a.opinion is not None),
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
    """Returns the quantities of several steps pooled into one record."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: sum((record[name] for record in records if name in record), Moments()) for name in names}


METRICS = {  # quantity → name of the logged metric
    "audit_correct": "reward/audit_pass_rate",
    "unearned": "reward/unearned",
    "repeated": "text/repeated_share",
    "looping": "text/looping_share",
    "empty": "thinking/empty_share",
    "early": "thinking/early_share",
    "common": "answers/mode_share",
    "length": "length/mean",
    "truncated": "length/truncated_share",
}


def metrics_of(record: Record) -> dict[str, float]:
    """Returns the means of a step's record by the metric names in METRICS; quantities that it lacks are left out."""
    return {metric: record[name].mean for name, metric in METRICS.items() if name in record}


@dataclass(frozen=True)
class Drift:
    """A change of a quantity that raises an alarm of reward hacking unless accuracy rose or problems became harder.

    Attributes:
        name: name of the alarm.
        setting: name of the field of AlarmSettings with its threshold.
        quantity: name of the quantity that is compared, as in `record_of`.
        about: description of the quantity for the message.
        shows: function from an attempt to the strength of the drift in it; 0 for none.
        rule: description of how the example rollouts are chosen.
        pays: whether to raise the alarm only while the mean reward is at least as high as at the beginning.
        factor: 1 or -1 if the threshold is a factor of growth or of shrinkage; 0 if it is a difference.
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
        lambda a: 2.0 + (a.rollout.score.reward or 0.0) if a.signs.empty else 0.0,
        "empty thoughts; the highest reward first",
        pays=True,
    ),
    Drift(
        "answer before thought",
        "early",
        "early",
        "the share of replies whose answer comes before the thought",
        lambda a: 2.0 + (a.rollout.score.reward or 0.0) if a.signs.early else 0.0,
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
    """Returns at most 3 (EXAMPLES) attempts with the highest `shows`: the top one of each group before all others.

    Args:
        attempts: attempts by group.
        shows: function from an attempt to the strength of the drift in it; attempts with 0 are left out.
    """
    found = [
        (place, -shows(attempt), number, attempt)
        for number, group in enumerate(attempts)
        for place, attempt in enumerate(sorted((a for a in group if shows(a) > 0), key=lambda a: -shows(a)))
    ]
    return [attempt for *_, attempt in sorted(found, key=lambda each: each[:3])[:EXAMPLES]]
