"""`poziomka tasks play`: a person answers a task's problems, and the task's scorer judges the answers."""

import asyncio
from dataclasses import dataclass, replace
from statistics import fmean

from poziomka.app.cli.tasks import demand_few, said, solution, split_of
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.safety.terminal import visible
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript
from poziomka.reports.words import counted
from poziomka.tasks import task_named

SECONDS = 30.0  # time limit of one check


@dataclass(frozen=True)
class Game:
    """Selection of a task's problems for a person to answer.

    Attributes:
        name: name of the task.
        split: "train", "test", …; None for the training split, or for the test split if that is empty.
        level: difficulty; None for the mixture of levels that training has.
        count: largest number of problems.
    """

    name: str
    split: str | None = None
    level: int | None = None
    count: int = 10


def play(game: Game) -> None:
    """Prints problems, reads an answer to each from stdin, and prints its score, with a correct answer if it is wrong.

    Ends after the last problem, at the end of stdin or on Ctrl-C, and prints a summary.

    Raises:
        TaskError: no such task, split or level, too many problems, an empty split, or its source raised.
    """
    demand_few(game.count)
    task = task_named(game.name)
    split = split_of(task, game.split)
    there = task.count(split)
    problems = task.take(split, 0, game.count if there is None else max(1, min(game.count, there)), game.level)
    scores: list[Score] = []
    if task.environment is not None:
        print("Models answer this task with tools in an environment; here it is answered without them.\n")
    with Scoring(replace(task, trusted=False), SECONDS, workers=1) as scoring:
        try:
            for number, problem in enumerate(problems, 1):
                print(_asked(problem, number, len(problems)))
                answer = _read(several=_several_lines(task, problem))
                if answer is None:
                    print()
                    break
                scores.append(_score(scoring, problem, answer))
                print(f"{_told(task, problem, scores[-1])}\n")
        except KeyboardInterrupt:
            print()
    print(_tally(scores))


def _score(scoring: Scoring, problem: Problem, answer: str) -> Score:
    transcript = Transcript.of(problem.prompt) + Span(Author.MODEL, answer, stop=Stop.END)
    return asyncio.run(scoring.score(problem, transcript))


def _asked(problem: Problem, number: int, count: int) -> str:
    lines = [f"problem {number} of {count} · level {problem.level}"]
    return "\n".join([*lines, *(said(message.role, message.content) for message in problem.prompt)])


def _several_lines(task: Task, problem: Problem) -> bool:
    """Returns whether to read answers of several lines: if a known correct one has several, or none is known."""
    if not problem.answer and task.demonstration is None:
        return True
    return "\n" in (problem.answer or solution(task, problem)[1]).strip()


def _read(*, several: bool) -> str | None:
    """Returns an answer of one or, if `several`, more lines from stdin; None at the end of the input."""
    lines: list[str] = []
    print(
        "your answer, ended by an empty line or a single dot:" if several else "your answer: ",
        end="\n" * several,
        flush=True,
    )
    while True:
        try:
            line = input()
        except EOFError:
            return "\n".join(lines) if lines else None
        if several and line in ("", "."):
            return "\n".join(lines)
        lines.append(line)
        if not several:
            return line


def _told(task: Task, problem: Problem, score: Score) -> str:
    reward = "no reward: the check failed" if score.reward is None else f"reward {score.reward:g}"
    lines = [f"  {score.verdict} · {reward}" + (f" · {visible(score.why)}" if score.why else "")]
    if not score.correct:
        lines.append(said("right", solution(task, problem)[1]))
    return "\n".join(lines)


def _tally(scores: list[Score]) -> str:
    rewards = [score.reward for score in scores if score.reward is not None]
    if not rewards:
        return "No answer was judged."
    right = sum(score.correct for score in scores)
    return f"{right} of {counted(len(scores), 'answer')} right, mean reward {fmean(rewards):.2f}."
