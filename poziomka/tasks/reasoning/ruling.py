"""How answers to the problems of one data set are judged; the table of all is in rulings.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from poziomka.core.problem import Problem
from poziomka.tasks.reasoning import forms

Item = dict[str, Any]  # of the package: question, answer, metadata
Facts = Mapping[str, Any]
Judge = Callable[[Facts, str], str]

LONGEST = 4000  # characters of an answer to a problem with many right ones


@dataclass(frozen=True)
class Ruling:
    """How answers to the problems of a data set are judged.

    Attributes:
        why: who decides, and what that refuses that the package pays for.
        form: reads an answer where one is right.
        judge: returns what is wrong with an answer, else ""; None where the form decides.
        facts: returns what the judge must know of an item, as plain data.
        example: returns a right answer from the facts; None where the gold answer is the only right one.
        mistake: makes a certainly wrong answer of a right one, given the facts.
        gold: returns the gold answer of an item; None for the package's.
        more: a sentence added to the question where the form of its answer is ambiguous.
        kind: returns what two problems of different splits must not share; None for the question.
        finite: the data set has so few problems that they are listed.
        longest: characters of an answer with a judge.
    """

    why: str
    form: forms.Form | None = None
    judge: Judge | None = None
    facts: Callable[[Item], dict[str, Any]] | None = None
    example: Callable[[Facts], str] | None = None
    mistake: Callable[[Facts, str], str] | None = None
    gold: Callable[[Item], str] | None = None
    more: str = ""
    kind: Callable[[Problem], str] | None = None
    finite: bool = False
    longest: int = LONGEST


def altered(_: Facts, answer: str) -> str:
    """Returns an answer with its last digit one higher, else its last letter changed."""
    for place in range(len(answer) - 1, -1, -1):
        if answer[place] in "0123456789":
            return f"{answer[:place]}{(int(answer[place]) + 1) % 10}{answer[place + 1 :]}"
    place = max((place for place, letter in enumerate(answer) if letter.isalpha()), default=0)
    return f"{answer[:place]}{'b' if answer[place] == 'a' else 'a'}{answer[place + 1 :]}"


def given(facts: Facts) -> str:
    """Returns the right answer that came with the problem."""
    return str(facts["example"])


def one(form: forms.Form, why: str, **more: Any) -> Ruling:
    """Returns the ruling where one answer is right, in one spelling but for what the form allows."""
    return Ruling(why, form, **more)


def spelled(form: forms.Form, why: str, **more: Any) -> Ruling:
    """Returns the ruling where one answer is right and has many spellings, such as an order that does not matter."""
    return Ruling(why, form, facts=lambda item: {"example": item["answer"]}, example=given, mistake=altered, **more)


def many(judge: Judge, why: str, facts: Callable[[Item], dict[str, Any]], **more: Any) -> Ruling:
    """Returns the ruling where many answers are right, and a judge of ours knows which."""
    return Ruling(why, judge=judge, facts=facts, **{"example": given, "mistake": altered, **more})


def meta(item: Item, **names: str) -> dict[str, Any]:
    """Returns parts of an item's metadata under our names."""
    return {ours: item["metadata"][theirs] for ours, theirs in names.items()}
