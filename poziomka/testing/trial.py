"""The trial of a task: is what is right accepted, is what is wrong refused, and does nothing else earn a reward?

The scorer runs in a process of its own, with a time limit, whatever the task says of itself: so the trial of a scorer
that hangs does not hang. What comes out is data; `check_task` is the form of it that tests use.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from poziomka.core.errors import PoziomkaError, TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.task import Scorer, Task
from poziomka.core.transcript import Transcript
from poziomka.testing.degenerate_replies import LONG, SIZES, Case, junk, worthless
from poziomka.testing.negatives import mistakes
from poziomka.testing.source import source_rules
from poziomka.testing.trial_record import GOLD, JUNK, MISTAKE, WORTHLESS, EnoughError, Record, Trial, ends, spelled

OTHERS = 12  # right answers to other problems that are listed beside the right one
WHOLLY = 5  # problems of each split on which every worthless reply is tried; on others every third, in turn
DEPENDS = ("an echo of the prompt, as the answer", "a sum of the prompt, not worked out, as the answer")  # on a problem


@dataclass(frozen=True)
class Effort:
    """How much a trial does.

    Attributes:
        budget: seconds after which no further problem is begun; one of each split is tried whatever it takes.
        most: broken rules after which it ends.
        sizes: of long junk, in characters by what to call them.
    """

    budget: float = 60.0
    most: int = 20
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)


WHOLE = Effort()
FIRST = Effort(most=1, sizes={"a megabyte": 1_000_000})  # the first broken rule, sooner


def trial(
    task: Task,
    *,
    splits: Sequence[str] = ("train", "test"),
    problems: int = 20,
    seconds: float = 5.0,
    perturb: Callable[[str], str] | None = None,
    effort: Effort = WHOLE,
) -> Trial:
    """Tries a task: its source, and its scorer in a process of its own.

    Args:
        task: what to try.
        splits: names of its splits; one that the task says is empty is left out.
        problems: how many problems of each split to score; ten times as many keys are compared.
        seconds: within which the scorer must answer anything.
        perturb: makes a wrong answer of the gold one; give your own where one that is almost right can be right.
        effort: how much is tried.
    """
    began = time.perf_counter()
    try:
        drawn, source_seconds = source_rules(task, splits, problems)
    except Exception as error:  # noqa: BLE001 whatever a task raises is a broken rule
        return Trial(task.name, (), (_raised(error),), seconds=time.perf_counter() - began)
    with Scoring(replace(task, trusted=False, scorer=beside(task.scorer)), seconds, workers=1) as scoring:
        tried = try_scorer(scoring, drawn, perturb, effort)
    return replace(tried, source_seconds=source_seconds, seconds=time.perf_counter() - began)


def beside(scorer: Scorer) -> Scorer:
    """Returns a scorer that runs in a thread beside the main one, as scorers do in a notebook, a pool or a server.

    One that limits its time by SIGALRM cannot do so there: it raises, or calls everything wrong. One that changes the
    facts of a problem, which all attempts at it share, raises too.
    """
    threads: list[ThreadPoolExecutor] = []  # made where it is used first: in the worker, after the fork

    def scored(problem: Problem, transcript: Transcript) -> Score:
        if not threads:
            threads.append(ThreadPoolExecutor(1))
        before = deepcopy(problem.facts)
        score = threads[0].submit(scorer, problem, transcript).result()
        if problem.facts != before:
            message = f"a scorer leaves a problem's facts as they are: they were {before!r} and are {problem.facts!r}"
            raise TaskError(message)
        return score

    return scored


def try_scorer(
    scoring: Scoring,
    drawn: Sequence[Sequence[tuple[str, Problem]]],
    perturb: Callable[[str], str] | None = None,
    effort: Effort = WHOLE,
) -> Trial:
    """Tries a task's scorer on problems.

    Args:
        scoring: judges; it knows the task.
        drawn: for each split its problems, each with its name.
        perturb: as for `trial`.
        effort: how much is tried.
    """
    began = time.perf_counter()
    record = Record(scoring, effort.most)
    try:
        wait_for(_try(record, drawn, perturb, effort))
    except EnoughError:
        pass
    except Exception as error:  # noqa: BLE001 whatever the task's own mistakes and demonstrations raise
        record.broken.append(_raised(error))
    return record.trial(time.perf_counter() - began)


def _raised(error: Exception) -> str:
    """Returns an error as a broken rule."""
    ours = isinstance(error, AssertionError | PoziomkaError)
    return str(error) if ours else f"the task raised {type(error).__name__}: {error}"


async def _try(
    record: Record,
    drawn: Sequence[Sequence[tuple[str, Problem]]],
    perturb: Callable[[str], str] | None,
    effort: Effort,
) -> None:
    began = time.perf_counter()
    cases = [case for row in _cases(record.scoring.task, drawn, perturb) for case in row]
    accepted: list[tuple[Case, Score | None]] = []
    for number, case in enumerate(cases):
        if number >= len(drawn) and time.perf_counter() - began > effort.budget / 2:
            break
        accepted.append(await _gold_and_mistakes(record, case))
    _demonstrations(record, accepted)
    for number, (case, _) in enumerate(accepted):
        if number >= len(drawn) and time.perf_counter() - began > effort.budget:
            break
        for place, (what, transcript) in enumerate(worthless(case)):
            if number < WHOLLY * len(drawn) or what in DEPENDS or (place + number) % 3 == 0:
                await _earns_nothing(record, case, WORTHLESS, what, transcript)
    if accepted:
        for what, transcript in junk(accepted[0][0], effort.sizes):
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
            cases.append(Case(where, problem, thought, gold, wrong, answers[:OTHERS]))
        yield cases


def _gold(task: Task, problem: Problem) -> tuple[str, str | None]:
    """Returns a thought and a right answer; no answer where the task tells none."""
    if task.demonstration is not None:
        return task.demonstration(problem)
    return "hm", problem.answer or None


async def _gold_and_mistakes(record: Record, case: Case) -> tuple[Case, Score | None]:
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
            sentence = f"a scorer accepts the gold answer {ends(gold)!r} of {case.where}: received {spelled(refused)}"
            record.breaks("gold", "refused", sentence)
        if refused is not None and not case.problem.answer:
            case = replace(case, gold=None, mistakes={} if record.scoring.task.mistakes is None else case.mistakes)
    for what, wrong in case.mistakes.items():
        transcript = case.answered(wrong, case.thought)
        score = await record.score(case, MISTAKE, what, transcript, said=f"a wrong answer to {case.where}")
        if score.reward or score.correct:
            right = "" if gold is None else f" where {ends(gold)!r} is right"
            told = f"a scorer refuses {ends(wrong)!r}, {what},{right} ({case.where}): received {spelled(score)}"
            record.breaks("wrong", what, told)
    return case, first


def _demonstrations(record: Record, accepted: Sequence[tuple[Case, Score | None]]) -> None:
    """Demonstrations of problems with many right answers may miss, but not most of them."""
    missed = sum(score is None for _, score in accepted)
    if record.golds and 2 * missed >= len(accepted) and not record.broken:
        sentence = f"a scorer accepts what the task demonstrates: it refuses {missed} of {len(accepted)} demonstrations"
        record.breaks("gold", "demonstrations", sentence)


async def _same_again(record: Record, case: Case, first: Score, transcript: Transcript) -> None:
    again = await record.scoring.score(case.problem, transcript)
    if again != first:
        sentence = f"a scorer is pure: one reply to {case.where} was {spelled(first)} and then {spelled(again)}"
        record.breaks("pure", "", sentence)


async def _earns_nothing(record: Record, case: Case, kind: str, what: str, transcript: Transcript) -> None:
    score = await record.score(case, kind, what, transcript)
    if score.reward or score.correct:
        record.breaks("earns", what, f"{what} ({case.where}) earns nothing: received {spelled(score)}")
