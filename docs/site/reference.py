"""Writes the generated parts of the reference: `python docs/site/reference.py build/reference`, as `make docs` does.

settings.md from the settings classes, as `poziomka settings` lists them, and commands.md from the parsers of the
command line. docs/site/hooks.py inserts them where a page has the comment `<!-- reference: PART -->`.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from poziomka.app.cli.commands import COMMANDS
from poziomka.app.cli.settings import every_setting, of_loaded_models, type_of, value_of
from poziomka.app.settings.aliases import ALIASES, Setting

TABLES = {  # titles of the tables of a recipe
    "": "Recipe",
    "model": "Model",
    "tools": "Tools",
    "sft": "Stage `sft`: fine-tuning on demonstrations",
    "rl": "Stage `rl`: reinforcement learning",
    "offline": "Stage `offline`: learning from rollouts of a journal",
    "distill": "Stage `distill`: learning from a teacher",
    "evaluate": "Evaluation",
}


def cell(text: str) -> str:
    """Returns text that is safe in a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def code(text: str) -> str:
    """Returns text as code in a cell of a table."""
    return f"`{text}`" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def kind_of(setting: Setting) -> str:
    """Returns the type of a setting, with its range if it has one."""
    shown = type_of(setting)
    low, dots, high = setting.range.partition("..")
    bounds = " to ".join(filter(None, (low, high))) if low and high else f"from {low}" if low else f"up to {high}"
    return f"{shown}, {bounds}" if dots else shown


def settings(known: Sequence[Setting]) -> str:
    """Returns the settings in tables, one for each table of a recipe."""
    tables: dict[str, list[Setting]] = {}
    for each in known:
        tables.setdefault(each.name.rpartition(".")[0], []).append(each)
    parts: list[str] = []
    others = of_loaded_models()
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in tables))
    for name in sorted(tables, key=lambda name: (firsts.index(name.partition(".")[0]), "." in name)):
        parts.append(f"### `{name}`" if "." in name else f"## {TABLES[name]}")
        rows = [
            (code(each.name), code(value_of(each)), kind_of(each), cell(each.about), cell(others.get(each.name, "")))
            for each in tables[name]
        ]
        parts.append(table(("setting", "default", "type and range", "meaning", "other defaults"), rows))
    return "\n\n".join([*parts, aliases()])


def aliases() -> str:
    """Returns names of other libraries with the settings that they mean, in a table."""
    rows = [(code(name), code(ours)) for name, ours in sorted(ALIASES.items()) if not ours.endswith(f".{name}")]
    head = "## Names of other libraries\n\nA recipe with such a name is refused, and the error names the setting."
    return f"{head}\n\n" + table(("name", "setting"), rows)


def commands() -> str:
    """Returns the description, the usage and the arguments of every command."""
    parts = []
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=f"poziomka {name}")
        command.options(parser)
        usage = parser.format_usage().removeprefix("usage: ").rstrip()
        about = f"{command.about[0].upper()}{command.about[1:]}."
        rows = [(code(form_of(action)), cell(action.help or "")) for action in parser._actions[1:]]  # noqa: SLF001 no public list
        parts += [f"## {name}", about, f"```text\n{usage}\n```", table(("argument", "meaning"), rows)]
    return "\n\n".join(parts)


def form_of(action: argparse.Action) -> str:
    """Returns an argument as it is written on the command line."""
    value = "" if action.nargs == 0 else str(action.metavar or action.dest)
    return f"{', '.join(action.option_strings)} {value}".strip()


def main(arguments: Sequence[str]) -> None:
    """Writes the parts into a folder."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.md").write_text(settings(every_setting()) + "\n", encoding="utf-8")
    (folder / "commands.md").write_text(commands() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
