"""Assertion of contract rules by the conformance checks."""


def rule(holds: object, broken: str) -> None:
    """Asserts a rule of a contract, independently of python -O.

    Args:
        holds: condition of the rule.
        broken: message with the observed values, for a violation.

    Raises:
        AssertionError: the condition is false.
    """
    if not holds:
        raise AssertionError(broken)
