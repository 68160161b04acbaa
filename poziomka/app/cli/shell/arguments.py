"""Types of command-line arguments, and exit statuses."""

WRONG, STOPPED = 2, 130  # exit statuses


def positive(text: str) -> int:
    """Returns the integer in a command-line argument; raises ValueError unless it is from 1 to 10**9."""
    number = int(text)
    if not 1 <= number <= 10**9:
        raise ValueError
    return number


positive.__name__ = "number from 1 to a billion"  # argparse says "invalid number from 1 to a billion value: '0'"
