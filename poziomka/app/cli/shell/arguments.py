"""Types of command-line arguments, exit statuses, and the command that started the program."""

import shlex
import sys
from pathlib import Path
from shutil import which

WRONG, STOPPED = 2, 130  # exit statuses


def invocation() -> str:
    """Returns the command that started this program, for messages: "poziomka", or its path if the shell finds another.

    Started as `.venv/bin/poziomka`, this is that path; as `python -m poziomka`, those words.
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{shlex.quote(_near(Path(sys.executable)))} -m poziomka"
    found = which("poziomka")
    if program.name != "poziomka" or (found is not None and Path(found).resolve() == program.resolve()):
        return "poziomka"
    return shlex.quote(_near(program))


def _near(path: Path) -> str:
    """Returns a path relative to the current folder if it is in it."""
    here = Path.cwd()
    return str(path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path)


def positive(text: str) -> int:
    """Returns the integer in a command-line argument; raises ValueError unless it is from 1 to 10**9."""
    number = int(text)
    if not 1 <= number <= 10**9:
        raise ValueError
    return number


positive.__name__ = "number from 1 to a billion"  # argparse says "invalid number from 1 to a billion value: '0'"
