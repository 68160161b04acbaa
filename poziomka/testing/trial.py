"""The trial of a task: is what is right accepted, is what is wrong refused, and does nothing else earn a reward?

The scorer runs in a process of its own, with a time limit, whatever the task says of itself: so the trial of a scorer
that hangs does not hang. What comes out is data; `check_task` is the form of it that tests use.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from poziomka.core.collect import wait_for
from poziomka.core.errors import PoziomkaError
from poziomka.core.evaluation import Estimate, proportion
from poziomka.core.problem import Problem, Score, Scorer, Task, Verdict
from poziomka.core.scoring import Scoring
from poziomka.core.transcript import Transcript
from poziomka.testing.mistakes import mistakes
from poziomka.testing.source import source_rules
from poziomka.testing.worthless import LONG, Case, junk, worthless

GOLD, MISTAKE, WORTHLESS, JUNK = "gold", "mistake", "worthless", "junk"  # kinds of rows
MOST_HANGING = 3  # replies at which the scorer hangs, or dies, before a trial ends: each costs the whole time limit
MOST_BROKEN = 20  # broken rules that a trial tells
OTHERS = 12  # right answers to other problems that are listed beside the right one
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


def trial(
    task: Task,
    *,
    splits: Sequence[str] = ("train", "test"),
    problems: int = 20,
    seconds: float = 5.0,
    budget: float = 60.0,
    perturb: Callable[[str], str] | None = None,
    most: int = MOST_BROKEN,
) -> Trial:
    """Tries a task: its source, and its scorer in a process of its own.

    Args:
        task: what to try.
        splits: names of its splits; one that the task says is empty is left out.
        problems: how many problems of each split to score; ten times as many keys are compared.
        seconds: within which the scorer must answer anything.
        budget: seconds after which no further problem is begun; one of each split is tried whatever it takes.
        perturb: makes a wrong answer of the gold one; give your own where one that is almost right can be right.
        most: broken rules after which the trial ends.
    """
    began = time.perf_counter()
    try:
        drawn, source_seconds = source_rules(task, splits, problems)
    except (AssertionError, PoziomkaError) as error:
        return Trial(task.name, (), (str(error),), seconds=time.perf_counter() - began)
    with Scoring(replace(task, trusted=False, scorer=beside(task.scorer)), seconds, workers=1) as scoring:
        tried = try_scorer(scoring, drawn, budget=budget, perturb=perturb, most=most)
    return replace(tried, source_seconds=source_seconds, seconds=time.perf_counter() - began)


def beside(scorer: Scorer) -> Scorer:
    """Returns a scorer that runs in a thread beside the main one, as scorers do in a notebook, a pool or a server.

    One that limits its time by SIGALRM cannot do so there: it raises, or calls everything wrong.
    """
    threads: list[ThreadPoolExecutor] = []  # made where it is used first: in the worker, after the fork

    def scored(problem: Problem, transcript: Transcript) -> Score:
        if not threads:
            threads.append(ThreadPoolExecutor(1))
        return threads[0].submit(scorer, problem, transcript).result()

    return scored


def try_scorer(
    scoring: Scoring,
    drawn: Sequence[Sequence[tuple[str, Problem]]],
    *,
    budget: float = 60.0,
    perturb: Callable[[str], str] | None = None,
    most: int = MOST_BROKEN,
    long: bool = True,
) -> Trial:
    """Tries a task's scorer on problems.

    Args:
        scoring: judges; it knows the task.
        drawn: for each split its problems, each with its name.
        budget: as for `trial`.
        perturb: as for `trial`.
        most: as for `trial`.
        long: whether megabytes of junk are tried too.
    """
    began = time.perf_counter()
    record = _Record(scoring, most)
    try:
        wait_for(_try(record, drawn, budget, perturb, long=long))
    except _EnoughError:
        pass
    except (AssertionError, PoziomkaError) as error:  # the task's own mistakes or demonstration
        record.broken.append(str(error))
    return record.trial(time.perf_counter() - began)


class _EnoughError(Exception):
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
class _Record:
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
            row.example = Example(case.problem.key, _ends(transcript.reply), _ends(_spelled(score)))
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
            raise _EnoughError

    def breaks(self, rule: str, what: str, sentence: str) -> None:
        """Notes a broken rule, once for all replies of a kind."""
        if (rule, what) not in self.rules:
            self.rules.add((rule, what))
            self.broken.append(sentence)
        if len(self.broken) >= self.most:
            raise _EnoughError

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


async def _try(
    record: _Record,
    drawn: Sequence[Sequence[tuple[str, Problem]]],
    budget: float,
    perturb: Callable[[str], str] | None,
    *,
    long: bool,
) -> None:
    began = time.perf_counter()
    cases = [case for row in _cases(record.scoring.task, drawn, perturb) for case in row]
    accepted: list[tuple[Case, Score | None]] = []
    for number, case in enumerate(cases):
        if number >= len(drawn) and time.perf_counter() - began > budget / 2:
            break
        accepted.append(await _gold_and_mistakes(record, case))
    if not any(case.gold is not None and score is not None for case, score in accepted) and record.golds:
        record.breaks("gold", "all", "a scorer accepts gold answers: it refuses every one")
    _demonstrations(record, accepted)
    for number, (case, _) in enumerate(accepted):
        if number >= len(drawn) and time.perf_counter() - began > budget:
            break
        for what, transcript in worthless(case):
            await _earns_nothing(record, case, WORTHLESS, what, transcript)
    if long and accepted:
        for what, transcript in junk(accepted[0][0]):
            await _earns_nothing(record, accepted[0][0], JUNK, what, transcript)
    for case, first in accepted:  # once more, now that the scorer has seen everything else
        if first is not None and case.gold is not None:
            await _same_again(record, case, first, case.answered(case.gold, case.thought))


def _cases(
    task: Task, drawn: Sequence[Sequence[tuple[str, Problem]]], perturb: Callable[[str], str] | None
) -> Iterator[list[Case]]:
    """Yields the first problem of each split, then the second of each, and so on."""
    golds = {where: _gold(task, problem) for row in drawn for where, problem in row}
    answers = [answer for _, answer in golds.values() if answer is not None]
    for row in zip_longest(*drawn):
        cases: list[Case] = []
        for where, problem in filter(None, row):
            thought, gold = golds[where]
            wrong = mistakes(task, problem, gold, perturb)
            if gold is not None and any(answer.strip() == gold.strip() for answer in wrong.values()):
                by = "`perturb` changes an answer" if perturb else "a mistake is no right answer"
                message = f"{by}: it left {gold!r} as it was"
                raise AssertionError(message)
            place = len(cases) + 1
            others = [*answers[place : place + OTHERS], *answers[: max(0, OTHERS - len(answers) + place)]]
            cases.append(Case(where, problem, thought, gold, wrong, others))
        yield cases


def _gold(task: Task, problem: Problem) -> tuple[str, str | None]:
    """Returns a thought and a right answer; no answer where the task tells none."""
    if task.demonstration is not None:
        return task.demonstration(problem)
    return "hm", problem.answer or None


async def _gold_and_mistakes(record: _Record, case: Case) -> tuple[Case, Score | None]:
    """Tries what is right and what is almost right; a demonstration that misses is no gold answer for what follows."""
    first: Score | None = None
    gold = case.gold
    if gold is not None:
        plain = case.answered(gold, case.thought)
        forms = {
            "the gold answer": plain,
            "the gold answer, where the prompt opened the thought": case.opened(f"{case.thought} </think> {gold}"),
            "the gold answer after a long thought": case.answered(gold, f"{LONG * 200}{case.thought}"),
        }
        scores = [
            await record.score(case, GOLD, what, form, said=f"{what} of {case.where}") for what, form in forms.items()
        ]
        refused = next((score for score in scores if not (score.correct and score.reward)), None)
        if refused is None:
            first = scores[0]
            await _same_again(record, case, first, plain)
        elif case.problem.answer or refused.verdict is not Verdict.WRONG or scores[0].correct:
            sentence = f"a scorer accepts the gold answer {_ends(gold)!r} of {case.where}: received {_spelled(refused)}"
            record.breaks("gold", "refused", sentence)
        if refused is not None and not case.problem.answer:
            case = replace(case, gold=None, mistakes={} if record.scoring.task.mistakes is None else case.mistakes)
    for what, wrong in case.mistakes.items():
        transcript = case.answered(wrong, case.thought)
        score = await record.score(case, MISTAKE, what, transcript, said=f"a wrong answer to {case.where}")
        if score.reward or score.correct:
            right = "" if gold is None else f" where {_ends(gold)!r} is right"
            told = f"a scorer refuses {_ends(wrong)!r}, {what},{right} ({case.where}): received {_spelled(score)}"
            record.breaks("wrong", what, told)
    return case, first


def _demonstrations(record: _Record, accepted: Sequence[tuple[Case, Score | None]]) -> None:
    """Demonstrations of problems with many right answers may miss, but not most of them."""
    missed = sum(score is None for _, score in accepted)
    if record.golds and 2 * missed >= len(accepted):
        sentence = f"a scorer accepts what the task demonstrates: it refuses {missed} of {len(accepted)} demonstrations"
        record.breaks("gold", "demonstrations", sentence)


async def _same_again(record: _Record, case: Case, first: Score, transcript: Transcript) -> None:
    again = await record.scoring.score(case.problem, transcript)
    if again != first:
        sentence = f"a scorer is pure: one reply to {case.where} was {_spelled(first)} and then {_spelled(again)}"
        record.breaks("pure", "", sentence)


async def _earns_nothing(record: _Record, case: Case, kind: str, what: str, transcript: Transcript) -> None:
    score = await record.score(case, kind, what, transcript)
    if score.reward or score.correct:
        record.breaks("earns", what, f"{what} ({case.where}) earns nothing: received {_spelled(score)}")


def _spelled(score: Score) -> str:
    return f"{score.verdict} with reward {score.reward}" + (f" ({score.why})" if score.why else "")


def _ends(text: str) -> str:
    """Returns a text, or the two ends of a long one."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
