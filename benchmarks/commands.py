"""How results name the command that made them: without the folders of the machine it ran on."""

import shlex
from collections.abc import Sequence
from pathlib import Path


def portable(words: Sequence[str]) -> list[str]:
    """Returns a command's words, each absolute path cut to its last three parts: trl-env/bin/python."""
    return [str(Path(*Path(word).parts[-3:])) if Path(word).is_absolute() else word for word in words]


def command_line(command: Sequence[str]) -> str:
    """Returns a command as a shell takes it, absolute paths cut to their last three parts."""
    return shlex.join(portable(command))
