"""Scoring rules for the answers of one data set; scoring_table.py has the table of all."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from poziomka.core.problem import Problem
from poziomka.tasks.logic.reasoning.checks import answer_parsers as forms

Item = dict[str, Any]  # the package's items: question, answer, metadata
Facts = Mapping[str, Any]
Judge = Callable[[Facts, str], str]

LONGEST = 4000  # characters of an answer to a problem with many right ones


@dataclass(frozen=True)
class Ruling:
    """Scoring rules for the answers of a data set.

    Attributes:
        why: which code decides, and which answers it rejects that the package rewards.
        form: parses the answer of a problem with one right answer into a normalized form.
        judge: returns the fault of an answer, "" if it is right; None if `form` decides.
        facts: extracts the facts that the judge needs from an item, as plain data.
        example: returns a right answer from the facts; None if the gold answer is the only right one.
        mistake: turns a right answer into one that is certainly wrong, given the facts.
        gold: returns the gold answer of an item; None for the package's.
        more: a sentence added to the question where the form of its answer is ambiguous.
        kind: returns what two problems of different splits must not share; None for the question.
        finite: the data set has so few problems that they are listed.
        longest: maximal length in characters of an answer that a judge scores.
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
    """Returns an answer with its last digit increased by 1 (9 becomes 0), or else its last letter changed."""
    for place in range(len(answer) - 1, -1, -1):
        if answer[place] in "0123456789":
            return f"{answer[:place]}{(int(answer[place]) + 1) % 10}{answer[place + 1 :]}"
    place = max((place for place, letter in enumerate(answer) if letter.isalpha()), default=0)
    return f"{answer[:place]}{'b' if answer[place] == 'a' else 'a'}{answer[place + 1 :]}"


def cut(_: Facts, answer: str) -> str:
    """Returns a JSON list without its last member."""
    return json.dumps(json.loads(answer)[:-1])


def given(facts: Facts) -> str:
    """Returns the right answer that came with the problem."""
    return str(facts["example"])


def one(form: forms.Form, why: str, **more: Any) -> Ruling:
    """Returns the ruling of a data set with one right answer, whose only variations are those that `form` allows."""
    return Ruling(why, form, **more)


def spelled(form: forms.Form, why: str, **more: Any) -> Ruling:
    """Returns the ruling of a data set with one right answer in many spellings, such as lists in any order."""
    return Ruling(why, form, facts=lambda item: {"example": item["answer"]}, example=given, mistake=altered, **more)


def many(judge: Judge, why: str, facts: Callable[[Item], dict[str, Any]], **more: Any) -> Ruling:
    """Returns the ruling of a data set with many right answers, which a judge checks."""
    return Ruling(why, judge=judge, facts=facts, **{"example": given, "mistake": altered, **more})


def meta(item: Item, **names: str) -> dict[str, Any]:
    """Returns fields of an item's metadata under new names."""
    return {ours: item["metadata"][theirs] for ours, theirs in names.items()}
