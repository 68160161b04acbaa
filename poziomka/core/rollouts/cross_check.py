"""A second opinion on what was rewarded: whether an answer says the gold one and no other.

A reward can be earned by whatever a scorer overlooks. So monitors ask a second scorer, which shares no code with the
first: the task's own (`Task.audit`; where rewards are graded, its rewards must be too), or else the one here, which
reads answers in a way of its own: it gathers every value that an answer names, where core/rollouts/answers.py looks for
the one form that an answer may have. It is no reward and is never learned from. A problem that has neither an audit nor
a gold answer has no second opinion, and none is made up.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Group, Rollout
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.rollouts.scoring import Scoring, judge
from poziomka.core.task import Task
from poziomka.core.transcript import CLOSE, THINK, Transcript

LONGEST = 1000  # characters of an answer, beside twice those of the gold one: whoever says more says something else
WRAPPING = " \t\r\n.,;:!?'\"`*_$()[]{}\\="
NUMBER = re.compile(r"([+-]|\N{MINUS SIGN})?\$?(\d{1,3}(?:,\d{3})+|\d+)?(?:\.(\d+))?(?:/(\d+))?", re.ASCII)
OPERATORS = frozenset("+-*/^%<>\N{MINUS SIGN}\N{MULTIPLICATION SIGN}\N{DIVISION SIGN}")
LEADS = frozenset(
    ("a", "an", "answer", "final", "hence", "is", "it", "it's", "my", "result", "so", "the", "therefore", "thus")
)
NEGATIONS = ("not", "never", "neither", "nor", "isn't", "except", "or", "minus", "negative")
SCALES = ("plus", "times", "half", "dozen", "hundred", "thousand", "million", "billion", "trillion")
TURNS = frozenset((*NEGATIONS, *SCALES))  # words that make another answer of the number they stand beside


def auditable(task: Task, problem: Problem) -> bool:
    """Whether there is a second opinion on answers to a problem."""
    return task.audit is not None or problem.answer.strip() != ""


def audit(task: Task, groups: Sequence[Group], seconds: float = 10.0) -> dict[str, Score]:
    """Returns the second opinion on every judged rollout, by id; those that nothing is known of are left out.

    Args:
        task: whose audit to ask; it runs where the task's scorer does, inline or in processes of its own.
        groups: judged rollouts; one whose check failed has no reward that could be doubted, and is left out.
        seconds: time limit of one audit that is not trusted.
    """
    rollouts = [r for group in groups for r in group if r.score.reward is not None and auditable(task, r.problem)]
    scorer = task.audit or says_gold
    if task.audit is None or task.trusted:
        scores = [judge(scorer, rollout.problem, rollout.transcript) for rollout in rollouts]
    else:
        scores = wait_for(_outside(replace(task, scorer=scorer), rollouts, seconds)) if rollouts else []
    return {r.id: score for r, score in zip(rollouts, scores, strict=True) if score.reward is not None}


async def _outside(task: Task, rollouts: Sequence[Rollout], seconds: float) -> list[Score]:
    with Scoring(task, seconds) as scoring:
        return list(await asyncio.gather(*(scoring.score(r.problem, r.transcript) for r in rollouts)))


def says_gold(problem: Problem, transcript: Transcript) -> Score:
    """CORRECT where the answer after the thought says the gold answer and no other.

    Where the gold answer is a number, every number that the answer (or, if it has boxes, its boxes) names must equal
    it in value; other words may stand around it, except those that change it ("not", "minus", "million"). Where it is
    anything else, the answer must be that text, and around it only words that lead up to an answer ("the answer is").
    """
    gold, answer = problem.answer.strip(), _answer(transcript.reply)
    if answer is None:
        return Score.unparsed("the thought never ended, or ended twice")
    if len(answer) > LONGEST + 2 * len(gold):
        return Score.unparsed(f"the answer has {len(answer)} characters")
    value = _value(gold)
    said = " ".join(_boxes(answer)) or answer
    if value is None:
        return _says_text(gold, said)
    words = said.split()
    claims = [_value(word) for word in words if any(letter.isnumeric() for letter in word)]
    if not claims:
        return Score.unparsed("the answer names no number")
    others = sorted({"what is no number" if claim is None else str(claim) for claim in claims if claim != value})
    if others:
        return Score.wrong(said[:100], f"the answer names {', '.join(others[:4])}, where only {gold} is right")
    turned = [word for word in words if word.strip(WRAPPING).lower() in TURNS or set(word) <= OPERATORS]
    if turned:
        return Score.wrong(said[:100], f"{turned[0]!r} makes something else of {gold}")
    return Score.right(gold, f"the answer says {gold} and nothing else")


def _says_text(gold: str, answer: str) -> Score:
    wanted, said = gold.casefold().split(), answer.casefold().split()
    if said == wanted:
        return Score.right(gold, "the answer is the gold one")
    wanted, said = list(_bare(wanted)), list(_bare(said))
    size = len(wanted)
    if not said:
        return Score.unparsed("there is no answer")
    for start in range(len(said) - size + 1) if size else ():
        if said[start : start + size] == wanted and {*said[:start], *said[start + size :]} <= LEADS - set(wanted):
            return Score.right(gold, "the answer says the gold one and nothing else")
    return Score.wrong(answer[:100], f"the answer is not {gold[:100]!r}, or says more")


def _bare(words: Sequence[str]) -> Iterator[str]:
    """Yields words without the punctuation around them; what is only punctuation is passed over."""
    return (bare for word in words if (bare := word.strip(WRAPPING)))


def _answer(reply: str) -> str | None:
    """Returns what stands after the last thought; None while one is open, or where one was closed twice."""
    _, closed, answer = reply.rpartition(CLOSE)
    if THINK in answer or (closed and reply.count(CLOSE) > max(1, reply.count(THINK))):
        return None
    return answer.strip()


def _boxes(text: str) -> list[str]:
    r"""Returns what stands in each \boxed{…}, braces counted."""
    found = []
    for part in text.split("\\boxed")[1:]:
        depth, inside = 0, ""
        for letter in part.lstrip():
            depth += (letter == "{") - (letter == "}")
            if depth == 0:
                break
            inside += letter
        found.append(inside[1:])
    return found


@lru_cache(4096)
def _value(word: str) -> Fraction | None:
    """Returns the number that a word spells, or the ratio of two; None for anything else, such as a sum left undone."""
    found = NUMBER.fullmatch(word.lstrip(WRAPPING.replace(".", "")).rstrip(WRAPPING + "%"))
    if found is None:
        return None
    sign, whole, part, below = found.groups(default="")
    if not (whole or part) or (below and not int(below)):
        return None
    value = Fraction(int(whole.replace(",", "") + part), 10 ** len(part)) / int(below or 1)
    if below and value.denominator == 1:
        return None  # "24/2" is a question, and no way to write 12
    return value if sign in ("", "+") else -value
