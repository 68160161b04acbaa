"""Completion scripts for bash, zsh and fish, made from the options of the commands by the package shtab."""

from argparse import Action, ArgumentParser, BooleanOptionalAction
from collections.abc import Callable, Mapping
from pathlib import Path

import shtab

from poziomka.tasks import TASKS

PROGRAM = "poziomka"
FILES = {"MODEL", "RUN", "RECIPE", "FOLDER", "FILE", "JOURNAL"}  # metavars of arguments that may be a path
HINT = {
    "bash": f'put this line into ~/.bashrc: eval "$({PROGRAM} completion bash)"',
    "zsh": f'put this line into ~/.zshrc, after compinit: eval "$({PROGRAM} completion zsh)"',
    "fish": f"write this to ~/.config/fish/completions/{PROGRAM}.fish",
}

Options = Callable[[ArgumentParser], None]


def script(commands: Mapping[str, tuple[str, Options]], shell: str) -> str:
    """Returns the completion script of the command line for a shell.

    Args:
        commands: by name of a command, its description and the function that adds its options to a parser.
        shell: bash, zsh or fish.
    """
    parser = ArgumentParser(PROGRAM)
    parser.add_argument("--version", action="store_true", help="print the version")
    parsers = parser.add_subparsers()
    for name, (about, options) in commands.items():
        command = parsers.add_parser(name, help=about, description=about)
        options(command)
        for action in command._actions:  # noqa: SLF001 no public list
            _complete(action)
    return f"# {HINT[shell]}\n{shtab.complete(parser, shell)}"


def _complete(action: Action) -> None:
    """Sets how the value of an argument is completed: words of its metavar, names of tasks, or paths."""
    if action.nargs == 0 or isinstance(action, BooleanOptionalAction):
        return
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if "|" in metavar:
        action.choices = metavar.split("|")
    elif metavar == "TASK":
        action.choices = list(TASKS)
    elif action.type is Path or metavar in FILES:
        vars(action)["complete"] = shtab.FILE  # the attribute that shtab reads
