"""The trial of a task: its scorer must accept right answers, reject wrong ones and reward no degenerate reply.

The scorer always runs in a process of its own with a time limit, even if the task is `trusted`, so that a scorer that
hangs does not block the trial. The result is data; `check_task` is an assertion on it for tests.
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
from poziomka.core.task import Scorer, Task, ask, scored
from poziomka.core.transcript import Transcript
from poziomka.testing.degenerate_replies import LONG, SIZES, Case, junk, worthless
from poziomka.testing.negatives import mistakes
from poziomka.testing.source import source_rules
from poziomka.testing.trial_record import (
    GOLD,
    JUNK,
    MISTAKE,
    WORTHLESS,
    EnoughError,
    Record,
    Trial,
    earns,
    ends,
    spelled,
)

OTHERS = 12  # number of right answers to other problems that are listed with the right one
WHOLLY = 5  # problems per split with all degenerate replies; the others get every third, in turn
# degenerate replies that depend on the problem, and are tried on all problems
DEPENDS = ("an echo of the prompt, as the answer", "a sum of the prompt, not worked out, as the answer")


@dataclass(frozen=True)
class Effort:
    """Limits of a trial: its time, the number of broken rules that ends it, and the lengths of junk replies.

    Attributes:
        budget: seconds after which no further problem is started; one problem of each split is always tried.
        most: number of broken rules after which the trial ends.
        sizes: lengths of junk replies in characters, by a name for messages.
    """

    budget: float = 60.0
    most: int = 20
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)


WHOLE = Effort()
FIRST = Effort(most=1, sizes={"a megabyte": 1_000_000})  # stops at the first broken rule


def trial(
    task: Task,
    *,
    splits: Sequence[str] = ("train", "test"),
    problems: int = 20,
    seconds: float = 5.0,
    perturb: Callable[[str], str] | None = None,
    effort: Effort = WHOLE,
) -> Trial:
    """Tests a task's source, and its scorer in a separate process; returns counts of replies and broken rules.

    Args:
        task: the task to test.
        splits: names of its splits; splits without problems are skipped.
        problems: number of problems per split to score; of ten times as many, the keys are compared between splits.
        seconds: time limit of the scorer for any reply.
        perturb: turns the gold answer into a wrong one; give your own if an answer close to the gold one can be right;
            None uses the task's own mistakes, or small changes of the gold answer.
        effort: limits of the trial.
    """
    began = time.perf_counter()
    try:
        drawn, source_seconds = source_rules(task, splits, problems)
    except Exception as error:  # noqa: BLE001 any exception of a task is a broken rule
        return Trial(task.name, (), (_raised(error),), seconds=time.perf_counter() - began)
    with Scoring(replace(task, trusted=False, scorer=Beside(task.scorer)), seconds, workers=1) as scoring:
        tried = try_scorer(scoring, drawn, perturb, effort)
    return replace(tried, source_seconds=source_seconds, seconds=time.perf_counter() - began)


class Beside:
    """Wrapper that runs a scorer in a thread other than the main one, as a notebook, a pool or a server does.

    A scorer that uses SIGALRM for a time limit cannot do so there: it raises, or rejects all answers. A scorer that
    changes a problem's facts, which all attempts share, raises TaskError.
    """

    def __init__(self, scorer: Scorer) -> None:
        """Stores the scorer; the thread is created on first use, in the worker after the fork."""
        self.scorer = scorer
        self._threads: list[ThreadPoolExecutor] = []

    async def ask(self, problem: Problem, transcript: Transcript) -> object:
        """Returns the result of the wrapped scorer's `ask`, such as a judge model's replies; None if it asks none."""
        return await ask(self.scorer, problem, transcript)

    def settle(self, problem: Problem, transcript: Transcript, asked: object) -> Score:
        """Returns the wrapped scorer's score, computed in the other thread.

        Args:
            problem: the problem.
            transcript: the attempt.
            asked: result of `ask`; None if nothing was asked.

        Raises:
            TaskError: the scorer changed the problem's facts.
        """
        if not self._threads:
            self._threads.append(ThreadPoolExecutor(1))
        before = deepcopy(problem.facts)
        score = self._threads[0].submit(scored, self.scorer, problem, transcript, asked).result()
        if problem.facts != before:
            message = f"a scorer leaves a problem's facts as they are: they were {before!r} and are {problem.facts!r}"
            raise TaskError(message)
        return score

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the wrapped scorer's score of an attempt, computed in the other thread; see `settle`."""
        return self.settle(problem, transcript, None)


def try_scorer(
    scoring: Scoring,
    drawn: Sequence[Sequence[tuple[str, Problem]]],
    perturb: Callable[[str], str] | None = None,
    effort: Effort = WHOLE,
) -> Trial:
    """Tests a task's scorer with right, wrong and degenerate replies; returns counts of replies and broken rules.

    Args:
        scoring: open scorer of the task that is tested.
        drawn: for each split, its problems as (location for messages such as "train/7", problem).
        perturb: turns a gold answer into a wrong one; None uses the task's own mistakes, or small changes of it.
        effort: limits of the trial.
    """
    began = time.perf_counter()
    record = Record(scoring, effort.most)
    try:
        wait_for(_try(record, drawn, perturb, effort))
    except EnoughError:
        pass
    except Exception as error:  # noqa: BLE001 any exception of the task's mistakes and demonstrations
        record.broken.append(_raised(error))
    return record.trial(time.perf_counter() - began)


def _raised(error: Exception) -> str:
    """Returns the sentence about an exception that is recorded as a broken rule."""
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
    for case, first in accepted:  # again after all other replies, to detect state in the scorer
        if first is not None and case.gold is not None:
            await _same_again(record, case, first, case.answered(case.gold, case.thought))


def _cases(
    task: Task, drawn: Sequence[Sequence[tuple[str, Problem]]], perturb: Callable[[str], str] | None
) -> Iterator[list[Case]]:
    """Yields the cases of the first problem of each split, then those of the second problem of each, and so on."""
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
    """Returns (thought, right answer) of a problem; the answer is None if the task knows none."""
    if task.demonstration is not None:
        return task.demonstration(problem)
    return "hm", problem.answer or None


async def _gold_and_mistakes(record: Record, case: Case) -> tuple[Case, Score | None]:
    """Scores a case's right and wrong answers, and records broken rules.

    Returns:
        The case, without its gold answer if that is a demonstration that the scorer refused; and the score of the gold
        answer, None if it was refused or none is known.
    """
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
        refused = next((score for score in scores if not (score.correct and (score.reward or 0.0) > 0)), None)
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
        if earns(score):
            right = "" if gold is None else f" where {ends(gold)!r} is right"
            told = f"a scorer refuses {ends(wrong)!r}, {what},{right} ({case.where}): received {spelled(score)}"
            record.breaks("wrong", what, told)
    return case, first


def _demonstrations(record: Record, accepted: Sequence[tuple[Case, Score | None]]) -> None:
    """Records a broken rule if half or more of the demonstrations fail; some may, if many answers are right."""
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
    if earns(score):
        record.breaks("earns", what, f"{what} ({case.where}) must earn nothing: was scored {spelled(score)}")
