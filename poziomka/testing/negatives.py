"""Wrong answers, from the task or by changing right ones."""

import re
from collections.abc import Callable, Iterator, Mapping

from poziomka.core.problem import Problem
from poziomka.core.rollouts.answers import read_number
from poziomka.core.task import Task

DIGITS = "0123456789"
NUMBER = re.compile(r"\d+", re.ASCII)
WHOLE_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
NEAR = ("a number one more", "a number one less", "a hundredth more", "digits swapped")  # a tolerance may accept these


def near_miss(answer: str) -> str:
    """Returns an answer close to `answer`: its last digit increased by 1 (9 becomes 0), or "x" appended."""
    for place in range(len(answer) - 1, -1, -1):
        if answer[place] in DIGITS:
            return f"{answer[:place]}{(int(answer[place]) + 1) % 10}{answer[place + 1 :]}"
    return answer + "x"


def mistakes(
    task: Task, problem: Problem, gold: str | None, perturb: Callable[[str], str] | None = None
) -> Mapping[str, str]:
    """Returns wrong answers to a problem, by a description of the fault such as "digits swapped".

    The task's own `mistakes` are used if it has them. Otherwise the gold answer is changed: only by `perturb` if that
    is given, only by `near_miss` if the problem has several right answers, and in many ways for any other problem.

    Args:
        task: task of the problem, perhaps with mistakes of its own.
        problem: the problem.
        gold: a right answer; None if none is known.
        perturb: turns a right answer into a wrong one; replaces the task's mistakes.
    """
    if perturb is None and task.mistakes is not None:
        return task.mistakes(problem)
    if gold is None:
        return {}
    if perturb is not None or not problem.answer:
        return {"almost right": (perturb or near_miss)(gold)}
    found: dict[str, str] = {}
    for what, wrong in _changes(gold):
        if wrong.strip() and not same(wrong, gold) and wrong not in found.values():
            found[what] = wrong
    return found


def same(one: str, other: str) -> bool:
    """Returns whether two answers are the same text, surrounding white space aside, or read as the same number."""
    number = read_number(one)
    return one.strip() == other.strip() or (number is not None and number == read_number(other))


def _changes(gold: str) -> Iterator[tuple[str, str]]:
    numbers = list(NUMBER.finditer(gold))
    if numbers:
        yield from _numbers(gold, numbers)
    else:
        yield from _words(gold)


def _numbers(gold: str, numbers: list[re.Match[str]]) -> Iterator[tuple[str, str]]:
    last = numbers[-1]
    value, digits = int(last[0][-18:]), last[0]

    def with_last(word: str) -> str:
        return f"{gold[: last.start()]}{word}{gold[last.end() :]}"

    yield "a number one more", with_last(f"{digits[:-18]}{value + 1:0{min(len(digits), 18)}}")
    if value > 0:
        yield "a number one less", with_last(f"{digits[:-18]}{value - 1:0{min(len(digits), 18)}}")
    if len(digits) > 1:
        yield "digits swapped", with_last(digits[:-2] + digits[-1] + digits[-2])
    if len(numbers) > 1:
        first = numbers[0]
        yield "the first number one more", f"{gold[: first.start()]}{int(first[0][-18:]) + 1}{gold[first.end() :]}"
    whole = WHOLE_NUMBER.fullmatch(gold)
    if whole is None:
        return
    yield "the sign changed", gold[1:] if gold.startswith("-") else f"-{gold.removeprefix('+')}"
    if whole[1] is None:
        yield "a digit more", f"{gold}0"
        yield ("a digit less", gold[:-1]) if len(digits) > 1 else ("a digit in front", with_last(f"1{digits}"))
        yield "a hundredth more", f"{gold}.01"


def _words(gold: str) -> Iterator[tuple[str, str]]:
    yield "a letter more", f"{gold}x"
    letters = [place for place, letter in enumerate(gold) if letter.isascii() and letter.isalpha()]
    if letters:
        place = letters[-1]
        other = "a" if gold[place] in "zZ" else chr(ord(gold[place]) + 1)
        yield "a letter changed", f"{gold[:place]}{other}{gold[place + 1 :]}"
    words = gold.split(" ")
    if len(words) > 1:
        yield "a word dropped", " ".join(words[:-1])
        yield "a word doubled", " ".join([words[0], *words])
    elif len(gold) > 1:
        yield "the last character dropped", gold[:-1]
