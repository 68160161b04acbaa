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
    """Rules for scoring the answers of one data set of reasoning-gym; either `form` or `judge` decides.

    An item is the package's dictionary of question, answer and metadata; facts are the data of it that a problem keeps.

    Attributes:
        why: which code decides, and which answers it rejects that the package rewards.
        form: parses an answer into a normalized form, which must equal that of the gold answer; None if `judge`
            decides.
        judge: returns the fault of an answer, given the facts; "" if it is right. None if `form` decides.
        facts: extracts the facts from an item, as plain data; None if none are needed.
        example: returns a right answer from the facts; None if the gold answer is the only right one.
        mistake: turns a right answer into one that is certainly wrong, given the facts.
        gold: returns the gold answer of an item; `gold=None` uses the package's.
        more: a sentence added to the question where the form of its answer is ambiguous.
        kind: returns the text that two problems of different splits must not share; `kind=None` uses the question.
        finite: whether the data set has so few problems that they are listed.
        longest: maximum characters of an answer that a judge scores; longer ones are UNPARSED.
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
    """Returns a wrong answer: the last digit is increased by 1 (9 becomes 0), or else the last letter is changed."""
    for place in range(len(answer) - 1, -1, -1):
        if answer[place] in "0123456789":
            return f"{answer[:place]}{(int(answer[place]) + 1) % 10}{answer[place + 1 :]}"
    place = max((place for place, letter in enumerate(answer) if letter.isalpha()), default=0)
    return f"{answer[:place]}{'b' if answer[place] == 'a' else 'a'}{answer[place + 1 :]}"


def cut(_: Facts, answer: str) -> str:
    """Returns an answer that is a JSON list without its last member, as a mistake."""
    return json.dumps(json.loads(answer)[:-1])


def given(facts: Facts) -> str:
    """Returns the right answer that came with the problem, its fact "example"."""
    return str(facts["example"])


def one(form: forms.Form, why: str, **more: Any) -> Ruling:
    """Returns a ruling for one right answer, whose only accepted variations are those that the parser `form` allows."""
    return Ruling(why, form, **more)


def spelled(form: forms.Form, why: str, **more: Any) -> Ruling:
    """Returns a ruling for one right answer with many spellings, such as lists in any order; `form` parses it."""
    return Ruling(why, form, facts=lambda item: {"example": item["answer"]}, example=given, mistake=altered, **more)


def many(judge: Judge, why: str, facts: Callable[[Item], dict[str, Any]], **more: Any) -> Ruling:
    """Returns a ruling for many right answers, which `judge` checks with the given facts of an item."""
    return Ruling(why, judge=judge, facts=facts, **{"example": given, "mistake": altered, **more})


def meta(item: Item, **names: str) -> dict[str, Any]:
    """Returns fields of an item's metadata under new names.

    meta(item, new="old") is {"new": item["metadata"]["old"]}.
    """
    return {ours: item["metadata"][theirs] for ours, theirs in names.items()}
