"""Types of command-line arguments, and exit statuses."""

WRONG, STOPPED = 2, 130  # exit statuses


def positive(text: str) -> int:
    """Returns an integer of 1 or more; raises ValueError for any other text."""
    number = int(text)
    if not 1 <= number <= 10**9:
        raise ValueError
    return number


positive.__name__ = "number from 1 to a billion"  # argparse says "invalid number from 1 to a billion value: '0'"
