"""What decides a run's rollouts and stands outside its recipe: files that it reads, problems, and the clock.

A run keeps digests of them at its start. Where the same names have other contents later, the run is neither resumed nor
updated nor evaluated: its steps and figures would not be those of the run. Its model is neither talked with nor
exported where the files that its weights come from have changed. (The clock: see `settled` in build.py.)
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from poziomka.core.errors import RunError, TaskError
from poziomka.core.problem import Task
from poziomka.core.untrusted import expanded
from poziomka.runs import Run
from poziomka.training.recipe import Recipe

if TYPE_CHECKING:
    from poziomka.training.build import Built

RECORD = "inputs"  # among a run's results
WHOLE = 64 << 20  # bytes of a file that is read as a whole; of a larger one its size and three pieces
PIECE = 1 << 20
FILES = 10_000  # most files of a folder that are read
PROBLEMS = 16  # of each split
MODEL = ("*.json", "*.safetensors", "*.jinja", "*.gguf", "tokenizer.model", "merges.txt")


def demand_same_inputs(recipe: Recipe, built: "Built", run: Run) -> None:
    """Records digests of what a run reads where none are recorded yet, else compares them.

    Raises:
        RunError: something has other contents than when the run began.
    """
    here = inputs_of(recipe, built.task, built.source)
    if run.results(RECORD) is None:
        run.record(RECORD, {"digests": here})
    demand_unchanged(run, here)


def demand_unchanged(run: Run, here: Mapping[str, str]) -> None:
    """Compares digests with those that a run recorded; what it did not record is not compared.

    Raises:
        RunError: something has other contents than when the run began.
    """
    old = (run.results(RECORD) or {}).get("digests", {})
    changed = sorted(name for name, digest in here.items() if name in old and old[name] != digest)
    if changed:
        message = (
            f"the run {run.folder} began with other contents of {' and of '.join(changed)}: put them back as they "
            "were, or begin a run in another folder"
        )
        raise RunError(message)


def inputs_of(recipe: Recipe, task: Task, source: str = "", *, saved: bool = False) -> dict[str, str]:
    """Returns digests of what a run reads, by what a person calls it; `source` and `saved` as in `weights_of`."""
    found = {"the task's problems": _digest_of_problems(task)} | weights_of(recipe, source, saved=saved)
    for path in _paths_in(recipe.task, recipe.tools or ""):
        found[f"the data {path}"] = digest_of(path)
    return found


def weights_of(recipe: Recipe, source: str = "", *, saved: bool = False) -> dict[str, str]:
    """Returns digests of the files that a run's weights come from, by what a person calls them.

    Args:
        recipe: of the run.
        source: folder of the pretrained model, where its name is no path; "" leaves such a model out.
        saved: whether the weights are those of a checkpoint of the run: then what it started from counts only where
            the checkpoint holds adapters for it.
    """
    found = {}
    if recipe.pretrained is not None:
        own = expanded(recipe.pretrained, RunError)
        if own.exists() or source:
            found[f"the model {recipe.pretrained}"] = digest_of(own if own.exists() else Path(source), MODEL)
    if recipe.start is not None and not (saved and recipe.lora is None):
        found[f"the checkpoint {recipe.start}"] = digest_of(Path(recipe.start), MODEL)
    return found


def _paths_in(*names: str) -> Iterator[Path]:
    """Yields the files and folders that names of tasks and tools hold, as grade_school:FOLDER or search:FOLDER do.

    A path may hold a "+": a name is looked for as a whole before it is taken apart.
    """
    for name in names:
        whole = _path_in(name)
        found: Iterable[Path | None] = [whole] if whole is not None else map(_path_in, name.split("+"))
        yield from (path for path in found if path is not None)


def _path_in(name: str) -> Path | None:
    """Returns the longest end of a name, behind a colon, that is a path of a file or folder; None where none is."""
    pieces = name.split(":")
    for number in range(1, len(pieces)):
        path = expanded(":".join(pieces[number:]), RunError)
        with suppress(OSError):  # the name of a task may be longer than that of any file
            if path.exists():
                return path
    return None


def digest_of(path: Path, patterns: tuple[str, ...] = ("*",)) -> str:
    """Returns a digest of a file's contents, or of the names and contents of a folder's files.

    Of a file of more than WHOLE bytes its size, beginning, middle and end are read; of a folder the first FILES files.
    """
    whole = blake2b(digest_size=16)
    if path.is_file():
        _add(path, whole)
        return whole.hexdigest()
    below = sorted({file for pattern in patterns for file in path.rglob(pattern) if file.is_file()})
    for file in below[:FILES]:
        whole.update(f"{file.relative_to(path).as_posix()}\0".encode("utf-8", "surrogateescape"))
        _add(file, whole)
    return whole.hexdigest()


def _add(path: Path, whole: "blake2b") -> None:
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            whole.update(f"{size}\0".encode())
            if size <= WHOLE:
                while piece := file.read(PIECE):
                    whole.update(piece)
                return
            for place in (0, size // 2, size - PIECE):
                file.seek(place)
                whole.update(file.read(PIECE))
    except OSError as error:
        message = f"cannot read {path}, which decides what the run learns: {(error.strerror or str(error)).lower()}"
        raise RunError(message) from error


def _digest_of_problems(task: Task) -> str:
    """Returns a digest of how many problems there are, and of some, which shows another version of their source."""
    shown: list[object] = []
    for split in ("train", "test"):
        count = task.count(split)
        shown.append([split, count])
        for index in range(PROBLEMS if count is None else min(PROBLEMS, count)):
            place = index if count is None else index * count // min(PROBLEMS, count)
            try:
                problem = task.problem(split, place)
            except TaskError:  # the run says so itself, if it comes to that
                continue
            shown.append([problem.key, [[m.role, m.content] for m in problem.prompt], problem.answer, problem.level])
    return blake2b(json.dumps(shown).encode(), digest_size=16).hexdigest()
