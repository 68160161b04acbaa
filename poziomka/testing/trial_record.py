"""What came of a trial, as data, and how it is gathered while the trial goes on."""

import time
from dataclasses import dataclass, field

from poziomka.core.problem import Score, Verdict
from poziomka.core.rollouts.evaluation import Estimate, proportion
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.transcript import Transcript
from poziomka.testing.degenerate_replies import Case

GOLD, MISTAKE, WORTHLESS, JUNK = "gold", "mistake", "worthless", "junk"  # kinds of rows
MOST_HANGING = 3  # replies at which the scorer hangs before a trial ends: each costs the whole time limit
SHOWN = 160  # characters of a reply that are shown


@dataclass(frozen=True, slots=True)
class Example:
    """A reply that broke a rule, or the first that was tried: problem, the reply's two ends, what the scorer said."""

    problem: str
    reply: str
    score: str


@dataclass(frozen=True, slots=True)
class Row:
    """What was tried of one kind.

    Attributes:
        kind: GOLD, MISTAKE (an answer that is certainly wrong), WORTHLESS or JUNK (long).
        what: what the replies were.
        count: how many.
        accepted: how many were called right or earned something.
        failed: checks that raised, hung or gave no reward.
        example: the first that should have come out otherwise, else the first.
    """

    kind: str
    what: str
    count: int
    accepted: int
    failed: int
    example: Example


@dataclass(frozen=True)
class Trial:
    """What came of trying a task.

    Attributes:
        task: its name.
        rows: what was tried, in the order in which it was first tried.
        broken: the rules that do not hold, a sentence each; the first is the first that was met.
        golds: whether right answers were accepted, by problem.
        wrongs: whether certainly wrong answers earned something, by problem.
        check_seconds: mean time of a check, its way into the scorer's process and back included, junk apart.
        source_seconds: mean time in which a problem is drawn.
        seconds: the whole trial.
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
        """Share of right answers that are accepted, clustered by problem; None where the task tells none."""
        return proportion(self.golds) if any(self.golds) else None

    @property
    def wrong(self) -> Estimate | None:
        """Share of certainly wrong answers that earn something, clustered by problem; None where none is known."""
        return proportion(self.wrongs) if any(self.wrongs) else None

    def count(self, *kinds: str) -> tuple[int, int]:
        """Returns how many replies of some kinds earned something, and how many there were."""
        rows = [row for row in self.rows if row.kind in kinds]
        return sum(row.accepted for row in rows), sum(row.count for row in rows)


class EnoughError(Exception):
    """So many rules are broken that trying more says nothing."""


@dataclass
class _Rows:
    """The replies of one row, while they are being tried."""

    kind: str
    count: int = 0
    accepted: int = 0
    failed: int = 0
    example: Example | None = None
    wrong: bool = False  # whether the example broke a rule


@dataclass
class Record:
    """What has been tried so far."""

    scoring: Scoring
    most: int
    rows: dict[str, _Rows] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    rules: set[tuple[str, str]] = field(default_factory=set)  # (rule, what) of the broken ones
    golds: dict[str, list[float]] = field(default_factory=dict)
    wrongs: dict[str, list[float]] = field(default_factory=dict)
    checks: list[float] = field(default_factory=list)  # seconds of each, junk apart
    hanging: int = 0

    async def score(self, case: Case, kind: str, what: str, transcript: Transcript, *, said: str = "") -> Score:
        """Judges a reply and counts it; `said` names it in sentences."""
        row = self.rows.setdefault(what, _Rows(kind))
        began = time.perf_counter()
        score = await self.scoring.score(case.problem, transcript)
        if kind != JUNK:
            self.checks.append(time.perf_counter() - began)
        row.count += 1
        accepted, failed = score.correct or bool(score.reward), score.reward is None
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
        """Holds a scorer to what it owes any reply."""
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
        """Notes a broken rule, once for all replies of a kind."""
        if (rule, what) not in self.rules:
            self.rules.add((rule, what))
            self.broken.append(sentence)
        if len(self.broken) >= self.most:
            raise EnoughError

    def trial(self, seconds: float) -> Trial:
        """Returns the record as data."""
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
    """Returns a score as sentences of a trial tell it."""
    return f"{score.verdict} with reward {score.reward}" + (f" ({score.why})" if score.why else "")


def ends(text: str) -> str:
    """Returns a text, or the two ends of a long one."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
