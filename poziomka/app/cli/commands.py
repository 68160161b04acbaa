"""Commands of the command line: options and actions. A command imports its packages when it runs."""

import os
import re
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poziomka.app.cli import task_command
from poziomka.app.cli.chat import chat
from poziomka.app.cli.evaluate import options
from poziomka.app.cli.shell.arguments import STOPPED, WRONG, positive
from poziomka.app.cli.think.options import options as think_options
from poziomka.core.errors import SettingsError, nearest

SHELLS = ("bash", "zsh", "fish")
LONGEST = 2000  # largest number of characters of an error message


@dataclass(frozen=True)
class Command:
    """One command of `poziomka`.

    Attributes:
        about: description for --help.
        options: function that adds the command's options to its argument parser.
        act: function that runs the command with parsed options and returns the exit status.
    """

    about: str
    options: Callable[[ArgumentParser], None]
    act: Callable[[Namespace], int]


def say(message: object) -> None:
    """Prints "poziomka: " and a message to stderr on one line, cut after 2,000 characters (LONGEST)."""
    words = " ".join(str(message).split())
    print(f"poziomka: {words if len(words) <= LONGEST else words[:LONGEST] + '…'}", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------------- train
def _train_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "recipe", nargs="?", type=Path, metavar="RECIPE", help="a recipe's name or file, or a run's folder"
    )
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="folder of the run; an existing run is resumed")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting, e.g. --set rl.steps=20"
    )
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="resume a run with its own recipe")
    parser.add_argument(
        "--to", action="append", default=[], metavar="NAME", help="also log metrics to tensorboard or wandb"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check the recipe and all that it names, print it, and exit"
    )


def _train(given: Namespace) -> int:
    from poziomka.app.cli.recipes import recipe_file
    from poziomka.app.settings.recipe import read_recipe
    from poziomka.core.settings import plain, to_toml
    from poziomka.runs.run import Run

    if given.resume is not None:
        if given.recipe is not None or given.run is not None or given.set:
            message = "--resume uses the run's own recipe: leave out RECIPE, --run and --set"
            raise SettingsError(message)
        Run.read(given.resume)  # raises if it is not a run's folder
        recipe, folder = read_recipe(given.resume), given.resume
    elif given.recipe is None:
        message = "train needs a recipe, for example recurrence (`poziomka recipes` lists them), or --resume FOLDER"
        raise SettingsError(message)
    else:
        path = recipe_file(given.recipe)
        recipe = read_recipe(path, tuple(given.set))
        folder = given.run or _folder_for(given.recipe if path == given.recipe else Path(recipe.name), recipe.name)
    if given.dry_run:
        from poziomka.app.resolve import demand_resolvable

        demand_resolvable(recipe, given.to, folder)
        print(to_toml(plain(recipe)), end="")
        say(f"the run would be in {folder}{', which is there and would be resumed' if folder.exists() else ''}")
        return 0
    from poziomka.app.train import train
    from poziomka.learning.session import Interrupted

    try:
        page = train(recipe, folder, exports=given.to)
    except Interrupted as error:
        say(error)
        return STOPPED
    except KeyboardInterrupt:
        say(f"stopped at once; resume with: poziomka train --resume {shlex.quote(str(folder))}")
        return STOPPED
    from poziomka.reports.findings import headline
    from poziomka.reports.reading import read

    print(headline(read(Run.read(folder), journals=False)))
    print(f"The report is at {page}")
    return 0


def _folder_for(path: Path, name: str) -> Path:
    """Returns runs/NAME; for the recipe of an existing run, the first free folder NAME-2, NAME-3, … beside it."""
    if not re.fullmatch(r"[\w][\w .-]*", name):
        message = f"the recipe's name {name!r} cannot name a folder: use letters, digits and '-', or give --run FOLDER"
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
        "recipe", nargs="?", type=Path, metavar="RECIPE", help="a recipe's name or file (default: the default recipe)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="override a setting, e.g. --set task=countdown"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.add_argument("--sandbox", action="store_true", help="test the sandboxes of this machine with attacks")


def _doctor(given: Namespace) -> int:
    from poziomka.app.cli.doctor import doctor, doctor_of_sandbox
    from poziomka.app.cli.recipes import recipe_file

    if given.sandbox:
        if given.recipe is not None or given.set:
            message = "--sandbox tests this machine and no recipe: leave out RECIPE and --set"
            raise SettingsError(message)
        return 0 if doctor_of_sandbox(as_json=given.json) else WRONG
    path = None if given.recipe is None else recipe_file(given.recipe)
    return 0 if doctor(path, tuple(given.set), as_json=given.json) else WRONG


# ---------------------------------------------------------------------------------------------------------- learn
def _learn_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--from", dest="journal", type=Path, required=True, metavar="JOURNAL", help="a journal, or a folder of journals"
    )
    parser.add_argument("--scores", type=Path, metavar="FILE", help='JSON lines {"id": …, "reward": …, "why": …}')
    parser.add_argument("--steps", type=positive, default=1, metavar="N", help="optimizer steps on these rollouts (1)")
    parser.add_argument("--rate", type=float, metavar="X", help="learning rate (the recipe's highest)")
    parser.add_argument(
        "--mismatch",
        type=float,
        default=0.1,
        metavar="X",
        help="largest KL between rollouts and learner, nats per token (0.1)",
    )


def _learn(given: Namespace) -> int:
    from poziomka.app.cli.learn import learn

    settings = {"steps": given.steps, "mismatch": given.mismatch}
    for sentence in learn(given.run, given.journal, given.scores, settings, given.rate):
        print(sentence)
    return 0


# ------------------------------------------------------------------------------------------ evaluate, report, show
def _evaluate(given: Namespace) -> int:
    options.demand_consistent(given)  # before the imports, which take longer

    from poziomka.app.cli.evaluate.evaluate import evaluate

    result, saved = evaluate(given)
    for sentence in (*result.notes, *([saved] if saved else [])):
        say(sentence)
    print(result.json() if given.json else result)
    return 0


def _think(given: Namespace) -> int:
    from poziomka.app.cli.think.think import listed, think

    if given.list:
        print(listed())
        return 0
    if given.model is None:
        message = "name a model: `poziomka think MODEL --task T`; `poziomka think --list` lists the strategies"
        raise SettingsError(message)
    text, sentences = think(given)
    for sentence in sentences:
        say(sentence)
    print(text)
    return 0


def _report_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")


def _report(given: Namespace) -> int:
    from poziomka.app.cli.inspect.report import report

    print(report(given.run))
    return 0


def _show_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--step", metavar="N", help="a step, or a journal by its name: warm-start, trained")
    parser.add_argument("--group", type=positive, metavar="N", help="a group of the step, from 1")
    parser.add_argument("--rollout", type=positive, metavar="N", help="a rollout of the group, from 1")


def _show(given: Namespace) -> int:
    from poziomka.app.cli.inspect.show import show

    show(given.run, given.step, given.group, given.rollout)
    return 0


# -------------------------------------------------------------------------------------------------------- metrics
def _metrics_options(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--to", metavar="NAME", help="copy them to tensorboard or wandb")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="folder of the copy (in the run's folder)")


def _metrics(given: Namespace) -> int:
    from poziomka.app.cli.inspect.metrics import copy, table

    if given.to is None and given.folder is not None:
        message = "--folder is the folder of a copy: give it with --to tensorboard or --to wandb"
        raise SettingsError(message)
    print(table(given.run) if given.to is None else copy(given.run, given.to, given.folder))
    return 0


# --------------------------------------------------------------------------------------------------------- export
def _export_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="RUN", help="the folder of a run, or of a checkpoint")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="write a GGUF file, for llama.cpp")
    parser.add_argument(
        "--folder", dest="out", type=Path, metavar="FOLDER", help="write a folder in the Hugging Face layout"
    )
    parser.add_argument("--kind", metavar="KIND", help="type of the GGUF file's weights: f32, f16 or bf16 (f32)")


def _export(given: Namespace) -> int:
    from poziomka.app.cli.export import export

    *notes, done = export(given.folder, given.gguf, given.out, given.kind)
    for note in notes:
        say(note)
    print(done)
    return 0


# ---------------------------------------------------------------------------------------------- init, recipes, runs
def _init_options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the task and of the new folder")


def _init(given: Namespace) -> int:
    from poziomka.app.cli.init import init

    print(init(given.name))
    return 0


def _recipes_options(parser: ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", default="list", metavar="list|convert", help="action (list)")
    parser.add_argument("old", nargs="?", type=Path, metavar="OLD", help="convert: a recipe of schema 1")
    parser.add_argument("new", nargs="?", type=Path, metavar="NEW", help="convert: file to write (default: print)")


def _recipes(given: Namespace) -> int:
    from poziomka.app.cli.recipes import convert, list_recipes

    if given.action not in ("list", "convert"):
        message = (
            f"unknown action {given.action!r}{nearest(given.action, ('list', 'convert'))} write `poziomka recipes`"
        )
        raise SettingsError(message)
    if (given.action == "convert") != (given.old is not None):
        message = "write `poziomka recipes` to list them, or `poziomka recipes convert OLD [NEW]`"
        raise SettingsError(message)
    print(list_recipes() if given.action == "list" else convert(given.old, given.new))
    return 0


def _settings_options(parser: ArgumentParser) -> None:
    parser.add_argument("prefix", nargs="?", default="", metavar="PREFIX", help="rl.optimizer, model.lora, … (all)")


def _settings(given: Namespace) -> int:
    from poziomka.app.cli.settings import list_settings

    print(list_settings(given.prefix))
    return 0


def _runs_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("runs"), metavar="FOLDER", help="folder with runs (runs)"
    )


def _runs(given: Namespace) -> int:
    from poziomka.app.cli.inspect.runs import runs

    print(runs(given.folder))
    return 0


def _completion_options(parser: ArgumentParser) -> None:
    parser.add_argument("shell", metavar="|".join(SHELLS), help="the shell that completes")


def _completion(given: Namespace) -> int:
    from poziomka.app.cli.shell.completion import script

    if given.shell not in SHELLS:
        message = f"unknown shell {given.shell!r}{nearest(given.shell, SHELLS)} write `poziomka completion bash`"
        raise SettingsError(message)
    print(script({name: (command.about, command.options) for name, command in COMMANDS.items()}, given.shell))
    return 0


COMMANDS = {
    "train": Command("run all stages of a recipe and write a report, or resume a run", _train_options, _train),
    "doctor": Command("check a recipe for common faults before training", _doctor_options, _doctor),
    "learn": Command("update a run's weights from scored rollouts of a journal (offline)", _learn_options, _learn),
    "chat": Command("chat with a model, or with the newest weights of a run", chat.options, chat.chat),
    "evaluate": Command("measure a model on a task, and save its rollouts", options.options, _evaluate),
    "think": Command("compare strategies of thinking on a task: accuracy against cost", think_options, _think),
    "report": Command("write the report and figures of a run again", _report_options, _report),
    "metrics": Command("print the metrics of a run, or copy them to another tool", _metrics_options, _metrics),
    "export": Command("write a run's newest weights as a Hugging Face folder or GGUF file", _export_options, _export),
    "show": Command("show the rollouts of a run, spans coloured by author", _show_options, _show),
    "tasks": Command(
        "list tasks, show or answer their problems, test their scorers", task_command.options, task_command.act
    ),
    "init": Command("write a new task, its test and a recipe, ready to run", _init_options, _init),
    "recipes": Command("list the included recipes, or convert a recipe of schema 1", _recipes_options, _recipes),
    "settings": Command("list the settings of recipes with their defaults and ranges", _settings_options, _settings),
    "runs": Command("compare the runs in a folder", _runs_options, _runs),
    "completion": Command("print a completion script for a shell", _completion_options, _completion),
}
