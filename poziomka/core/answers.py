"""Reading an answer out of a reply."""

THINK, CLOSE = "<think>", "</think>"


def split_thought(reply: str) -> tuple[str, str | None]:
    """Splits a reply into its thought (all of them, where tools interrupt it) and what follows.

    What follows is None while a thought is still open: words in a thought are never an answer. It is None too
    where "</think>" closes what was closed already: a model could else go on thinking after its budget was spent.
    A reply that never opened a thought is all answer.
    """
    if CLOSE not in reply:
        before, opened, inside = reply.partition(THINK)
        return (inside.strip(), None) if opened else ("", before.strip())
    thought, *between, answer = reply.split(CLOSE)
    closed_twice = any(THINK not in words for words in between)
    thought = CLOSE.join([thought, *between]).replace(THINK, "", 1).strip()
    return thought, None if closed_twice or THINK in answer else answer.strip()


def read_integer(reply: str) -> int | None:
    """Returns the integer that is the whole answer after the thought; None for anything else.

    Strict on purpose: two numbers, words around the number, or digits of another script are no answer.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > 40:
        return None
    digits = answer[1:] if answer[:1] in "+-" else answer
    return int(answer) if digits.isascii() and digits.isdigit() else None
