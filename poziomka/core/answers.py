"""Reading an answer out of a reply."""

THINK, CLOSE = "<think>", "</think>"


def split_thought(reply: str) -> tuple[str, str | None]:
    """Splits a reply at its last "</think>" into the thought and what follows.

    What follows is None while a thought is still open: words in a thought are never an answer. A reply
    that never opened a thought is all answer.
    """
    before, closed, after = reply.rpartition(CLOSE)
    if closed:
        reopened = THINK in after
        return before.replace(THINK, "", 1).strip(), None if reopened else after.strip()
    if THINK in reply:
        return reply.split(THINK, 1)[1].strip(), None
    return "", reply.strip()


def read_integer(reply: str) -> int | None:
    """Returns the integer that is the whole answer after the thought; None for anything else.

    Strict on purpose: two numbers, words around the number, or digits of another script are no answer.
    """
    answer = split_thought(reply)[1]
    if answer is None or len(answer) > 40:
        return None
    digits = answer[1:] if answer[:1] in "+-" else answer
    return int(answer) if digits.isascii() and digits.isdigit() else None
