"""Tasks from Python files: FILE.py:NAME and package.module:NAME."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

from poziomka.core.errors import TaskError, nearest
from poziomka.core.safety.untrusted import expanded
from poziomka.core.task import Task

FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>\w+))?", re.DOTALL)
MODULE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)", re.ASCII)
HOW = "name it FILE.py:NAME, where NAME is a Task or a function without arguments that returns one"


def is_own(name: str) -> bool:
    """Whether a name has the form of a user's task: FILE.py, FILE.py:NAME or package.module:NAME.

    The file need not exist. A module without a dot in its name must be one that Python finds.
    """
    if FILE.fullmatch(name):
        return True
    match = MODULE.fullmatch(name)
    return match is not None and ("." in match["module"] or _file_of_module(match["module"]) is not None)


def file_of(name: str) -> Path | None:
    """Returns the Python file that defines a user's task, so that a run can record its digest; None if it is not found.

    Args:
        name: name of the task: FILE.py, FILE.py:NAME or package.module:NAME.
    """
    if match := FILE.fullmatch(name):
        return expanded(match["file"], TaskError)
    match = MODULE.fullmatch(name)
    return None if match is None else _file_of_module(match["module"])


def own_task(name: str) -> Task:
    """Returns the user's task that a name refers to, by running its Python file or importing its module.

    Args:
        name: FILE.py:NAME or package.module:NAME, where NAME is a Task or a function without arguments that returns
            one; or FILE.py, if the file defines one Task.

    Raises:
        TaskError: the file or module does not exist or raises, has no such NAME, or NAME is not a Task.
    """
    if match := FILE.fullmatch(name):
        module, attribute = _run(expanded(match["file"], TaskError)), match["name"]
    elif match := MODULE.fullmatch(name):
        module, attribute = _imported(match["module"]), match["name"]
    else:
        message = f"{name!r} names no task of a Python file: {HOW}"
        raise TaskError(message)
    return _task_in(module, attribute or _only_task(module, name), name)


def _run(file: Path) -> ModuleType:
    """Runs a Python file and returns it as a module; the file can import modules from its own folder."""
    if not file.is_file():
        message = f"there is no file {file}: {HOW}"
        raise TaskError(message)
    digest = blake2b(str(file.resolve()).encode(), digest_size=8).hexdigest()
    spec = util.spec_from_file_location(f"poziomka_task_{digest}", file)
    if spec is None or spec.loader is None:
        message = f"{file} is no Python file: {HOW}"
        raise TaskError(message)
    _demand_on_path(file.resolve().parent)
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    with _reported(str(file)):  # from its source: bytecode of the same second and size would pass for the file's
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))  # noqa: S102 the user names the file to be run
    return module


def _imported(module: str) -> ModuleType:
    """Imports a module and returns it; modules in the current folder are found, too."""
    _demand_on_path(Path.cwd())
    with _reported(module):
        return import_module(module)


def _demand_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _file_of_module(module: str) -> Path | None:
    _demand_on_path(Path.cwd())
    with suppress(ImportError, ValueError, AttributeError):  # a parent is missing, or has no path
        spec = util.find_spec(module)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin)
    return None


@contextmanager
def _reported(where: str) -> Iterator[None]:
    """Turns every exception of the block but KeyboardInterrupt into a TaskError that names `where` and the line."""
    try:
        yield
    except (KeyboardInterrupt, TaskError):
        raise
    except BaseException as error:  # a script may exit
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        line = error.lineno if isinstance(error, SyntaxError) else trace and trace.tb_lineno
        message = f"{where} cannot be run: {type(error).__name__}: {error} (line {line})"
        raise TaskError(message) from error


def _only_task(module: ModuleType, name: str) -> str:
    """Returns the name of the only Task that a module defines; raises TaskError if there are none or several."""
    found = [attribute for attribute, value in vars(module).items() if isinstance(value, Task)]
    if len(found) != 1:
        listed = f"the tasks {', '.join(found)}" if found else "no Task"
        message = f"{name} defines {listed}: {HOW}"
        raise TaskError(message)
    return found[0]


def _task_in(module: ModuleType, attribute: str, name: str) -> Task:
    if not hasattr(module, attribute):
        known = [each for each, value in vars(module).items() if each[0] != "_" and _may_be_task(value)]
        message = f"there is no {attribute!r} in {name.rpartition(':')[0]}{nearest(attribute, known)}"
        raise TaskError(message)
    value = getattr(module, attribute)
    if callable(value) and not isinstance(value, Task):
        with _reported(name):
            value = value()
    if not isinstance(value, Task):
        message = f"{name} is a {type(value).__name__}, not a Task: {HOW}"
        raise TaskError(message)
    return value


def _may_be_task(value: object) -> bool:
    return isinstance(value, Task) or (callable(value) and not isinstance(value, type))
