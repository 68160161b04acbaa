r"""Strict equality of answers, defined form by form; numeric evaluation and symbolic algebra must agree.

Equal and unequal pairs (gold answer, reply):

    numbers         1/2 and 0.5, 3/6, .50, -0 and 0: equal; 1/3 and 0.333: never, a decimal is exact
                    if the gold answer is a number, the reply must be one too: "2+2", "\binom{4}{2}", "2^{2}" are not 4
                    1\frac{1}{2} is 3/2; 10,080 and 10{,}080 are 10080; 6.7 \times 10^{-5}, 0.\overline{3} are numbers
    constants       \frac{\sqrt{6}}{2} and \sqrt{\frac{3}{2}}: equal; \sqrt{2} and 1.41421356: never
    formulas        x^2+2x+1 and (1+x)^2: equal; but if the gold answer is a product of sums, the reply must be one with
                    the same number of factors, as the question may ask for factors
    indices         as they are written, but for the order of a sum: a_{n+1} is a_{1+n}, not a_{n-1}
    units           degrees, %, $, \text{ cm} may be left out or added; two different ones are wrong; 10\% is not 0.1
    x = 5, x \in A  equal to 5, A, on either side; y = 5 and x = 5: not equal
    equations       side by side, also with the sides swapped; 2y = 2x is not y = x
    inequalities    x > 3 and 3 < x: equal; x > 3 and (3, \infty): not equal
    tuples          in order, with the same brackets: (1,2) is not [1,2], not \{1,2\} and not "1, 2"
    sets, lists     in any order; \{1,2\} is not "1, 2"; repeated members count
    \pm             1 \pm \sqrt{2} is the list of both values
    intervals       ends and brackets; unions in any order, but of the same intervals
    matrices        entry by entry; round and square brackets are the same; a column is not a tuple
    bases           2516_8 and 2516: not equal
    words           the same letters, ignoring case; single letters with case: \text{(C)}, C and (C), but not c

Formulas with exact rational values are compared as fractions. Other formulas of one value are equal if they have the
same values at random points *and* math-verify finds them equal. Math-verify's comparison alone is not trusted: it takes
0.3333333 for 1/3, sets for tuples and the last of several relations for the answer, and whether it counts an answer
that it cannot parse, or that makes it raise, as different depends on the caller.
"""

from fractions import Fraction

from poziomka.tasks.math.formulas.algebra import algebra_agrees
from poziomka.tasks.math.formulas.formula import ARITHMETIC, Formula, number
from poziomka.tasks.math.formulas.values import ValueFailure, agree, fraction_of, names_of

MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
COMMUTATIVE = ("sum", "product")


def equal(gold: Formula, reply: Formula) -> bool:
    """Whether a reply equals the gold answer; strict about the form, by the table in the module's docstring.

    Numbers must be exact (1/3 is not 0.333), tuples keep order and brackets, sets and lists have any order, and units
    may be left out but not differ.
    """
    gold, reply = _unfold(gold), _unfold(reply)
    gold, reply = _unnamed(gold, reply), _unnamed(reply, gold)
    if gold.kind == "measured" and reply.kind == "measured" and gold.text != reply.text:
        return False
    gold, reply = (each.parts[0] if each.kind == "measured" else each for each in (gold, reply))
    if gold == reply:
        return True
    if gold.kind in ARITHMETIC and reply.kind in ARITHMETIC:
        return _equal_values(gold, reply)
    if gold.kind != reply.kind or len(gold.parts) != len(reply.parts):
        return False
    match gold.kind:
        case "tuple" | "matrix":
            return gold.text == reply.text and all(map(equal, gold.parts, reply.parts))
        case "set" | "list" | "union":
            return _same_members(gold.parts, reply.parts)
        case "chain":
            relations = reply.text.split()
            if gold.text == reply.text and all(map(equal, gold.parts, reply.parts)):
                return True
            mirrored = " ".join(MIRRORED.get(relation, "") for relation in reversed(relations))
            return gold.text == mirrored and all(map(equal, gold.parts, reply.parts[::-1]))
    return False  # words and numbers with a base are equal only if identical


def _same_members(gold: tuple[Formula, ...], reply: tuple[Formula, ...]) -> bool:
    """Whether the members of two lists can be paired so that each pair is equal."""
    if any(part.kind == "chain" for part in gold) != any(part.kind == "chain" for part in reply):
        return False  # "x = 1, y = 2" is not "1, 2": a list does not assign its values to variables
    left = list(reply)
    for member in gold:
        partner = next((other for other in left if equal(member, other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return not left


def _unfold(formula: Formula) -> Formula:
    r"""Returns the list (or set) of both values for a formula that contains \pm; other formulas unchanged."""
    if not any(part.kind == "plus_minus" for part in formula.walk()):
        return formula
    members = formula.parts if formula.kind in ("list", "set") else (formula,)
    both = [
        tuple(_signed(member, sign) for sign in (1, -1))
        if any(part.kind == "plus_minus" for part in member.walk())
        else (member,)
        for member in members
    ]
    return Formula("set" if formula.kind == "set" else "list", tuple(each for pair in both for each in pair))


def _signed(formula: Formula, sign: int) -> Formula:
    r"""Returns a formula with \pm resolved to the first value (`sign` 1) or the second (`sign` -1)."""
    parts = tuple(_signed(part, sign) for part in formula.parts)
    if formula.kind != "plus_minus":
        return Formula(formula.kind, parts, formula.text)
    plus = (formula.text == "+") == (sign == 1)
    second = parts[1] if plus else Formula("minus", (parts[1],))
    return second if parts[0] == number(0) else Formula("sum", (parts[0], second))


def _unnamed(formula: Formula, other: Formula) -> Formula:
    r"""Returns a formula without "x =" or "x \in" before its value, unless the other formula has one, too."""
    if formula.kind == "list" and other.kind == "list" and not any(part.kind == "chain" for part in other.parts):
        named = {part.parts[0] for part in formula.parts if _is_named(part)}
        if len(named) == 1 and all(map(_is_named, formula.parts)):
            return Formula("list", tuple(part.parts[1] for part in formula.parts))
    if other.kind != "chain" and _is_named(formula):
        return formula.parts[1]
    return formula


def _is_named(formula: Formula) -> bool:
    r"""Whether a formula is "x = V" or "x \in V", where V is a value without variables."""
    named = formula.kind == "chain" and formula.text in ("=", "in") and formula.parts[0].kind == "name"
    return named and bool(names_of(formula.parts[0])) and not names_of(formula.parts[1]) - {"inf"}


# ---------------------------------------------------------------------------------------------------------- values
def is_plain(formula: Formula) -> bool:
    """Whether a formula is a literal number: 3, -3, 3/4, 0.75 or 3 * 10^4."""
    match formula.kind:
        case "number":
            return True
        case "minus":
            return formula.parts[0].kind != "minus" and is_plain(formula.parts[0])
        case "quotient":
            return all(_is_whole(part) for part in formula.parts)
        case "product":
            left, right = formula.parts
            scale = right.kind == "power" and right.parts[0] == number(10) and _is_whole(right.parts[1])
            return left.kind == "number" and scale
    return False


def _is_whole(formula: Formula) -> bool:
    if formula.kind == "minus":
        formula = formula.parts[0]
    return formula.kind == "number" and Fraction(formula.text).denominator == 1


def _equal_values(gold: Formula, reply: Formula) -> bool:
    """Whether two formulas of one value are equal, and the reply is in as simple a form as the gold answer."""
    if is_plain(gold):
        try:
            return is_plain(reply) and fraction_of(gold) == fraction_of(reply)
        except ValueFailure:  # 5/0, or a number too large to be an answer
            return False
    if len(_factors(gold)) > 1 and len(_factors(reply)) != len(_factors(gold)):
        return False
    try:
        return fraction_of(gold) == fraction_of(reply)
    except ValueFailure:
        return agree(gold, reply) is True and algebra_agrees(gold, reply)


def _factors(formula: Formula) -> list[Formula]:
    """Returns the factors of a product that are sums with variables; a square has its factor twice, and so on."""
    match formula.kind:
        case "minus":
            return _factors(formula.parts[0])
        case "product":
            return [*_factors(formula.parts[0]), *_factors(formula.parts[1])]
        case "power" if formula.parts[1].kind == "number" and Fraction(formula.parts[1].text) in range(2, 9):
            return _factors(formula.parts[0]) * int(formula.parts[1].text)
        case "sum" if names_of(formula):
            return [formula]
    return []


def key_of(formula: Formula) -> str:
    """Returns a canonical string, the same for formulas that differ only in the order of terms and factors."""
    if formula.kind in COMMUTATIVE:
        terms: list[Formula] = []
        stack = list(formula.parts)
        while stack:
            part = stack.pop()
            if part.kind == formula.kind:
                stack += part.parts
            else:
                terms.append(part)
        return f"{formula.kind}({','.join(sorted(map(key_of, terms)))})"
    return f"{formula.kind}:{formula.text}({','.join(map(key_of, formula.parts))})"
