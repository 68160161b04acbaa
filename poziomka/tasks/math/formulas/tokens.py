r"""Tokenizer for LaTeX answers; normalizes alternative spellings."""

import re

from poziomka.tasks.math.formulas.formula import Formula, FormulaError

BRACKETS = {"(": ")]", "[": ")]", "\\{": ("\\}",), "\\langle": ("\\rangle",)}
TOKEN = re.compile(
    r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|operatorname)\s*\{(?P<words>[^{}\\$]*)\}"
    r"|\\begin\{[pb]matrix\}|\\end\{[pb]matrix\}|\\\\|\\[A-Za-z]+|\\[{}$%|]"
    r"|\d{1,3}(?:,\d{3})+(?![\d.])|\d+(?:\.\d+)?|\.\d+|[A-Za-z]|[-+*/^_!=<>(),|{}\[\]:&%]"
)
SPACES = re.compile(r"(?<!\\)\\[,;: !]|~|\\quad|\\qquad|\\displaystyle|\\left(?![a-z])|\\right(?![a-z])|\\limits")
SIGNS = {
    "−": "-",
    "–": "-",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": r"\div ",
    "±": r"\pm ",
    "°": r"^\circ ",
    "π": r"\pi ",
    "∞": r"\infty ",
    "∅": r"\emptyset ",
    "²": "^2",
    "³": "^3",
    "∪": r"\cup ",
    "∈": r"\in ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
    "⅕": r"\frac{1}{5}",
    "⅛": r"\frac{1}{8}",
    "θ": r"\theta ",
}  # Unicode signs with an unambiguous LaTeX equivalent
ROOT = re.compile(r"√\s*(\d+|[A-Za-z]|\{[^{}]*\}|\([^()]*\))")
TEXT = r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf)\s*\{"
SPELLINGS = (  # normalizations, applied in order
    (re.compile(r"(?<=\d),(?:\\!|\{\})\s*(?=\d{3})|(?<=\d)\{,\}(?=\d{3})"), ""),
    (re.compile(r"(?<![\d.])\d{1,3}(?:(?:\\[,;:! ]|~)\d{3})+(?!\d)"), lambda found: re.sub(r"\D", "", found[0])),
    (re.compile(TEXT + r"\s*([-+]?\d[\d,]*(?:\.\d+)?)\s*\}"), r" \1 "),
    (re.compile(TEXT + r"\s*([-+]?\d[\d,]*(?:\.\d+)?)(\s+[A-Za-z ]+)\}"), r" \1\\text{\2}"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (SPACES, " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:cdot|times|ast)(?![A-Za-z])"), "*"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])"), r"\\circ "),
    (re.compile(r"\\(?:lvert|rvert|vert)(?![A-Za-z])"), "|"),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"(\d*)\.(\d*)\\overline\s*\{(\d+)\}"), lambda found: _repeating(*found.groups())),
)


def _repeating(whole: str, start: str, period: str) -> str:
    r"""Returns a repeating decimal, such as "0", "1", "6" for 0.1\overline{6}, as a fraction in LaTeX."""
    nines = (10 ** len(period) - 1) * 10 ** len(start)
    return rf"\frac{{{int(whole + start + period or 0) - int(whole + start or 0)}}}{{{nines}}}"


def in_latex(text: str) -> str:
    """Returns a text with Unicode signs such as "½", "π" and "√2" replaced by LaTeX."""
    text = ROOT.sub(lambda found: rf"\sqrt{{{found[1].strip('{}()')}}}", text)
    return "".join(SIGNS.get(letter, letter) for letter in text)


def tokens_of(text: str) -> list[str]:
    r"""Returns the tokens of an answer in LaTeX; \text{even} is one token, "even" after a quotation mark.

    Raises:
        FormulaError: the text contains a character that starts no token.
    """
    for pattern, better in SPELLINGS:
        text = pattern.sub(better, text)
    text = text.strip()
    found_tokens: list[str] = []
    at = depth = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            message = f"{text[at : at + 10]!r} is not understood"
            raise FormulaError(message)
        token = found[0]
        depth += (token in BRACKETS) - (token in (")", "]", "\\}", "\\rangle"))
        if "," in token and token[0].isdigit():
            token = token.partition(",")[0] if depth else token.replace(",", "")  # (1,234) has two entries
            at += len(token) if depth else len(found[0])
        else:
            at = found.end()
            token = token if found["words"] is None else f'"{" ".join(found["words"].lower().split())}'
        found_tokens.append(token)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found_tokens


def words_of(text: str) -> Formula | None:
    r"""Returns an answer in words, such as "even" or \text{(C)}, as a formula; None if the text is not in words."""
    plain = re.sub(r"\\(?:text|textbf|textit|textrm|mbox|mathrm)\s*\{([^{}\\$]*)\}", r"\1", text)
    letters = plain.strip().strip(".").strip()
    if "\\" in plain or not letters:
        return None
    if plain != text and (choice := re.fullmatch(r"\(?([A-Za-z])\)?", letters)):
        return Formula("name", text=choice[1])
    if not re.fullmatch(r"[A-Za-z][A-Za-z ,'-]{2,}" if plain == text else r"[A-Za-z(][\w ,:'()-]+", letters):
        return None
    if plain == text and (re.search(r"[,-]", letters) or max(map(len, letters.split())) < 3):
        return None  # "a, b" and "p - q" are formulas
    if plain != text and re.search(r"\d|[a-z] ?-|,", re.sub(r"\\[a-z]+\s*\{[^{}]*\}", "", text)):
        return None  # "5 \text{ cm}" is a formula with a unit
    return Formula("words", text=" ".join(letters.lower().split()))
