"""Wrong answers to competition problems: the gold answer, changed in one place.

Every change is verified to be wrong: two formulas with a value must differ at random points; two answers of another
form must differ in their brackets, members or relations. A change that cannot be verified is left out.
"""

from collections.abc import Iterator
from fractions import Fraction

from poziomka.tasks.math.formulas.formula import ARITHMETIC, Formula, number
from poziomka.tasks.math.formulas.spelling import spell
from poziomka.tasks.math.formulas.values import ValueFailure, agree, fraction_of, names_of, value_at

MOST = 8  # wrong answers per problem
BRACKETS = {"()": "[]", "[]": "()", "(]": "[)", "[)": "(]"}
RELATIONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "=": "!=", "in": "in"}
INFINITY = Formula("name", text="inf")
INFINITE = frozenset((INFINITY, Formula("minus", (INFINITY,))))


def mistakes_of(gold: Formula) -> dict[str, str]:
    """Returns at most 8 wrong answers in LaTeX, keyed by the fault; the closest to the gold answer comes first."""
    found: dict[str, str] = {}
    for what, wrong in _changes(gold):
        text = spell(wrong)
        if what not in found and text != spell(gold) and len(found) < MOST:
            found[what] = text
    return found


def _changes(gold: Formula) -> Iterator[tuple[str, Formula]]:
    if gold.kind == "measured":
        yield from _changes_of_value(gold)
        other = Formula("measured", gold.parts, "%" if gold.text == "degree" else "degree")
        yield "another unit", other
    elif gold.kind == "plus_minus":
        first, second = gold.parts
        yield "one value of two", Formula("sum", gold.parts)
        yield "both one more", Formula("plus_minus", (Formula("sum", (first, number(1))), second), gold.text)
    elif gold.kind in ARITHMETIC:
        yield from _values(gold)
    elif gold.kind == "words":
        yield "other words", Formula("words", text=f"{gold.text} and more")
    elif gold.kind == "based":
        digits, _, base = gold.text.partition("_")
        yield "another digit", Formula("based", text=f"{digits[:-1]}{(int(digits[-1]) + 1) % int(base)}_{base}")
        yield "another base", Formula("based", text=f"{digits}_{int(base) + 1}")
    else:
        yield from _changes_of_value(gold)
        yield from _forms(gold)


def _changes_of_value(gold: Formula) -> Iterator[tuple[str, Formula]]:
    """Yields (fault, formula) for each way to change one of the formula's parts so that the whole differs."""
    for place in reversed(range(len(gold.parts))):
        for what, wrong in _changes(gold.parts[place]):
            parts = (*gold.parts[:place], wrong, *gold.parts[place + 1 :])
            if gold.kind != "chain" or place:  # a renamed variable on the left would change the question
                yield f"in one part {what}" if len(gold.parts) > 1 else what, Formula(gold.kind, parts, gold.text)


def _forms(gold: Formula) -> Iterator[tuple[str, Formula]]:
    """Yields (fault, formula) for wrong answers of another form: members, brackets, order or relation are changed."""
    if not gold.parts:
        yield "a member of the empty set", Formula(gold.kind, (number(0),), gold.text)
        return
    first, *rest = gold.parts
    if gold.kind in ("list", "set", "union", "tuple") and len(rest) >= 1:
        if len(rest) > 1 or gold.kind == "union" or rest[0].kind in ARITHMETIC:
            yield "one member left out", Formula(gold.kind, tuple(rest), gold.text) if len(rest) > 1 else rest[0]
        yield "one member more", Formula(gold.kind, (first, *gold.parts), gold.text)
    if gold.kind == "tuple" and gold.text in BRACKETS:
        yield "other brackets", Formula("tuple", gold.parts, BRACKETS[gold.text])
    if gold.kind == "tuple" and len(rest) == 1 and differ(first, rest[0]):
        yield "entries in another order", Formula("tuple", gold.parts[::-1], gold.text)
    if gold.kind == "chain" and (other := RELATIONS.get(gold.text, gold.text)) != gold.text:
        yield "another relation", Formula("chain", gold.parts, other)


def _values(gold: Formula) -> Iterator[tuple[str, Formula]]:
    """Yields (fault, formula) for formulas whose values differ from the gold answer's at random points."""
    for what, wrong in _candidates(gold):
        if differ(gold, wrong):
            yield what, wrong


def _candidates(gold: Formula) -> Iterator[tuple[str, Formula]]:
    if gold.kind == "number":
        yield "one more", number(Fraction(gold.text) + 1)
        yield "one less", number(Fraction(gold.text) - 1)
        yield "ten times as much", number(Fraction(gold.text) * 10)
    elif gold == INFINITY:
        yield "the sign flipped", Formula("minus", (gold,))
        yield "a number for infinity", number(1000)
        return
    elif gold in INFINITE:
        yield "the sign flipped", gold.parts[0]
        return
    yield from _leaves(gold)
    yield "the sign flipped", gold.parts[0] if gold.kind == "minus" else Formula("minus", (gold,))
    upside = gold.parts[0] if gold.kind == "minus" else gold
    if upside.kind == "quotient":
        yield "upside down", Formula("quotient", upside.parts[::-1])
    if names_of(gold):
        yield "one more", Formula("sum", (gold, number(1)))
    if gold.kind == "name":
        yield "another letter", Formula("name", text="y" if gold.text == "x" else "x")
        yield from _indexed(gold)
    yield from _rounded(gold)


def _leaves(formula: Formula) -> Iterator[tuple[str, Formula]]:
    """Yields (fault, formula) for each number in the formula, increased by 1, and for each changed index."""
    for place in reversed(range(len(formula.parts))):
        part = formula.parts[place]
        if part.kind == "number":
            changed = iter([("one more in one place", number(Fraction(part.text) + 1))])
        else:
            changed = _indexed(part) if part.kind == "name" else _leaves(part)
        for what, wrong in changed:
            yield (
                what,
                Formula(formula.kind, (*formula.parts[:place], wrong, *formula.parts[place + 1 :]), formula.text),
            )


def _indexed(name: Formula) -> Iterator[tuple[str, Formula]]:
    """Yields (fault, name) for a name with an index: the same letter with another index, and without one."""
    letter, _, index = name.text.partition("_")
    if index:
        yield "another index", Formula("name", text=f"{letter}_{index}+6")
        yield "without its index", Formula("name", text=letter)


def _rounded(gold: Formula) -> Iterator[tuple[str, Formula]]:
    """Yields (fault, number): a constant rounded to three decimals, if it has more."""
    if names_of(gold) or any(part.kind == "plus_minus" for part in gold.walk()):
        return
    try:
        value = value_at(gold, {})
    except ValueFailure:
        return
    if value.imag == 0 and abs(value.real) < 1e6:
        rounded = Fraction(round(value.real * 1000), 1000)
        if abs(float(rounded) - value.real) > 1e-6:
            yield "rounded to three decimals", number(rounded)


def differ(one: Formula, other: Formula) -> bool:
    """Whether two formulas provably have different values, by exact fractions or at random points."""
    if {one, other} & INFINITE:
        return one != other
    if any(part.kind == "plus_minus" for each in (one, other) for part in each.walk()):
        return False  # two pairs of values are not compared here
    try:
        return fraction_of(one) != fraction_of(other)
    except ValueFailure:
        return agree(one, other) is False
