"""Cross-check of rewards by a second scorer, which detects exploits of the first.

Monitors compare the reward with the score of a second scorer that shares no code with the first: `Task.audit` (graded
if the rewards are graded), or else `says_gold`, which collects all values that an answer contains, whereas
core/rollouts/answers.py parses one accepted form. The second score is never used as a reward. A problem with neither an
audit nor a gold answer has no second score.
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

LONGEST = 1000  # maximum characters of an answer, in addition to twice those of the gold answer
WRAPPING = " \t\r\n.,;:!?'\"`*_$()[]{}\\="
NUMBER = re.compile(r"([+-]|\N{MINUS SIGN})?\$?(\d{1,3}(?:,\d{3})+|\d+)?(?:\.(\d+))?(?:/(\d+))?", re.ASCII)
OPERATORS = frozenset("+-*/^%<>\N{MINUS SIGN}\N{MULTIPLICATION SIGN}\N{DIVISION SIGN}")
LEADS = frozenset(
    ("a", "an", "answer", "final", "hence", "is", "it", "it's", "my", "result", "so", "the", "therefore", "thus")
)
NEGATIONS = ("not", "never", "neither", "nor", "isn't", "except", "or", "minus", "negative")
SCALES = ("plus", "times", "half", "dozen", "hundred", "thousand", "million", "billion", "trillion")
TURNS = frozenset((*NEGATIONS, *SCALES))  # words that change the value of a number beside them


def auditable(task: Task, problem: Problem) -> bool:
    """Returns whether rewards of a problem can be cross-checked: by the task's audit, or by a gold answer."""
    return task.audit is not None or problem.answer.strip() != ""


def audit(task: Task, groups: Sequence[Group], seconds: float = 10.0) -> dict[str, Score]:
    """Returns the second score of every judged rollout, by id; rollouts that cannot be cross-checked are left out.

    Args:
        task: provides the audit, which runs inline if the task is trusted, else in worker processes.
        groups: judged rollouts; those whose check failed have no reward to verify, and are left out.
        seconds: time limit of one audit in a worker process.
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
    """Scores an answer as CORRECT if it contains the gold answer and no other answer.

    If the gold answer is a number, every number in the answer (or in its boxes, if it has any) must equal it in value;
    words around it are allowed, except those that change the value ("not", "minus", "million"). Otherwise the answer
    must be the gold text (case and punctuation aside) with only introductory words around it ("the answer is").
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
    """Yields words stripped of punctuation, without those that are only punctuation."""
    return (bare for word in words if (bare := word.strip(WRAPPING)))


def _answer(reply: str) -> str | None:
    """Returns the text after the last thought; None if a thought is open, or was closed twice."""
    _, closed, answer = reply.rpartition(CLOSE)
    if THINK in answer or (closed and reply.count(CLOSE) > max(1, reply.count(THINK))):
        return None
    return answer.strip()


def _boxes(text: str) -> list[str]:
    r"""Returns the content of each \boxed{…}, with nested braces matched."""
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
    """Returns the value of a word that is a number or a fraction, else None, as for an unevaluated sum."""
    found = NUMBER.fullmatch(word.lstrip(WRAPPING.replace(".", "")).rstrip(WRAPPING + "%"))
    if found is None:
        return None
    sign, whole, part, below = found.groups(default="")
    if not (whole or part) or (below and not int(below)):
        return None
    value = Fraction(int(whole.replace(",", "") + part), 10 ** len(part)) / int(below or 1)
    if below and value.denominator == 1:
        return None  # "24/2" is an unevaluated division, not a spelling of 12
    return value if sign in ("", "+") else -value
