"""The command line: `poziomka --help` answers at once, because a command imports its rooms when it runs.

Exit status: 0 done · 2 something is the user's to mend, said in one sentence · 130 stopped by Ctrl-C, everything
saved · 141 nobody reads the output any more · 1 a fault of ours, with its traceback.
"""

import os
import re
import shlex
import sys
import traceback
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from poziomka.cli import chat
from poziomka.core.errors import PoziomkaError, SettingsError, nearest

WRONG, STOPPED, UNREAD, FAULT = 2, 130, 141, 1  # exit statuses
OUT_OF_MEMORY = "can't allocate memory"  # torch raises RuntimeError where Python raises MemoryError


@dataclass(frozen=True)
class Command:
    """One word after `poziomka`: what it is for, what it takes, what it does (returning the exit status)."""

    about: str
    options: Callable[[ArgumentParser], None]
    act: Callable[[Namespace], int]


class Parser(ArgumentParser):
    """Raises instead of printing the usage; `error` is argparse's own place to be told otherwise."""

    def error(self, message: str) -> NoReturn:
        """Raises SettingsError."""
        sentence = f"{message}; `{self.prog} --help` says what there is"
        raise SettingsError(sentence)


# ---------------------------------------------------------------------------------------------------------- train
def _train_options(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", type=Path, metavar="RECIPE", help="a recipe.toml, or a run's folder")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="where to write; a run that is there goes on")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting: --set reinforce.steps=20"
    )
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with the run there, by its own recipe")
    parser.add_argument(
        "--to", action="append", default=[], metavar="NAME", help="copy metrics live to tensorboard or wandb"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved recipe and do nothing")


def _train(given: Namespace) -> int:
    from poziomka.core.settings import plain, to_toml
    from poziomka.runs.run import Run
    from poziomka.training.recipe import read_recipe

    if given.resume is not None:
        if given.recipe is not None or given.run is not None or given.set:
            message = "--resume goes on with a run by its own recipe: leave RECIPE, --run and --set out"
            raise SettingsError(message)
        Run.read(given.resume)  # says what is wrong where it is no run
        recipe, folder = read_recipe(given.resume), given.resume
    elif given.recipe is None:
        message = "train needs a recipe, recipes/recurrence/recipe.toml for one, or --resume with the folder of a run"
        raise SettingsError(message)
    else:
        recipe = read_recipe(given.recipe, tuple(given.set))
        folder = given.run or _folder_for(given.recipe, recipe.name)
    if given.dry_run:
        print(to_toml(plain(recipe)), end="")
        return 0
    from poziomka.learning.progress import Interrupted
    from poziomka.training.train import train

    try:
        page = train(recipe, folder, exports=given.to)
    except Interrupted as error:
        _say(error)
        return STOPPED
    except KeyboardInterrupt:
        _say(f"stopped at once; go on with: poziomka train --resume {shlex.quote(str(folder))}")
        return STOPPED
    from poziomka.reports.findings import headline
    from poziomka.reports.reading import read

    print(headline(read(Run.read(folder), journals=False)))
    print(f"The report is at {page}")
    return 0


def _folder_for(path: Path, name: str) -> Path:
    """Returns runs/NAME; for the recipe of a run, which is to be repeated, the first free folder beside that run."""
    if not re.fullmatch(r"[\w][\w .-]*", name):
        message = f"the recipe's name {name!r} is no name for a folder: use letters, digits, '-', or give --run FOLDER"
        raise SettingsError(message)
    run = path if path.is_dir() else path.parent
    if not (run / "checkpoints").is_dir():
        return Path("runs") / name
    run = Path(os.path.normpath(run)) if run.name in ("", "..") else run
    numbers = (number for number in range(2, sys.maxsize))
    return next(free for number in numbers if not (free := run.with_name(f"{run.name}-{number}")).exists())


# --------------------------------------------------------------------------------------------------------- doctor
def _doctor_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "recipe", nargs="?", type=Path, metavar="RECIPE", help="a recipe.toml (the demonstration's settings)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting: --set task=countdown"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def _doctor(given: Namespace) -> int:
    from poziomka.cli.doctor import doctor

    return 0 if doctor(given.recipe, tuple(given.set), as_json=given.json) else WRONG


# ---------------------------------------------------------------------------------------------------------- learn
def _learn_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--from", dest="journal", type=Path, required=True, metavar="JOURNAL", help="a journal's file, or a folder"
    )
    parser.add_argument("--scores", type=Path, metavar="FILE", help='JSON lines {"id": …, "reward": …, "why": …}')
    parser.add_argument("--steps", type=_positive, default=1, metavar="N", help="updates from these rollouts (1)")
    parser.add_argument("--rate", type=float, metavar="X", help="learning rate (the recipe's highest)")
    parser.add_argument(
        "--mismatch", type=float, default=0.1, metavar="X", help="most nats a token between writers and learner (0.1)"
    )


def _learn(given: Namespace) -> int:
    from poziomka.cli.learn import learn

    settings = {"steps": given.steps, "rate": given.rate, "mismatch": given.mismatch}
    for sentence in learn(given.run, given.journal, given.scores, settings):
        print(sentence)
    return 0


# ------------------------------------------------------------------------------------------ evaluate, report, show
def _evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--budget", nargs="+", action="extend", type=int, default=[], metavar="N", help="thinking tokens, one or many"
    )
    parser.add_argument("--problems", type=_positive, metavar="N", help="held-out problems (the recipe's number)")
    parser.add_argument("--attempts", type=_positive, metavar="N", help="attempts a problem (the recipe's number)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _evaluate(given: Namespace) -> int:
    from poziomka.cli.evaluate import evaluate

    curve = evaluate(given.run, given.budget, given.problems, given.attempts)
    for note in curve.notes:
        _say(note)
    print(curve.json() if given.json else curve)
    return 0


def _report_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")


def _report(given: Namespace) -> int:
    from poziomka.cli.report import report

    print(report(given.run))
    return 0


def _show_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--step", metavar="N", help="a step, or a journal by its name: warm-start, trained")
    parser.add_argument("--group", type=_positive, metavar="N", help="a group of the step, from 1")
    parser.add_argument("--rollout", type=_positive, metavar="N", help="a rollout of the group, from 1")


def _show(given: Namespace) -> int:
    from poziomka.cli.show import show

    show(given.run, given.step, given.group, given.rollout)
    return 0


# -------------------------------------------------------------------------------------------------------- metrics
def _metrics_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--to", metavar="NAME", help="copy them to tensorboard or wandb")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the copy lies (in the run's folder)")


def _metrics(given: Namespace) -> int:
    from poziomka.cli.metrics import copy, table

    if given.to is None and given.folder is not None:
        message = "--folder says where a copy lies: give --to tensorboard or --to wandb with it"
        raise SettingsError(message)
    print(table(given.run) if given.to is None else copy(given.run, given.to, given.folder))
    return 0


# --------------------------------------------------------------------------------------------------------- export
def _export_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="RUN", help="the folder of a run, or of a checkpoint")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="write a GGUF file, for llama.cpp")
    parser.add_argument("--folder", dest="out", type=Path, metavar="FOLDER", help="write a folder in the hub's layout")
    parser.add_argument("--kind", default="f32", metavar="KIND", help="of its weights: f32, f16 or bf16 (f32)")


def _export(given: Namespace) -> int:
    from poziomka.cli.export import export

    *notes, done = export(given.folder, given.gguf, given.out, given.kind)
    for note in notes:
        _say(note)
    print(done)
    return 0


# ---------------------------------------------------------------------------------------------------- tasks, runs
def _tasks_options(parser: ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="list", metavar="list|show", help="what to print (list)")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the task to show")
    parser.add_argument("--split", default="train", metavar="SPLIT", help="train or test (train)")
    parser.add_argument("--level", type=int, metavar="N", help="difficulty (the task's own mixture)")
    parser.add_argument("--count", type=_positive, default=3, metavar="N", help="problems to print (3)")


def _tasks(given: Namespace) -> int:
    from poziomka.cli.tasks import list_tasks, show_task

    if given.action == "list" and given.name is None:
        print(list_tasks())
        return 0
    if given.action == "show" and given.name is not None:
        print(show_task(given.name, split=given.split, level=given.level, count=given.count))
        return 0
    wrong = "" if given.action in ("list", "show") else f"unknown action {given.action!r}; "
    message = f"{wrong}write `poziomka tasks list`, or `poziomka tasks show NAME`"
    raise SettingsError(message)


def _runs_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), metavar="FOLDER", help="of runs (runs)")


def _runs(given: Namespace) -> int:
    from poziomka.cli.runs import runs

    print(runs(given.folder))
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "number from 1 on"  # argparse says "invalid number from 1 on value: '0'"

COMMANDS = {
    "train": Command("run a recipe from nothing to a report, or go on with a run", _train_options, _train),
    "doctor": Command("check a recipe's parts before compute is burnt", _doctor_options, _doctor),
    "learn": Command("take an update from rollouts that were served and judged", _learn_options, _learn),
    "chat": Command("talk with a model, or with a run's newest weights", chat.options, chat.chat),
    "evaluate": Command("measure a run's newest weights at thinking budgets", _evaluate_options, _evaluate),
    "report": Command("make a run's report.html and figures anew", _report_options, _report),
    "metrics": Command("list a run's metrics, or copy them elsewhere", _metrics_options, _metrics),
    "export": Command("write a run's newest weights for other programs", _export_options, _export),
    "show": Command("look through a run's rollouts", _show_options, _show),
    "tasks": Command("list the tasks, or show problems of one", _tasks_options, _tasks),
    "runs": Command("compare the runs in a folder", _runs_options, _runs),
}


# ------------------------------------------------------------------------------------------------------- boundary
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without "…" shows "?" rather than nothing
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # so that a full disk or a closed pipe is met here
    except PoziomkaError as error:
        _say(error)
        return WRONG
    except KeyboardInterrupt:
        _say("stopped by Ctrl-C; what was saved before is intact")
        return STOPPED
    except BrokenPipeError:
        _forget_output()
        return UNREAD
    except OSError as error:
        _forget_output()
        where = f" ({error.filename})" if error.filename else ""
        _say(f"the system refused: {(error.strerror or str(error)).lower()}{where}")
        return WRONG
    except Exception as error:  # noqa: BLE001 the outermost boundary
        if sentence := _lacking(error):
            _say(sentence)
            return WRONG
        traceback.print_exc()
        _say("this is a fault in Poziomka, not yours: please report the lines above with the command you gave")
        return FAULT
    return status


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        return _without_command(arguments)
    name, *rest = arguments
    if name not in COMMANDS:
        message = f"unknown command {name!r}{nearest(name, COMMANDS)}"
        raise SettingsError(message)
    command = COMMANDS[name]
    parser = Parser(
        prog=f"poziomka {name}", description=f"{command.about[0].upper()}{command.about[1:]}.", allow_abbrev=False
    )
    command.options(parser)
    _demand_known(rest, parser)
    try:
        given = parser.parse_args(rest)
    except SystemExit:  # --help was printed
        return 0
    return command.act(given)


def _without_command(arguments: list[str]) -> int:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items())
    parser = Parser(
        prog="poziomka",
        usage="poziomka COMMAND …",
        description="Trains, scales and serves reasoning models.",
        epilog=f"commands:\n{listed}\n\n`poziomka COMMAND --help` says what a command takes.",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    _demand_known(arguments, parser)
    try:
        given = parser.parse_args(arguments)
    except SystemExit:
        return 0
    if given.version:
        from importlib import metadata

        print(f"poziomka {metadata.version('poziomka')}")
        return 0
    parser.print_help(sys.stderr)
    return WRONG


def _demand_known(arguments: Sequence[str], parser: ArgumentParser) -> None:
    """Refuses an unknown option with the nearest known one."""
    known = [option for action in parser._actions for option in action.option_strings]  # noqa: SLF001 has no public list
    for argument in arguments:
        name = argument.partition("=")[0]
        if argument == "--":
            return
        if re.match(r"-{1,2}[A-Za-z]", name) and name not in known:
            message = f"unknown option {name!r} of {parser.prog}{nearest(name, known)}"
            raise SettingsError(message)


def _lacking(error: Exception) -> str | None:
    """Returns what the machine lacks, in a sentence; None where the fault is ours."""
    if isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error):
        return "there is not enough memory: ask for a smaller model, fewer problems or fewer attempts"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("poziomka"):
        return f"the package {error.name!r} is not installed: `pip install poziomka` brings all that it needs"
    return None


def _say(message: object) -> None:
    """Prints one sentence where errors go."""
    print(f"poziomka: {' '.join(str(message).split())}", file=sys.stderr)


def _forget_output() -> None:
    """Points standard output nowhere, so that Python's own last flush does not fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
