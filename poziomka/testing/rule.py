"""How a check says that a rule is broken."""


def rule(holds: object, broken: str) -> None:
    """States a rule of a contract.

    Raises:
        AssertionError: it does not hold; `broken` says what was seen.
    """
    if not holds:
        raise AssertionError(broken)
