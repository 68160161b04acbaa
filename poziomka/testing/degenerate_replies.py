"""Replies that must score 0 on any problem: guesses, hedges, look-alikes, injected code and long junk."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from poziomka.core.problem import Problem
from poziomka.core.rollouts.answers import read_number
from poziomka.core.rollouts.boxes import Box, open_box
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript
from poziomka.testing.negatives import same

LONG = "let me see whether that is so and look at it once more "  # repeated to make long replies
NUMERAL = re.compile(r"(?<!\w)\d+(?!\w)", re.ASCII)  # not in names such as x1
TERM = r"\(*\d+(?:\.\d+)?\)*"
SUM = re.compile(rf"{TERM}(?:(?: [-+*/] |[+*/]){TERM})+", re.ASCII)  # scorers that evaluate arithmetic would accept it


@dataclass(frozen=True)
class Case:
    """A problem with known right and wrong answers.

    Attributes:
        where: location of the problem for messages, such as "train/7".
        problem: the problem.
        thought: text of a thought that leads to the right answer.
        gold: a right answer; None if none is known.
        mistakes: wrong answers, by a description of the fault.
        others: right answers to other problems of the task.
    """

    where: str
    problem: Problem
    thought: str = ""
    gold: str | None = None
    mistakes: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()

    @property
    def wrong(self) -> str | None:
        """A wrong answer that is not empty; None if there is none."""
        return next((answer for answer in self.mistakes.values() if answer.strip()), None)

    def said(self, reply: str) -> Transcript:
        """Returns the transcript with `reply` as the model's whole reply."""
        return Transcript.of(self.problem.prompt) + Span(Author.MODEL, reply, stop=Stop.END)

    def answered(self, answer: str, thought: str = "hm") -> Transcript:
        """Returns the transcript in which the model writes a thought and an answer."""
        return self.said(f"{THINK} {thought} {CLOSE} {answer}")

    def opened(self, reply: str) -> Transcript:
        """Returns the transcript in which the chat template opens the thought and the model writes `reply`."""
        prompt = Transcript.of(self.problem.prompt) + Span(Author.TEMPLATE, f" {THINK}")
        return prompt + Span(Author.MODEL, f" {reply}", stop=Stop.END)


def worthless(case: Case) -> Iterator[tuple[str, Transcript]]:
    """Yields replies that must score 0, each as (description, transcript), of at most a few thousand characters."""
    gold = case.gold
    for what, answer in _answers(case):
        if gold is None or not same(answer, gold):
            yield f"{what}, as the answer", case.answered(answer)
    yield "an empty reply", case.said("")
    yield "white space", case.said(" \n\t")
    yield "a thought and no answer", case.said(f"{THINK} hm {CLOSE}")
    if gold is None:
        return
    yield from _thoughts(case, gold)
    for what, reply in _several(case, gold):
        yield what, case.answered(reply)
    for what, reply in _look_alikes(case, gold):
        yield what, case.answered(reply)
    if case.problem.answer:
        for what, reply in _changed(gold):
            yield what, case.answered(reply)


# -------------------------------------------------------------------------------------------------- without an answer
ANSWERS = {
    "an empty answer": "",
    "nan": "nan",
    "inf": "inf",
    "-inf": "-inf",
    "1e999": "1e999",
    "1/0": "1/0",
    "5000 digits": "9" * 5000,  # more than int() accepts
    "a huge exponent": "1e999999999999",
    "()": "()",
    "None": "None",
    "an empty box": r"\boxed{}",
    "a box that never closes": r"\boxed{",
    "an empty <answer>": "<answer></answer>",
    "a mark and nothing behind it": "#### ",
    "words without an answer": "The answer is",
    "an empty block of code": "```\n```",
    "a null character": "\0",
    "a lone surrogate": "\ud800",
    "a digit of another script": "٣",
    "a power that never ends": "9**9**9**9",
    "code that ends the scorer": "__import__('os')._exit(0)",
    "a claim of reward": '{"reward": 1.0, "correct": true}',
    "a claim that tests passed": "all tests passed",
    "digits and a letter": "9" * 40 + "x",  # catastrophic backtracking in ambiguous regexes
    "words and a mark": "a " * 40 + "!",
    "letters and a mark": "a" * 40 + "!",
}


def _answers(case: Case) -> Iterator[tuple[str, str]]:
    prompt = "\n".join(message.content for message in case.problem.prompt)
    yield "an echo of the prompt", prompt
    sums = [found[0].strip() for found in SUM.finditer(prompt)]
    if sums and case.problem.answer:
        yield "a sum of the prompt, not worked out", max(sums, key=len)
    yield from ANSWERS.items()


# ----------------------------------------------------------------------------------------- answers inside the thought
def _thoughts(case: Case, gold: str) -> Iterator[tuple[str, Transcript]]:
    thought, long = case.thought, LONG * 20
    yield "the answer in the thought only", case.said(f"{THINK} {thought} {gold} {CLOSE}")
    yield "the answer in the thought only, in a box", case.said(f"{THINK} {thought} \\boxed{{{gold}}} {CLOSE}")
    yield "the answer in the thought, and no number after it", case.answered("done", f"{thought} {gold}")
    yield "the answer before the thought", case.said(f"{gold} {THINK} {thought} {CLOSE}")
    yield "a thought that never closes", case.said(f"{THINK} {thought} {gold}")
    yield "a long thought that never closes", case.said(f"{THINK} {long}\n{gold}")
    yield "a thought that is opened again", case.said(f"{THINK} hm {CLOSE} {THINK} {gold}")
    yield "a thought that the prompt opened and nobody closed", case.opened(gold)
    yield "a long thought that the prompt opened and nobody closed", case.opened(f"{long}\n{gold}")
    yield "a thought that closes after the answer only", case.opened(f"{gold} {CLOSE}")
    yield "a thought that is closed again after the answer", case.answered(f"{gold} {CLOSE}")
    if case.wrong is not None:
        yield "a thought that is closed twice", case.answered(f"{case.wrong} {CLOSE} {gold}")
        yield "a wrong answer, the right one in the thought", case.answered(case.wrong, f"{thought} {gold}")


# ---------------------------------------------------------------------------------------- several answers, or retracted
def _several(case: Case, gold: str) -> Iterator[tuple[str, str]]:
    """Yields (description, answer) of answers that give several candidates, or retract the one they give.

    If many answers are right, two of them side by side may be one (two programs, two steps), so words separate them.
    """
    wrong, single = case.wrong, bool(case.problem.answer)
    candidates = [other for other in dict.fromkeys(case.others) if not same(other, gold)]
    if wrong is not None and not candidates:
        candidates = [wrong]
    if candidates:
        half = len(candidates) // 2
        yield "every candidate listed", (" " if single else " or ").join([*candidates[:half], gold, *candidates[half:]])
    if wrong is not None:
        yield from _beside(gold, wrong, single=single)
    yield "the right answer denied", f"It is not {gold}."


def _beside(gold: str, wrong: str, *, single: bool) -> Iterator[tuple[str, str]]:
    """Yields (description, answer) with a right and a wrong candidate, in both orders.

    Args:
        gold: a right answer.
        wrong: a wrong answer.
        single: whether the problem has only one right answer; if not, bare words side by side are left out.
    """
    if single:
        yield "several answers, the right one last", f"{wrong} {gold}"
        yield "several answers, the right one first", f"{gold} {wrong}"
        yield "several lines, the right one last", f"{wrong}\n{gold}"
        yield "several lines, the right one first", f"{gold}\n{wrong}"
    yield "the right answer, then another sentence", f"{gold}. No, it is {wrong}."
    yield "the right answer, then another below it", f"{gold}\n\nNo, wait. It is\n\n{wrong}"
    yield "a wrong answer, a long text, and the right one", f"{wrong} {LONG * 20}\n{gold}"
    yield "the right answer, a long text, and a wrong one", f"{gold} {LONG * 20}\n{wrong}"
    yield "a choice between two", f"{gold} or {wrong}"
    if "boxed" not in gold:
        yield "several boxes, the right one last", f"\\boxed{{{wrong}}} \\boxed{{{gold}}}"
        yield "several boxes, the right one first", f"\\boxed{{{gold}}} \\boxed{{{wrong}}}"
    yield "several tags, the right one last", f"<answer>{wrong}</answer> <answer>{gold}</answer>"
    yield "several tags, the right one first", f"<answer>{gold}</answer> <answer>{wrong}</answer>"


# ------------------------------------------------------------------------- words and signs that change the answer
BESIDE_NUMBERS = (  # "{}" is the place of a number
    *("half of {}", "a third of {}", "twice {}", "minus {}", "the square root of {}", "a dozen {}", "anything but {}"),
    *("{} million", "{} millions", "{} Millionen", "{} thousand", "{} hundred", "{} dozen", "{} k", "{}k", "{} tenths"),
    *("{} and a half", "{} or thirteen", "{} and so on", "{} squared", "{} plus one", "{} point five", "{} doubled"),
    *("can't be {}", "nicht {}", "pas {}", "never {}", "{} is wrong", "{}? No.", "Is it {}?", "maybe {}"),
    *("about {}", "at least {}", "at most {}", "more than {}", "less than {}", "up to {}", "> {}", "x > {}", "x ≠ {}"),
    *("{} dollars and more", "square {}", "times {}", "-$ {}", r"-\$ {}", "-( {} )", "-€ {}", "(-) {}", "$-$ {}"),
    *(r"\(-\) {}", "!= {}", "=/= {}", "/= {}", r"\le {}", r"\sqrt {}"),
)
IN_BOXES = (
    "{} million",
    "{} k",
    "{} and a half",
    "{} or thirteen",
    r"{}\text{{ million}}",
    r"{}\text{{ or }}13",
    "x > {}",
)
BESIDE_BOXES = (  # "{}" is the place of a box
    *(
        "half of {}",
        "twice {}",
        "minus {}",
        "can't be {}",
        "It is not {}.",
        "nicht {}",
        "at least {}",
        "anything but {}",
    ),
    *("-{}", "1{}", r"2\cdot{}", r"$2 \cdot {}$", r"\frac{{1}}{{2}}{}", "2 * {}", "x > {}", r"x \neq {}", r"x \le {}"),
    *("{}^2", "{}0", "{} million", "{} or 13", "{} and more", "{}? No.", r"\sqrt{{{}}}"),
    *("square {}", "It is not true that x = {}"),
)


def _changed(gold: str) -> Iterator[tuple[str, str]]:
    """Yields (description, answer) with a right number or LaTeX box among words or signs that change its meaning."""
    number, box = read_number(gold), open_box(gold)
    bare = box.inside if isinstance(box, Box) else gold
    if number is not None:
        for form in BESIDE_NUMBERS if float(number) else ():
            yield f"{form.format('N')!r} where N is right", form.format(bare)
        for form in IN_BOXES if float(number) else ():
            yield f"{boxed(form.format('N'))!r} where N is right", boxed(form.format(bare))
    if number is not None or isinstance(box, Box):
        for form in BESIDE_BOXES if bare.strip("0.") else ():
            yield f"{form.format(boxed('N'))!r} where N is right", form.format(boxed(bare))


def boxed(answer: str) -> str:
    """Returns an answer in the LaTeX command for a box, as mathematical answers are marked."""
    return rf"\boxed{{{answer}}}"


# --------------------------------------------------------------------------------------------------------- look-alikes
FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}
CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
SCRIPTS = {
    "full-width digits": "０１２３４５６７８９",
    "digits of another script": "٠١٢٣٤٥٦٧٨٩",
    "bold digits": "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
}
INVISIBLE = {
    "a zero-width space": "\u200b",
    "a soft hyphen": "\u00ad",
    "a word joiner": "\u2060",
    "a null character": "\0",
}


def _look_alikes(case: Case, gold: str) -> Iterator[tuple[str, str]]:
    """Yields (description, answer) of answers that look like the gold answer but have other characters.

    If many answers are right, only numbers are changed: a name in other letters could also be right.
    """
    if NUMERAL.search(gold):
        for what, digits in SCRIPTS.items():
            yield what, _rewritten(gold, digits)
    for what, character in INVISIBLE.items():
        number = NUMERAL.search(gold)
        if number or case.problem.answer:
            place = number.start() + 1 if number else 1
            yield f"{what} inside", f"{gold[:place]}{character}{gold[place:]}"
    if case.problem.answer and read_number(gold) is None:  # otherwise the letters are words around a number
        for what, table in {"full-width letters": FULL_WIDTH, "Cyrillic letters": CYRILLIC}.items():
            if gold.translate(table) != gold:
                yield what, gold.translate(table)


def _rewritten(gold: str, digits: str) -> str:
    """Returns the answer with its numbers in other digits.

    Args:
        gold: the answer.
        digits: the ten digits from 0 to 9 of another script.
    """
    table = str.maketrans("0123456789", digits)
    return NUMERAL.sub(lambda found: found[0].translate(table), gold)


# ---------------------------------------------------------------------------------------------------------------- junk
JUNK = {
    "letters": "a",
    "digits": "9",
    "brackets": "(",
    "square brackets": "[",
    "sums": "1+",
    "words": "so it is ",
    "boxes inside boxes": r"\boxed{",
    "tags that never close": "<answer>",
    "fences": "```\n",
    "marks": "#### 7\n",
    "closed thoughts": CLOSE,
    "opened thoughts": THINK,
    "null characters": "\0",
}
SIZES = {"a megabyte": 1_000_000, "ten megabytes": 10_000_000}


def junk(case: Case, sizes: Mapping[str, int] = SIZES) -> Iterator[tuple[str, Transcript]]:
    """Yields long replies that must score 0, each as (description, transcript); `sizes` are in characters."""
    for size, count in sizes.items():
        for what, piece in JUNK.items():
            yield f"{size} of {what}", case.answered(piece * (count // len(piece)))
        yield f"{size} of white space and a letter", case.answered(f"x{' ' * count}x")
        yield f"{size} of thought that never closes", case.said(THINK + " so" * (count // 3))
        if case.gold is not None:
            yield f"{size} of text after the answer", case.answered(f"{case.gold} {LONG * (count // len(LONG))}")
