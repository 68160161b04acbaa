"""Does the scorer accept what is right and refuse what is not?"""

import re
import time
from collections import Counter
from collections.abc import Iterator

from poziomka.core.answers import CLOSE, THINK
from poziomka.core.collect import wait_for
from poziomka.core.problem import Problem, Score
from poziomka.core.scoring import Scoring
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.training.doctor.finding import Finding
from poziomka.training.doctor.format import written_out
from poziomka.training.doctor.parts import Bench

NEAR = ("a number one off", "digits swapped")  # answers so near that tolerance may be meant


def scorer(bench: Bench) -> Finding:
    """Gives the scorer right answers, almost right ones, and replies that try to be right without knowing."""
    return wait_for(_scorer(bench))


async def _scorer(bench: Bench) -> Finding:
    name, task, problems = "scorer", bench.parts.task, bench.problems
    golds = [(problem, *written_out(task, problem)) for problem in problems if task.demonstration or problem.answer]
    if not golds:
        advice = "give the task a demonstration or its problems an answer, so that its scorer can be tried"
        return Finding.warned(name, "no gold answer is known", advice)
    began, refused, failed = time.perf_counter(), [], []
    accepted: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    with Scoring(task, bench.parts.settings.scorer_seconds, workers=1) as scoring:
        for problem, thought, answer in golds:
            score = await scoring.score(problem, _said(problem, thought, answer))
            if score.reward is None:
                failed.append(score.why)
            elif not score.correct:
                refused.append((problem, answer, score))
        for number, (problem, thought, answer) in enumerate(golds):
            others = [other for at, (_, _, other) in enumerate(golds) if at != number]
            for what, wrong in misses(problem, answer, others):
                score = await scoring.score(problem, _said(problem, thought, wrong))
                tried[what] += 1
                accepted[what] += score.correct
    seconds = (time.perf_counter() - began) / (len(golds) + sum(tried.values()))
    if failed:
        return Finding.failed(name, f"{len(failed)} of {len(golds)} checks of gold answers failed: {failed[0]}", MEND)
    if any(problem.answer for problem, _, _ in refused) or 2 * len(refused) >= len(golds):
        return _refusal(refused, len(golds))
    fooled = {what: count for what, count in accepted.items() if count}
    told = ", ".join(f"{what} ({count} of {tried[what]})" for what, count in fooled.items())
    if any(what not in NEAR or 2 * count >= tried[what] for what, count in fooled.items()):
        advice = "a model will find this: reward the whole answer after the thought, compared exactly (core/answers.py)"
        return Finding.failed(name, f"accepts {told}", advice)
    figure = f"{len(golds) - len(refused)} of {len(golds)} right answers accepted, {sum(tried.values())} wrong ones"
    figure += f" refused, {1000 * seconds:.2g} ms a check"
    if fooled:
        return Finding.warned(name, f"accepts {told}", "see whether so much tolerance is meant")
    if refused:
        return Finding.warned(name, figure, "not every demonstration ends right: see whether that is meant")
    return Finding.passed(name, figure)


MEND = "mend the scorer: a failed check is never a reward, and more than a few of them stop a run"


def _refusal(refused: list[tuple[Problem, str, Score]], count: int) -> Finding:
    problem, answer, score = refused[0]
    figure = (
        f"refuses {len(refused)} of {count} gold answers: {answer[:40]!r} to {problem.key[:40]!r} is {score.verdict}"
    )
    why = f" ({score.why[:80]})" if score.why else ""
    return Finding.failed("scorer", figure + why, "accept what the task itself calls right: else no reward can come")


def misses(problem: Problem, answer: str, others: list[str]) -> Iterator[tuple[str, str]]:
    """Yields (what it is, a wrong answer): near the gold one, or what a model tries that does not know.

    Args:
        problem: whose answer it is.
        answer: the gold one.
        others: gold answers of other problems.
    """
    numbers = list(re.finditer(r"\d+", answer))
    if numbers:
        last = numbers[-1]
        for step in (1, -1):
            yield NEAR[0], f"{answer[: last.start()]}{int(last[0]) + step}{answer[last.end() :]}"
        digits = last[0]
        swapped = digits[:-2] + digits[-1] + digits[-2] if len(digits) > 1 else digits
        if int(swapped) != int(digits):
            yield NEAR[1], f"{answer[: last.start()]}{swapped}{answer[last.end() :]}"
    else:
        yield "a letter more", f"{answer}x"
    yield "an empty answer", ""
    if (asked := problem.prompt[-1].content.strip()) != answer:
        yield "the prompt echoed", asked
    different = [other for other in dict.fromkeys(others) if other != answer]
    if different:
        listed = [*different[: len(different) // 2], answer, *different[len(different) // 2 :]]
        yield "every candidate listed", " ".join(listed)


def _said(problem: Problem, thought: str, answer: str) -> Transcript:
    """Returns the reply as a chat format that opens the thought gives it to the scorer."""
    opened = Transcript.of(problem.prompt) + Span(Author.TEMPLATE, f" {THINK}")
    return opened + Span(Author.MODEL, f" {thought} {CLOSE} {answer}", stop=Stop.END)
