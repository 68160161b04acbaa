"""Audit scorer of competition problems, independent of the main scorer.

It shares no code with tasks/math/formulas: the answer is rewritten to a Python expression by substitutions in the text,
which `ast` parses (it is never run), and evaluated at random points in floats. It takes the last box, or else the whole
answer, and is not strict about forms: if the scorer rewards an answer and this one finds it wrong, one of them has
misread it. If an answer cannot be rewritten, it is compared as text without white space, and if the texts differ, the
verdict is ERROR: no opinion. An answer without a box is compared by core/rollouts/cross_check.py.
"""

import ast
import cmath
import copy
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.cross_check import AFTER, TURNS, says_gold
from poziomka.core.seeds import random_of
from poziomka.core.transcript import Transcript

LONGEST = 2000  # characters of an answer
POINTS = 5
CLOSE = 1e-12
LARGEST = 1e80
JOINTS = frozenset(("and", "or", "to"))
BOX = re.compile(r"\\?(?:boxed|\\fbox|\\framebox)\s*\{")
WORDS = r"\\(?:text(?:bf|it|rm)?|mbox|mathrm|mathbf|operatorname)\s*\{([^{}]*)\}"
UNIT = re.compile(r"(?<=[\d})])\s*((?!pi\b)[A-Za-z]{2,}(?:[ /][A-Za-z]{1,20})*)\s*(?:\^\s*\{?\d\}?)?\s*$")
SIGNS = {"−": "-", "–": "-", "×": r"\times", "·": r"\cdot", "÷": "/", "±": r"\pm", "π": r"\pi", "∞": r"\infty"}
SIGNS |= {"∪": r"\cup", "∈": r"\in", "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "°": r"\circ"}
NAMED = re.compile(r"(^|,)\s*([A-Za-z])\s*(?:=|\\in(?![a-z]))")
MIRRORED = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
RELATIONS = {r"\lt": "<", r"\gt": ">", r"\ne": "!=", r"\neq": "!=", r"\le": "<=", r"\ge": ">="}
RELATIONS |= {r"\leq": "<=", r"\geq": ">=", r"\leqslant": "<=", r"\geqslant": ">="}
STEPS = (
    (r"(?<!\\)\\[,;:! ]|\\left|\\right|\\displaystyle|~|\\\$|\$", " "),
    (r"\\text(?:bf|rm|it)?\s*\{[^{}]*\}(?:\s*\^\s*\{?\d\}?)?|\\mbox\s*\{[^{}]*\}(?:\s*\^\s*\{?\d\}?)?|\\?%", " "),
    (r"\^\s*\{?\s*\\circ\s*\}?", " "),
    (r"(?<=\d),\s*(?=\d\d\d(?!\d))", ""),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
    (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
    (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
    (r"(?<![\d.}])(\d+)\s*\\frac\s*\{(\d+)\}\s*\{(\d+)\}", r"((\1)+(\2)/(\3))"),
    (r"\\(?:cdot|times)", "*"),
    (r"\\sqrt\s*([0-9a-z])", r"\\sqrt{\1}"),
    (r"\\pi(?![a-z])", "(pi)"),
    (r"\\infty", "(1e70)"),
    (r"\\(sin|cos|tan|cot|ln|log|exp)\s*([0-9a-zA-Z])", r"\\\1{\2}"),
)
FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sqrt": cmath.sqrt,
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "cot": lambda x: 1 / cmath.tan(x),
    "ln": cmath.log,
    "log": cmath.log10,
    "exp": cmath.exp,
}
SPLIT = re.compile(r",|\\cup|\\in(?![a-z])|<=?|>=?|=|\\(?:[lg]t|[lg]e(?:q|qslant)?|neq?)(?![a-z])|\\\\|&")
WRAPPING = re.compile(r"\\begin\{.matrix\}|\\end\{.matrix\}|\\langle|\\rangle|\\[{}]")


class NotUnderstoodError(ValueError):
    """Raised for a text that cannot be rewritten as a Python expression."""


def audit(problem: Problem, transcript: Transcript) -> Score:
    """Returns CORRECT if the last box after the thought has the same values as the gold answer, and WRONG otherwise.

    The verdict is ERROR if one of them cannot be evaluated.
    """
    answer = transcript.reply.rpartition("</think>")[2].strip()
    gold = _last_box(problem.answer)
    said = _last_box(answer[-LONGEST:])
    if said is None or gold is None:
        return says_gold(replace(problem, answer=problem.answer if gold is None else gold), transcript)
    if _bare(said) == _bare(gold):
        return Score.right(said, "the same text")
    turned = _turns(said) - _turns(gold)
    if turned:
        return Score.wrong(said, f"{min(turned)!r} makes something else of {gold[:60]}")
    plain, wanted = _plainly(said), _plainly(gold)
    plain, wanted = _unnamed(plain, wanted), _unnamed(wanted, plain)
    try:
        ours, theirs = _Reading(wanted), _Reading(plain if _has_names(wanted) else UNIT.sub("", plain))
    except (NotUnderstoodError, ArithmeticError, ValueError, RecursionError, MemoryError) as error:
        return Score.failed(Verdict.ERROR, f"no second opinion: {error}"[:200])
    forms = [theirs, theirs.mirrored()] if theirs.relations else [theirs]
    forms = [form for form in forms if form.brackets == ours.brackets and len(form.values) == len(ours.values)]
    if not forms:
        return Score.wrong(said, f"{said[:60]} and {gold[:60]} have other forms")
    orders = [form.values for form in forms] if ours.ordered else [theirs.values, theirs.like(ours)]
    if any(all(map(_close, order, ours.values)) for order in orders):
        return Score.right(said, "the same values at random points")
    return Score.wrong(said, f"{said[:60]} and {gold[:60]} have other values")


def _last_box(text: str) -> str | None:
    """Returns the content of the last box in a text, up to its closing brace if there is one; None without a box."""
    boxes = list(BOX.finditer(text))
    if not boxes:
        return None
    rest = text[boxes[-1].end() :]
    depth = 1
    for place, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return rest[:place]
    return rest


def _bare(text: str) -> str:
    text = re.sub(r"\s|\\[,;:!]|\\left|\\right", "", text).replace("dfrac", "frac").replace("tfrac", "frac")
    return r"\{\}" if text in (r"\emptyset", r"\varnothing", "∅", "{}") else text


def _turns(text: str) -> set[str]:
    """Returns the words of a text that change the meaning of a number, such as "million" and "or"."""
    return {word.lower() for word in re.findall(r"(?<!\\)\b[A-Za-z]{2,}", text)} & (TURNS | AFTER) - JOINTS


def _has_names(text: str) -> bool:
    """Whether a formula contains letters outside of commands and of texts, such as variables."""
    return re.search(r"[A-Za-z]", re.sub(rf"{WORDS}|\\[A-Za-z]+", "", text)) is not None


def _unnamed(text: str, other: str) -> str:
    r"""Returns a formula without "x =" or "x \in", if x is the only name and the other formula has no relation."""
    named = {found[2] for found in NAMED.finditer(text)}
    return NAMED.sub(r"\1", text) if len(named) == 1 and set(SPLIT.findall(other)) <= {",", r"\cup"} else text


def _plainly(text: str) -> str:
    """Returns a formula in plainer LaTeX: "½" and "√2" as commands, and no marks between groups of digits."""
    text = re.sub(r"√\s*(\d+(?:\.\d+)?|[A-Za-z])", r"\\sqrt{\1}", text)
    text = re.sub(r"√\s*[({]([^(){}]*)[)}]", r"\\sqrt{\1}", text)
    text = re.sub(r"(\d*)([¼-¾⅐-⅞])", lambda found: _mixed(int(found[1] or 0), found[2]), text)
    text = re.sub(r"[²³]", lambda found: f"^{unicodedata.digit(found[0])}", text)
    text = "".join(f"{SIGNS[letter]} " if letter in SIGNS else letter for letter in text)
    text = re.sub(r"(\d)(?:\{,\}|,?\\[,:;! ]|,?~)(?=\d\d\d(?!\d))", r"\1", text)
    text = re.sub(r"\\[()]|\^?\s*(?:\\circ|\\degree)(?![a-z])", " ", text)
    text = re.sub(WORDS, lambda found: _unworded(found[0], found[1]), text)
    return re.sub(r"[\s.$]+$", "", text)


def _unworded(command: str, words: str) -> str:
    r"""Returns the replacement of a \text{…} command: "," for "and", words with a digit, else the command itself."""
    if words.strip() in JOINTS:
        return ","
    return f" {words} " if re.search(r"\d", words) else command


def _mixed(whole: int, sign: str) -> str:
    part = Fraction(unicodedata.numeric(sign)).limit_denominator(10)
    return f"(({whole})+({part}))"


class _Reading:
    """An answer, parsed into pieces (at commas and relations) and evaluated at random points.

    Attributes:
        values: for each piece its values at the points.
        relations: relations such as "=" and "<", in the order of the text.
        brackets: brackets of tuples and intervals, together with the relations, sorted.
        ordered: whether the order of the pieces matters.
    """

    def __init__(self, text: str) -> None:
        """Parses and evaluates a text; raises NotUnderstoodError if that is impossible."""
        text = WRAPPING.sub(" ", re.sub(r"^\s*\{(.*,.*)\}\s*$", r"\1", text, flags=re.DOTALL))
        for pattern, better in STEPS[:4]:
            text = re.sub(pattern, better, text)
        text, brackets = _unwrapped(text)
        relations = [RELATIONS.get(found, found) for found in SPLIT.findall(text) if found != ","]
        pieces = [piece for piece in SPLIT.split(text) if piece.strip()]
        if not pieces or len(pieces) > 60:
            message = "no value, or too many"
            raise NotUnderstoodError(message)
        self.values = [value for piece in pieces for value in _both(piece)]
        self.relations = relations
        self.brackets = sorted([*brackets, *relations])
        self.ordered = bool(self.brackets) and "\\cup" not in relations

    def mirrored(self) -> "_Reading":
        """Returns the same statement from right to left: "3 < x" for "x > 3"."""
        other = copy.copy(self)
        other.values = self.values[::-1]
        other.relations = [MIRRORED.get(relation, relation) for relation in self.relations[::-1]]
        brackets = [each for each in self.brackets if each not in self.relations]
        other.brackets = sorted([*brackets, *other.relations])
        return other

    def like(self, other: "_Reading") -> list[tuple[complex, ...]]:
        """Returns the values, reordered so that each is close to the other reading's value at its place."""
        left, found = list(self.values), []
        for value in other.values:
            nearest = min(left, key=lambda each: abs(each[0] - value[0]))
            left.remove(nearest)
            found.append(nearest)
        return found


def _both(piece: str) -> list[tuple[complex, ...]]:
    r"""Returns the values of a piece at the random points: one tuple, or two for both signs of \pm."""
    signs = ("+", "-") if "\\pm" in piece else ("",)
    return [_at_points(_python(re.sub(r"\\pm", sign, piece))) for sign in signs]


def _unwrapped(text: str) -> tuple[str, list[str]]:
    """Replaces the brackets of tuples and intervals by commas; returns the text and these brackets."""
    opened: list[int] = []
    drop: set[int] = set()
    commas: list[int] = []
    for place, letter in enumerate(text):
        if letter in "([":
            opened.append(place)
            commas.append(0)
        elif letter == "," and commas:
            commas[-1] += 1
        elif letter in ")]" and opened:
            start = opened.pop()
            if commas.pop() or text[start] == "[":
                drop |= {start, place}
    without = "".join("," if place in drop else letter for place, letter in enumerate(text))
    return without, [text[place] for place in drop]


def _python(text: str) -> ast.expr:
    """Translates a piece of an answer from LaTeX to a Python expression.

    Raises:
        NotUnderstoodError: the piece contains something that cannot be translated.
    """
    for pattern, better in STEPS:
        text = re.sub(pattern, better, text)
    for _ in range(40):  # innermost braces first
        after = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))", text)
        after = re.sub(r"\\sqrt\s*\[(\d+)\]\s*\{([^{}]*)\}", r"((\2)^(1/\1))", after)
        after = re.sub(r"\\(sqrt|sin|cos|tan|cot|ln|log|exp)\s*\{([^{}]*)\}", r"(@\1(\2))", after)
        after = re.sub(r"\\(sin|cos|tan|cot|ln|log|exp)\s*\(([^()]*)\)", r"(@\1(\2))", after)
        after = re.sub(r"\^\s*\{([^{}]*)\}", r"^(\1)", after)
        if after == text:
            break
        text = after
    text = re.sub(r"\^\s*(\w)(?=\w)", r"^(\1)", text)
    if re.search(r"[\\{}_|!]", text):
        message = f"{text[:40]!r} is not understood"
        raise NotUnderstoodError(message)
    words = re.findall(r"@[a-z]+|pi|1e70|\d+\.?\d*|\.\d+|[A-Za-z]|[-+*/^()]|\S", text)
    rewritten = ""
    before = ""
    for word in words:
        value = word[0] in "(@." or word[0].isalnum()
        if value and before and (before[0].isalnum() or before == ")") and before[0] != "@":
            rewritten += "*"
        said = word.lstrip("0") or "0" if word.isdigit() else word  # 073 is a syntax error in Python
        rewritten += "**" if word == "^" else f" {word.strip('@')}_ " if word[0] == "@" else f" {said} "
        before = word
    try:
        return ast.parse(rewritten.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        message = f"{rewritten[:40]!r} is no expression"
        raise NotUnderstoodError(message) from error


def _at_points(tree: ast.expr) -> tuple[complex, ...]:
    names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
    found = []
    for number in range(POINTS):
        point = {name: complex(random_of("competition audit", name, number).uniform(0.2, 1.7)) for name in names} | {
            "pi": complex(math.pi),
            "e": complex(math.e),
            "i": 1j,
        }
        found.append(_evaluate(tree, point))
    return tuple(found)


def _evaluate(node: ast.expr, point: dict[str, complex]) -> complex:
    match node:
        case ast.Constant(value=int() | float() as value):
            found = complex(value)
        case ast.Name(id=name):
            found = point[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=inner):
            found = _evaluate(inner, point) * (-1 if isinstance(op, ast.USub) else 1)
        case ast.Call(func=ast.Name(id=name), args=[inner]) if name[:-1] in FUNCTIONS:
            found = FUNCTIONS[name[:-1]](_evaluate(inner, point))
        case ast.BinOp(left=left, op=op, right=right):
            one, other = _evaluate(left, point), _evaluate(right, point)
            match op:
                case ast.Add():
                    found = one + other
                case ast.Sub():
                    found = one - other
                case ast.Mult():
                    found = one * other
                case ast.Div():
                    found = one / other
                case ast.Pow():
                    found = one**other
                case _:
                    raise NotUnderstoodError(ast.dump(op))
        case _:
            raise NotUnderstoodError(type(node).__name__)
    if not abs(found) < LARGEST:
        message = "a value is too large"
        raise NotUnderstoodError(message)
    return found


def _close(one: tuple[complex, ...], other: tuple[complex, ...]) -> bool:
    return all(abs(a - b) <= CLOSE * max(1e-3, abs(a), abs(b)) for a, b in zip(one, other, strict=True))
