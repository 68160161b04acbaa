"""Regular expressions in a tokenizer's file that can take time exponential in a text's length."""

import re
from collections.abc import Iterator

TOKEN = re.compile(
    r"\\.|\[|\]|\((?:\?(?:[:=!>|#]|<[=!]|[a-zA-Z-]*:|<\w+>))?|\)"
    r"|(?P<endless>[*+]|\{\d*,\})(?P<own>[+?]?)|(?P<some>\?|\{\d*,\d+\})[+?]?|\|",
    re.DOTALL,
)
LOOKS = ("(?=", "(?!", "(?<=", "(?<!", "(?>")  # these groups match once, or never again otherwise


def patterns_in(settings: object) -> Iterator[str]:
    """Yields every regular expression of a tokenizer.json, wherever it stands."""
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
    """Whether a group that can match in several ways is repeated without bound, as in (a+)+ or (a|aa)*.

    Such a group can take a text apart in exponentially many ways. A group matches in several ways where it holds a
    repetition, an option or alternatives; whether these exclude each other, as in (a|b)*, is not looked at.
    Repetitions that give nothing back (a++, (?>a+)) do not count, and what stands in a class of characters is neither.
    """
    groups, classes = [False], 0  # of each open group: whether it can match in several ways
    atomic: list[bool] = []  # of each open group but the first: whether it gives nothing back
    closed = False  # whether what ended just now, a group or a repetition, can match in several ways
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
