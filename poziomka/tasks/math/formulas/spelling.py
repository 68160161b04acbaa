"""Conversion of formulas to LaTeX."""

from fractions import Fraction

from poziomka.tasks.math.formulas.formula import Formula, number


def spell(formula: Formula) -> str:
    """Returns a formula as LaTeX that parses to the same formula; parts are in brackets where these may be needed."""
    parts = [spell(part) for part in formula.parts]
    match formula.kind:
        case "number":
            value = Fraction(formula.text)
            return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
        case "name":
            return _spell_name(formula.text)
        case "sum":
            minus = formula.parts[1].kind == "minus"
            return parts[0] + (parts[1] if minus else f"+{parts[1]}")
        case "product":
            return r" \cdot ".join(_braced(part, said) for part, said in zip(formula.parts, parts, strict=True))
        case "quotient":
            return rf"\frac{{{parts[0]}}}{{{parts[1]}}}"
        case "power":
            return f"{_braced(formula.parts[0], parts[0], power=True)}^{{{parts[1]}}}"
        case "minus":
            return f"-{_braced(formula.parts[0], parts[0])}"
        case "plus_minus":
            sign = r"\pm" if formula.text == "+" else r"\mp"
            return f"{'' if formula.parts[0] == number(0) else parts[0]} {sign} {_braced(formula.parts[1], parts[1])}"
        case "apply":
            return _spell_applied(formula.text, parts)
    return _spell_form(formula, parts)


def spell_index(index: Formula) -> str:
    """Returns the index of a name as LaTeX; sums that differ only in the order of their terms give the same text."""
    terms, left = [], [index]
    while left:
        part = left.pop()
        if part.kind == "sum":
            left += part.parts
        else:
            terms.append(rf"\left({spell(part)}\right)" if part.kind == "plus_minus" else spell(part))
    first, *others = sorted(terms)
    return first + "".join(term if term.startswith("-") else f"+{term}" for term in others)


def _braced(formula: Formula, said: str, *, power: bool = False) -> str:
    """Returns the LaTeX of a part, `said`, in brackets if it needs them in a product or, with `power`, as a base."""
    bare = formula.kind == "name" or (formula.kind == "number" and said.isdigit())
    bare = bare or (not power and formula.kind in ("quotient", "apply", "power", "number") and said[0] != "-")
    return said if bare else rf"\left({said}\right)"


def _spell_name(name: str) -> str:
    name, _, index = name.partition("_")
    name = {"inf": r"\infty"}.get(name, name if len(name) == 1 else f"\\{name}")
    return f"{name}_{{{index}}}" if index else name


def _spell_applied(function: str, parts: list[str]) -> str:
    first = rf"\left({parts[0]}\right)"
    match function:
        case "root":
            return rf"\sqrt{{{parts[0]}}}" if parts[1] == "2" else rf"\sqrt[{parts[1]}]{{{parts[0]}}}"
        case "abs":
            return f"|{parts[0]}|"
        case "floor":
            return rf"\lfloor {parts[0]} \rfloor"
        case "ceiling":
            return rf"\lceil {parts[0]} \rceil"
        case "factorial":
            return f"{first}!"
        case "binomial":
            return rf"\binom{{{parts[0]}}}{{{parts[1]}}}"
        case "degrees":
            return rf"\frac{{\pi \cdot {first}}}{{180}}"
        case "log":
            return rf"\log_{{{parts[1] if len(parts) > 1 else 10}}}{first}"
    return rf"\{function}{first}"


def _spell_form(formula: Formula, parts: list[str]) -> str:
    """Returns the LaTeX of a formula that is no single value, such as a tuple, from the LaTeX of its parts."""
    match formula.kind:
        case "measured":
            return _spell_measured(parts[0], formula.text)
        case "based":
            digits, _, base = formula.text.partition("_")
            return f"{digits}_{{{base}}}"
        case "tuple":
            opened, closed = (r"\langle ", r" \rangle") if formula.text == "<>" else tuple(formula.text or "()")
            return f"{opened}{', '.join(parts)}{closed}"
        case "set":
            return rf"\{{{', '.join(parts)}\}}"
        case "list":
            return ", ".join(parts)
        case "union":
            return r" \cup ".join(parts)
        case "matrix":
            rows = (" & ".join(map(spell, row.parts)) for row in formula.parts)
            return r"\begin{pmatrix} " + r" \\ ".join(rows) + r" \end{pmatrix}"
        case "chain":
            said = {"in": r"\in", "<=": r"\le", ">=": r"\ge", "!=": r"\ne"}
            relations = [said.get(relation, relation) for relation in formula.text.split()]
            return parts[0] + "".join(f" {sign} {part}" for sign, part in zip(relations, parts[1:], strict=True))
    return rf"\text{{{formula.text}}}"


def _spell_measured(value: str, unit: str) -> str:
    before, unit = (r"\$", unit[1:]) if unit[:1] == "$" else ("", unit)
    mark = {"degree": r"^\circ", "%": r"\%", "": ""}.get(unit)
    if mark is None:
        word, _, power = unit.partition("^")
        mark = rf"\text{{ {word}}}" + (f"^{{{power}}}" if power else "")
    return before + value + mark
