"""The result of a trial as data, and its recorder."""

import time
from dataclasses import dataclass, field

from poziomka.core.problem import Score, Verdict
from poziomka.core.rollouts.evaluation import Estimate, proportion
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.transcript import Transcript
from poziomka.testing.degenerate_replies import Case

GOLD, MISTAKE, WORTHLESS, JUNK = "gold", "mistake", "worthless", "junk"  # kinds of rows
MOST_HANGING = 3  # timeouts after which a trial ends: each takes the whole time limit
SHOWN = 160  # characters of a reply in an example


@dataclass(frozen=True, slots=True)
class Example:
    """A reply with an unexpected score, or the first of its kind: the problem's key, the abridged reply, its score."""

    problem: str
    reply: str
    score: str


@dataclass(frozen=True, slots=True)
class Row:
    """Result for one kind of reply.

    Attributes:
        kind: GOLD, MISTAKE (an answer that is certainly wrong), WORTHLESS or JUNK (long).
        what: description of the replies.
        count: number of replies.
        accepted: number of replies that were CORRECT or had a reward above 0.
        failed: number of checks that raised, timed out or gave no reward.
        example: the first reply with an unexpected score, or else the first.
    """

    kind: str
    what: str
    count: int
    accepted: int
    failed: int
    example: Example


@dataclass(frozen=True)
class Trial:
    """Result of testing a task: accepted and rejected replies, broken rules, times.

    Attributes:
        task: name of the task.
        rows: results by kind of reply, in the order of their first reply.
        broken: broken rules, one sentence each, in the order of detection.
        golds: for each problem, 1.0 or 0.0 for each right answer: whether the scorer accepted it.
        wrongs: for each problem, 1.0 or 0.0 for each wrong answer: whether it earned a reward.
        check_seconds: mean time of a check in seconds, with the transfer to and from the scorer's process, without
            junk.
        source_seconds: mean time of drawing a problem in seconds.
        seconds: duration of the trial.
    """

    task: str
    rows: tuple[Row, ...]
    broken: tuple[str, ...]
    golds: tuple[tuple[float, ...], ...] = ()
    wrongs: tuple[tuple[float, ...], ...] = ()
    check_seconds: float = 0.0
    source_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether no rule is broken."""
        return not self.broken

    @property
    def gold(self) -> Estimate | None:
        """Fraction of right answers that are accepted, with its interval; None if the task has no right answers."""
        return proportion(self.golds) if any(self.golds) else None

    @property
    def wrong(self) -> Estimate | None:
        """Fraction of wrong answers that earn a reward, with its interval; None if no wrong answer is known."""
        return proportion(self.wrongs) if any(self.wrongs) else None

    def count(self, *kinds: str) -> tuple[int, int]:
        """Returns (replies that earned a reward, replies), two numbers, of the given kinds: WORTHLESS, JUNK, …."""
        rows = [row for row in self.rows if row.kind in kinds]
        return sum(row.accepted for row in rows), sum(row.count for row in rows)


class EnoughError(Exception):
    """Raised to end a trial early, after enough broken rules or timeouts."""


@dataclass
class _Rows:
    """Counts of one kind of reply in a trial in progress."""

    kind: str
    count: int = 0
    accepted: int = 0
    failed: int = 0
    example: Example | None = None
    wrong: bool = False  # whether the example broke a rule


@dataclass
class Record:
    """Recorder of a trial in progress: scores replies, counts them, and collects broken rules.

    Its methods raise EnoughError after `most` broken rules or three timeouts of the scorer.
    """

    scoring: Scoring
    most: int
    rows: dict[str, _Rows] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    rules: set[tuple[str, str]] = field(default_factory=set)  # (rule, what) of the broken ones
    golds: dict[str, list[float]] = field(default_factory=dict)
    wrongs: dict[str, list[float]] = field(default_factory=dict)
    checks: list[float] = field(default_factory=list)  # seconds of each check, without junk
    hanging: int = 0

    async def score(self, case: Case, kind: str, what: str, transcript: Transcript, *, said: str = "") -> Score:
        """Scores a reply, counts it and returns its score.

        Args:
            case: the problem with its known answers.
            kind: kind of the reply: GOLD, MISTAKE, WORTHLESS or JUNK.
            what: description of the reply, by which replies are counted.
            transcript: the transcript with the reply.
            said: name of the reply in messages; "" for `what` with the problem's location.
        """
        row = self.rows.setdefault(what, _Rows(kind))
        began = time.perf_counter()
        score = await self.scoring.score(case.problem, transcript)
        if kind != JUNK:
            self.checks.append(time.perf_counter() - began)
        row.count += 1
        accepted, failed = earns(score), score.reward is None
        row.accepted += accepted
        row.failed += failed
        odd = failed or accepted != (kind == GOLD)
        if row.example is None or (odd and not row.wrong):
            row.wrong = odd
            row.example = Example(case.problem.key, ends(transcript.reply), ends(spelled(score)))
        self._judged(what, said or f"{what} ({case.where})", score)
        if kind == GOLD:
            self.golds.setdefault(case.where, []).append(float(score.correct))
        elif kind == MISTAKE:
            self.wrongs.setdefault(case.where, []).append(float(accepted))
        return score

    def _judged(self, what: str, said: str, score: Score) -> None:
        """Records broken rules that apply to any reply: a timeout, an exception, a missing reward."""
        if score.verdict is Verdict.TIMEOUT:
            self.breaks("hangs", what, f"a scorer returns quickly: at {said}, {score.why}")
        elif score.verdict is Verdict.ERROR:
            self.breaks("raises", what, f"a scorer never raises: at {said}, {score.why}")
        elif score.reward is None:
            self.breaks("silent", what, f"a scorer judges every reply: {said} has no reward: {score}")
        self.hanging += score.verdict is Verdict.TIMEOUT
        if self.hanging >= MOST_HANGING:
            raise EnoughError

    def breaks(self, rule: str, what: str, sentence: str) -> None:
        """Records a broken rule, once for all replies with the same description; may end the trial.

        Args:
            rule: name of the rule.
            what: description of the reply.
            sentence: the violation, for the user.

        Raises:
            EnoughError: `most` rules are broken.
        """
        if (rule, what) not in self.rules:
            self.rules.add((rule, what))
            self.broken.append(sentence)
        if len(self.broken) >= self.most:
            raise EnoughError

    def trial(self, seconds: float) -> Trial:
        """Returns the result of the trial; `seconds` is its duration."""
        rows = [
            Row(row.kind, what, row.count, row.accepted, row.failed, row.example)
            for what, row in self.rows.items()
            if row.example is not None
        ]
        return Trial(
            self.scoring.task.name,
            tuple(rows),
            tuple(self.broken),
            tuple(map(tuple, self.golds.values())),
            tuple(map(tuple, self.wrongs.values())),
            check_seconds=sum(self.checks) / max(1, len(self.checks)),
            seconds=seconds,
        )


def spelled(score: Score) -> str:
    """Returns a score as text for messages."""
    return f"{score.verdict} with reward {score.reward}" + (f" ({score.why})" if score.why else "")


def earns(score: Score) -> bool:
    """Returns whether a score is CORRECT or has a reward above 0; a negative reward earns nothing."""
    return score.correct or (score.reward or 0.0) > 0


def ends(text: str) -> str:
    """Returns a text, with its middle left out if it is longer than 160 characters (SHOWN)."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
