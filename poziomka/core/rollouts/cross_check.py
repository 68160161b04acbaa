"""Cross-check of rewards by a second scorer, which detects exploits of the first.

Monitors compare the reward with the score of a second scorer that shares no code with the first: `Task.audit` (graded
if the rewards are graded), or else `says_gold`, which collects all values that an answer contains, whereas
core/rollouts/answers.py parses one accepted form. The second score is never used as a reward. A problem with neither an
audit nor a gold answer has no second score.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Group, Rollout
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.rollouts.scoring import Scoring, judge
from poziomka.core.task import AskingScorer, Task
from poziomka.core.transcript import CLOSE, THINK, Transcript

LONGEST = 1000  # characters that an answer may have, in addition to twice the length of the gold answer
LOOKED_AT = 60  # characters before and after a box
WRAPPING = " \t\r\n.,;:!?'\"`*_$£€#()[]{}\\="
MARKUP = " \t\r\n$`*_{([~&#\"'“”‘’"  # between a box and what stands before it
NUMBER = re.compile(
    r"([+-]|[−–])?\\?[$£€]?(\d{1,3}(?:,\d{3})+|\d+)?(?:\.(\d+))?(?:e([+-]?\d{1,3})|/(\d+))?", re.ASCII | re.IGNORECASE
)
HEXADECIMAL = re.compile(r"([+-]?)0x([0-9a-f]+)", re.ASCII | re.IGNORECASE)
FRACTION_SIGN = re.compile(r"(\d*)([¼-¾⅐-⅞])", re.ASCII)
UNIT = r"(?:[kcdm]m|in|ft|yd|mi|inch(?:es)?|foot|feet|yards?|miles?|(?:kilo|centi|milli)?met(?:er|re)s?|units?)"
REWRITTEN = tuple(
    (re.compile(pattern, re.ASCII), better)
    for pattern, better in (  # other ways to write a number and what stands beside it, one after the other
        (r"\\(?:text[a-z]*|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}", r" \1 "),
        (r"</?answer>|[ \t\r\n]+", " "),
        (r"(\d)(?:\{,\}|,?\\[,:;! ]|,?[~\u00a0\u2009\u202f])(?=\d{3}(?!\d))", r"\1"),  # marks between thousands
        (r"(?<![\d}\s])(\s*)\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}", r"\1\2/\3 "),
        (r"\^?\s*\{?\s*(?:\\circ|\\degree|°)\s*\}?", " "),
        (r"(?<=\d) ?m ?(?:\^ ?\{?[23]\}?|[²³])(?!\w)", " metres "),
        (rf"(?<![A-Za-z\\])({UNIT})\s*(?:\^\s*\{{?[23]\}}?|[²³])(?!\w)", r"\1 "),  # square centimetres
        (r"(?<=\d)(?=[A-WYZa-wyz][A-Za-z]+(?![\w^]))", " "),  # "12km", but not "0xff"
        (r"(?<![<>!:=≠≈~])=(?!=)", " = "),
    )
)
COMPARED = frozenset("<>≠≤≥≈~")
OPERATORS = frozenset("+-*/^×÷−–·") | COMPARED
LEADS = frozenset(
    ("a", "an", "answer", "final", "hence", "is", "it", "it's", "my", "result", "so", "the", "therefore", "thus")
)
NEGATIONS = ("not", "never", "neither", "nor", "isn't", "except", "or", "minus", "negative", "cannot", "can't", "nicht")
LARGE = ("dozen", "hundred", "thousand", "million", "billion", "trillion")
SCALES = ("plus", "half", "twice", "double", "squared", *LARGE)
TURNS = frozenset((*NEGATIONS, *SCALES))  # words that make another answer of the number they stand beside
BEFORE = frozenset(["times", "square", "cube"])  # words that do so right before it
COMMANDS = frozenset(rf"\{name}" for name in ["cdot", "div", "pm", "neq", "ne", "le", "leq", "ge", "geq", "lt", "gt"])
COMMANDS |= {r"\approx", r"\sqrt", r"\frac", r"\dfrac", r"\tfrac"}  # and commands of LaTeX
ENDINGS = ("th", "st", "nd", "rd")
AFTER = frozenset(("and", "to", "k", "mil", "mn", "bn", "mio", "grand", "gross", *ENDINGS))  # right after it


def auditable(task: Task, problem: Problem) -> bool:
    """Returns whether a problem's rewards can be cross-checked: the task has an audit, or the problem a gold answer."""
    return task.audit is not None or problem.answer.strip() != ""


def audit(task: Task, groups: Sequence[Group], seconds: float = 10.0) -> dict[str, Score]:
    """Scores rollouts with a second, independent scorer and returns these scores by the rollouts' ids.

    The second scorer is `task.audit`, or else `says_gold`. Rollouts that cannot be cross-checked are left out.

    Args:
        task: provides the audit, which runs in this process if the task is trusted, else in worker processes.
        groups: scored rollouts; those whose check failed have no reward to verify, and are left out.
        seconds: time limit of one audit in a worker process.
    """
    rollouts = [r for group in groups for r in group if r.score.reward is not None and auditable(task, r.problem)]
    scorer = task.audit or says_gold
    if not isinstance(scorer, AskingScorer) and (task.audit is None or task.trusted):
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
    value, boxes = _value(gold), list(_boxes(answer))
    if value is None:
        return _says_text(gold, " ".join(inside for _, inside, _ in boxes) or answer)
    said, turned = answer, ""
    if boxes:
        said = " ".join(inside for _, inside, _ in boxes)
        turned = next(filter(None, (_turned_outside(before, after) for before, _, after in boxes)), "")
    words = _plainly(said).split()
    claims = [_value(word) for word in words if any(letter.isnumeric() for letter in word)]
    if not claims:
        return Score.unparsed("the answer names no number")
    others = sorted({"what is no number" if claim is None else str(claim) for claim in claims if claim != value})
    if others:
        return Score.wrong(said[:100], f"the answer names {', '.join(others[:4])}, where only {gold} is right")
    turned = turned or _turned(words)
    if turned:
        return Score.wrong(said[:100], f"{turned!r} makes something else of {gold}")
    return Score.right(gold, f"the answer says {gold} and nothing else")


def _plainly(text: str) -> str:
    """Returns a text with LaTeX numbers written in digits and units separated from them, as "12 km" for "12km"."""
    for pattern, better in REWRITTEN:
        text = pattern.sub(better, text)
    return FRACTION_SIGN.sub(lambda found: str(int(found[1] or 0) + _tenths(found[2])), text)


def _tenths(sign: str) -> Fraction:
    return Fraction(unicodedata.numeric(sign)).limit_denominator(10)


def _turned(words: Sequence[str]) -> str:
    """Returns the first word that changes the value of the number beside it, such as "minus"; "" if none does."""
    bare = [word.strip(WRAPPING).lower() for word in words]
    for place, word in enumerate(words):
        signs = set(bare[place] or word) <= OPERATORS or "!=" in word or words[place : place + 2] == ["!", "="]
        commands = COMMANDS & {rf"\{name}" for name in re.findall(r"\\([A-Za-z]+)", word)}
        if bare[place] in TURNS or signs or set(word) & COMPARED or commands:  # also in marks: "-$", "$\neq$"
            return word
        if any(letter.isnumeric() for letter in word):
            led = [before for before in words[place - 1 : place] if _leads(before)]
            turned = [*led, *({*bare[place + 1 : place + 2]} & AFTER)]
            if turned:
                return turned[0]
    return "and more" if ("and", "more") in pairwise(bare) else ""


def _leads(word: str) -> bool:
    """Returns whether a word changes the value of a number right after it, as "square" does; "square:" does not."""
    return word.strip(WRAPPING.replace(":", "")).lower() in BEFORE


def _turned_outside(before: str, after: str) -> str:
    """Returns the text beside a box that changes the value of its content, such as "half of"; "" if none does."""
    before = before[-LOOKED_AT:]
    factor = re.search(r"\d$|[\d)}]\s*\*\s*\$?$", before)
    if factor is not None:
        return factor[0]
    before = before.rstrip(MARKUP).removesuffix("\\").rstrip(MARKUP)
    before = before[:-2] if before.endswith(("->", "=>")) else before
    *_, other, last = ["", *re.split(r"\s|(?=\\)", before)]
    last = other if last == "of" else last  # "half of"
    turned = last in COMMANDS or _leads(last) or last.strip(WRAPPING).lower() in TURNS
    if before.endswith((*OPERATORS, "!=")) or turned:
        return last
    sentence = re.split(r"[.!?](?:\s|$)", _plainly(after[:LOOKED_AT]).lstrip(" $`*_)]}\\\"'"))[0]
    return sentence[0] if re.match(r"[\d^]", sentence) else _turned(["0", *sentence.split()])


def _says_text(gold: str, answer: str) -> Score:
    wanted, said = (_spaced(text).split() for text in (gold, answer))
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


def _spaced(text: str) -> str:
    """Returns a text in lower case, with one space after each comma and "1 day" as "1 days"."""
    return re.sub(r"\b1 day\b", "1 days", re.sub(r"\s*,\s*", ", ", text.casefold()))


def _bare(words: Sequence[str]) -> Iterator[str]:
    """Yields words stripped of punctuation, without those that are only punctuation."""
    return (bare for word in words if (bare := word.strip(WRAPPING)))


def _answer(reply: str) -> str | None:
    """Returns the text after the last thought; None if a thought is open, or a "</think>" closes no open thought."""
    _, closed, answer = reply.rpartition(CLOSE)
    if THINK in answer or (closed and reply.count(CLOSE) > max(1, reply.count(THINK))):
        return None
    return answer.strip()


def _boxes(text: str) -> Iterator[tuple[str, str, str]]:
    r"""Yields (text before, content, text after) of each \boxed{…} and \fbox{…}, with nested braces matched."""
    before, *parts = re.split(r"\\(?:f|frame)?boxed|\\(?:fbox|framebox)", text)
    for part in parts:
        depth, inside = 0, ""
        for letter in part.lstrip():
            depth += (letter == "{") - (letter == "}")
            if depth == 0:
                break
            inside += letter
        after = part.lstrip()[len(inside) + 1 :]
        yield before, inside[1:], after
        before = after


@lru_cache(4096)
def _value(word: str) -> Fraction | None:
    """Returns the exact value of a number or fraction such as "1,440", "1e3", "0x1f" or "3/4"; None for other words.

    A division with an integer result, such as "24/2", gives None: it is an unevaluated sum.
    """
    word = word.lstrip(WRAPPING.replace(".", "")).rstrip(WRAPPING + "%")
    hexadecimal, found = HEXADECIMAL.fullmatch(word), NUMBER.fullmatch(word)
    if hexadecimal is not None:
        return Fraction(int("".join(hexadecimal.groups()), 16))
    if found is None:
        return None
    sign, whole, part, power, below = found.groups(default="")
    if not (whole or part) or (below and not int(below)):
        return None
    value = Fraction(int(whole.replace(",", "") + part), 10 ** len(part)) * Fraction(10) ** int(power or 0)
    value /= int(below or 1)
    if below and value.denominator == 1:
        return None  # "24/2" is an unevaluated division, not a spelling of 12
    return value if sign in ("", "+") else -value
