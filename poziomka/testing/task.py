"""What a task promises: a pure source, splits that share nothing, and a scorer that cannot be talked into a reward."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from poziomka.core.answers import CLOSE, THINK
from poziomka.core.problem import Problem, Score, Task, Verdict
from poziomka.core.scoring import Scoring
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.testing.rule import rule

KEYS_PER_PROBLEM = 10  # how many more problems are drawn to compare keys than are scored
LARGE = 1_000_000  # characters


def near_miss(answer: str) -> str:
    """Returns an answer that is almost `answer`: its last digit one higher, or a letter more."""
    for place in range(len(answer) - 1, -1, -1):
        if answer[place] in "0123456789":
            return f"{answer[:place]}{(int(answer[place]) + 1) % 10}{answer[place + 1 :]}"
    return answer + "x"


def check_task(
    task: Task,
    *,
    splits: Sequence[str] = ("train", "test"),
    problems: int = 20,
    seconds: float = 5.0,
    perturb: Callable[[str], str] = near_miss,
) -> None:
    """Holds a task to its contract.

    Args:
        task: what to check.
        splits: names of its splits.
        problems: how many problems of each split to score; ten times as many keys are compared.
        seconds: within which the scorer must answer anything.
        perturb: makes a wrong answer of the gold one; give your own where one that is almost right can be right.

    Raises:
        AssertionError: the task breaks a rule; the message says which, where, and what was seen.
    """
    rule(splits and problems > 0, f"a check needs splits and problems: received {splits!r} and {problems}")
    keys: dict[str, str] = {}
    for split in splits:
        _check_source(task, split, problems)
        for key in _keys(task, split, problems * KEYS_PER_PROBLEM):
            rule(key not in keys, f"splits must not share a key: {key!r} is in {keys.get(key)!r} and in {split!r}")
        keys |= dict.fromkeys(_keys(task, split, problems * KEYS_PER_PROBLEM), split)
    asyncio.run(_check_scorer(task, splits, problems, seconds, perturb))


def _draw(task: Task, split: str, count: int) -> list[Problem]:
    there = task.count(split)
    return [task.problem(split, index) for index in range(count if there is None else min(count, there))]


def _keys(task: Task, split: str, count: int) -> list[str]:
    return list(dict.fromkeys(problem.key for problem in _draw(task, split, count)))


def _check_source(task: Task, split: str, count: int) -> None:
    drawn = _draw(task, split, count)
    rule(drawn, f"split {split!r} of task {task.name!r} is empty")
    for index in reversed(range(len(drawn))):  # backwards: a generator that draws share would notice no repetition
        where = f"{split}/{index}"
        problem = task.problem(split, index)
        rule(isinstance(problem, Problem), f"a source returns a Problem: {where} is a {type(problem).__name__}")
        rule(problem == drawn[index], f"a source is pure: {where} was {drawn[index]!r} and then {problem!r}")
        _check_problem(task, problem, where)
    for level in task.levels or ():
        found = task.problem(split, 0, level).level
        rule(found == level, f"a source gives the level that was asked for: asked for {level}, received {found}")
    keys = {problem.key for problem in drawn}
    rule(2 * len(keys) > len(drawn), f"keys name problems: {len(drawn)} of {split!r} have only {len(keys)} keys")


def _check_problem(task: Task, problem: Problem, where: str) -> None:
    rule(problem.task == task.name, f"a problem names its task: {where} says {problem.task!r}, not {task.name!r}")
    rule(problem.key, f"a problem has a key: that of {where} is empty")
    asked = any(message.role == "user" and message.content.strip() for message in problem.prompt)
    rule(asked, f"a prompt asks something as the user: that of {where} is {problem.prompt!r}")
    low, high = task.levels or (problem.level, problem.level)
    rule(low <= problem.level <= high, f"a level lies within {task.levels}: that of {where} is {problem.level}")
    try:
        json.dumps(dict(problem.facts))
    except (TypeError, ValueError) as error:
        rule(holds=False, broken=f"facts are plain data, for the journal: those of {where} are not: {error}")


async def _check_scorer(
    task: Task, splits: Sequence[str], count: int, seconds: float, perturb: Callable[[str], str]
) -> None:
    # in a process of its own, whatever the task says of itself: so a check of a scorer that hangs does not hang
    with Scoring(replace(task, trusted=False), seconds, workers=1) as scoring:
        for split in splits:
            for index, problem in enumerate(_draw(task, split, count)):
                where = f"{split}/{index}"
                gold = _gold(task, problem)
                if gold is not None:
                    await _check_gold(scoring, problem, gold, where)
                    await _check_miss(scoring, problem, gold, perturb(gold[1]), where)
                for what, reply in _hostile(problem, gold, perturb, large=index == 0):
                    await _check_refusal(scoring, problem, reply, f"{what} ({where})")


def _gold(task: Task, problem: Problem) -> tuple[str, str] | None:
    """Returns a thought and a right answer; None where the task tells none."""
    if task.demonstration is not None:
        return task.demonstration(problem)
    return ("hm", problem.answer) if problem.answer else None


async def _check_gold(scoring: Scoring, problem: Problem, gold: tuple[str, str], where: str) -> None:
    thought, answer = gold
    plain = _said(problem, f"{THINK} {thought} {CLOSE} {answer}")
    opened = Transcript.of(problem.prompt) + Span(Author.TEMPLATE, f" {THINK}")
    opened += Span(Author.MODEL, f" {thought} {CLOSE} {answer}", stop=Stop.END)
    for transcript in (plain, opened):  # a chat format may open the thought for the model
        score = await _score(scoring, problem, transcript, f"the gold answer of {where}")
        rule(
            score.correct and score.reward, f"a scorer accepts the gold answer {answer!r} of {where}: received {score}"
        )
    again = await scoring.score(problem, plain)
    first = await scoring.score(problem, plain)
    rule(again == first, f"a scorer is pure: one reply to {where} was {first} and then {again}")


async def _check_miss(scoring: Scoring, problem: Problem, gold: tuple[str, str], wrong: str, where: str) -> None:
    rule(wrong != gold[1], f"`perturb` changes an answer: it left {wrong!r} as it was")
    transcript = _said(problem, f"{THINK} {gold[0]} {CLOSE} {wrong}")
    score = await _score(scoring, problem, transcript, f"a wrong answer to {where}")
    refused = not score.correct and (score.reward is None or score.reward < 1)
    rule(refused, f"a scorer refuses {wrong!r} where {gold[1]!r} is right ({where}): received {score}")


async def _check_refusal(scoring: Scoring, problem: Problem, transcript: Transcript, what: str) -> None:
    score = await _score(scoring, problem, transcript, what)
    rule(score.reward == 0 and not score.correct, f"{what} earns nothing: received {score}")


async def _score(scoring: Scoring, problem: Problem, transcript: Transcript, what: str) -> Score:
    score = await scoring.score(problem, transcript)
    rule(score.verdict is not Verdict.TIMEOUT, f"a scorer returns quickly: at {what}, {score.why}")
    rule(score.verdict is not Verdict.ERROR, f"a scorer never raises: at {what}, {score.why}")
    rule(score.reward is not None, f"a scorer judges every reply: {what} has no reward: {score}")
    return score


def _said(problem: Problem, reply: str) -> Transcript:
    return Transcript.of(problem.prompt) + Span(Author.MODEL, reply, stop=Stop.END)


def _hostile(
    problem: Problem, gold: tuple[str, str] | None, perturb: Callable[[str], str], *, large: bool
) -> Iterator[tuple[str, Transcript]]:
    """Yields replies that are worth nothing, with their descriptions."""
    prompt = "\n".join(message.content for message in problem.prompt)
    answers = {"an echo of the prompt": prompt, **ANSWERS, **(LARGE_ANSWERS if large else {})}
    answers = {what: answer for what, answer in answers.items() if gold is None or answer.strip() != gold[1]}
    replies = {f"{what}, as the answer": f"{THINK} hm {CLOSE} {answer}" for what, answer in answers.items()}
    replies |= {"an empty reply": "", "white space": " \n\t"}
    if gold is not None:
        thought, answer = gold
        wrong = perturb(answer)
        replies["the answer in the thought only"] = f"{THINK} {thought} {answer} {CLOSE}"
        replies["a thought that never closes"] = f"{THINK} {thought} {answer}"
        replies["a thought that is opened again"] = f"{THINK} hm {CLOSE} {THINK} {answer}"
        replies["a thought that is closed twice"] = f"{THINK} hm {CLOSE} {wrong} {CLOSE} {answer}"
        replies["several answers, the right one last"] = f"{THINK} hm {CLOSE} {wrong} {answer}"
        replies["several answers, the right one first"] = f"{THINK} hm {CLOSE} {answer} {wrong}"
    for what, reply in replies.items():
        yield what, _said(problem, reply)
    if gold is not None:
        opened = Transcript.of(problem.prompt) + Span(Author.TEMPLATE, f" {THINK}")
        opened += Span(Author.MODEL, f" {gold[1]}", stop=Stop.END)
        yield "a thought that the prompt opened and nobody closed", opened


ANSWERS = {
    "nothing": "",
    "nan": "nan",
    "inf": "inf",
    "-inf": "-inf",
    "1e999": "1e999",
    "1/0": "1/0",
    "5000 digits": "9" * 5000,  # more than int() reads
    "()": "()",
    "a null character": "\0",
    "a lone surrogate": "\ud800",
    "a digit of another script": "٣",
    "a power that never ends": "9**9**9**9",
}
LARGE_ANSWERS = {
    "a megabyte of letters": "a" * LARGE,
    "a megabyte of digits": "9" * LARGE,
    "a megabyte of brackets": "(" * LARGE,
    "a megabyte of sums": "1+" * (LARGE // 2),
    "a megabyte of white space": " " * LARGE,
    "a megabyte of closed thoughts": CLOSE * (LARGE // len(CLOSE)),
}
