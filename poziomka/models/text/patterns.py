"""Detection of regular expressions in a tokenizer file whose matching can take exponential time."""

import re
from collections.abc import Iterator

TOKEN = re.compile(
    r"\\.|\[|\]|\((?:\?(?:[:=!>|#]|<[=!]|[a-zA-Z-]*:|<\w+>))?|\)"
    r"|(?P<endless>[*+]|\{\d*,\})(?P<own>[+?]?)|(?P<some>\?|\{\d*,\d+\})[+?]?|\|",
    re.DOTALL,
)
LOOKS = ("(?=", "(?!", "(?<=", "(?<!", "(?>")  # groups that do not backtrack: lookarounds and atomic groups


def patterns_in(settings: object) -> Iterator[str]:
    """Yields every regular expression in the parsed contents of a tokenizer.json."""
    rest = [settings]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            if isinstance(value.get("Regex"), str):
                yield value["Regex"]
            rest += value.values()
        elif isinstance(value, list):
            rest += value


def repeats_a_repetition(pattern: str) -> bool:
    """Whether a regular expression repeats, without bound, a group that can match in several ways: (a+)+, (a|aa)*.

    Such a group can split a text in exponentially many ways. A group counts as ambiguous if it contains a repetition,
    an option or alternatives; whether these exclude each other, as in (a|b)*, is not checked. Possessive and atomic
    repetitions (a++, (?>a+)) do not count, and character classes are ignored.
    """
    groups, classes = [False], 0  # for each open group: whether it is ambiguous
    atomic: list[bool] = []  # for each open group but the outermost: whether it does not backtrack
    closed = False  # whether the group or repetition that just ended is ambiguous
    place = 0
    while place < len(pattern):
        found = TOKEN.match(pattern, place)
        text = found.group() if found else pattern[place]
        place += len(text)
        if classes or text == "[":
            classes += (text == "[") - (text == "]")
            closed = False
        elif text.startswith("("):
            groups.append(False)
            atomic.append(text in LOOKS)
            closed = False
        elif text == ")" and len(groups) > 1:
            kept = atomic.pop()
            closed = groups.pop() and not kept
            groups[-1] |= closed
        elif found and found.group("endless") and found.group("own") != "+":
            if closed:
                return True
            groups[-1] = closed = True
        elif found and (found.group("some") or text == "|"):
            groups[-1], closed = True, text != "|"
        else:
            closed = False
    return False
