"""`poziomka recipes`: the shipped recipes, in the repository's folder recipes/ or in the installed package."""

import tomllib
from importlib import metadata
from pathlib import Path
from textwrap import wrap

from poziomka import core
from poziomka.core.errors import SettingsError, nearest
from poziomka.core.settings import read_toml
from poziomka.reports.words import counted

REPOSITORY = Path(core.__file__).resolve().parents[2]
INSTALLED = ("share", "poziomka", "recipes")  # path in an environment's folder, set in pyproject.toml
WIDTH = 100  # columns of the list
MAIN, ARMS = "recipe.toml", "arms.toml"  # main recipe of a folder; variants that a study compares


def shipped_recipes() -> dict[str, Path]:
    """Returns the files of the shipped recipes by name.

    The name of FOLDER/recipe.toml is FOLDER; that of any other file FOLDER/X.toml is FOLDER/X.
    """
    if (REPOSITORY / "pyproject.toml").is_file():
        files = list((REPOSITORY / "recipes").glob("*/*.toml"))
    else:
        installed = [file for file in metadata.files("poziomka") or () if file.parts[-5:-2] == INSTALLED]
        files = [Path(str(file.locate())).resolve() for file in installed]
    return {_name(file): file for file in sorted(files) if file.name != ARMS}


def _name(file: Path) -> str:
    return file.parent.name if file.name == MAIN else f"{file.parent.name}/{file.stem}"


def recipe_file(given: Path) -> Path:
    """Returns the file or folder of a recipe, given by path or by the name of a shipped recipe.

    An existing path takes precedence over a name.

    Raises:
        SettingsError: the path does not exist, looks like a name, and no shipped recipe has this name.
    """
    known = shipped_recipes()
    if given.exists() or given.suffix or given.is_absolute():
        return given
    if str(given) not in known:
        message = f"there is no file or folder {given}, and no recipe of this name{nearest(str(given), known)}"
        raise SettingsError(message)
    return known[str(given)]


def list_recipes() -> str:
    """Returns lines for each shipped recipe: its name and task, and below them the first line of its description."""
    lines = []
    for name, file in shipped_recipes().items():
        about = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"{name}  (task {read_toml(file).get('task', '')})")
        lines += wrap(about, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(
        [*lines, "", "`poziomka train NAME` runs one, `poziomka train NAME --dry-run` prints its settings."]
    )


def convert(old: Path, new: Path | None) -> str:
    """Converts a recipe of schema 1 to schema 2; returns its text or, with `new`, a sentence about the written file.

    Args:
        old: file of the recipe, or a run's folder.
        new: file to write; None to write none.

    Raises:
        SettingsError: the file is no recipe of schema 1, or the recipe in it cannot be used.
    """
    from poziomka.app.settings.convert import convert_file
    from poziomka.app.settings.recipe import recipe_of

    text = convert_file(old / MAIN if old.is_dir() else old)
    recipe_of(tomllib.loads(text), where=str(old))  # a recipe that could not be run is not written
    if new is None:
        return text.rstrip()
    convert_file(old / MAIN if old.is_dir() else old, new)
    return f"{new} holds the recipe, with {counted(len(tomllib.loads(text)['stage']), 'stage')}"
