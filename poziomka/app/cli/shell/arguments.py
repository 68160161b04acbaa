"""Types of command-line arguments."""


def positive(text: str) -> int:
    """Returns an integer of 1 or more; raises ValueError for any other text."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


positive.__name__ = "number from 1 on"  # argparse says "invalid number from 1 on value: '0'"
