"""Digests of a run's inputs outside its recipe: model files, data files and problems.

A run records the digests at its start. With other contents under the same names, resuming, `learn` and `evaluate` raise
an error, because steps and figures would differ from those of the run; `chat` and `export` raise one if the files of
its weights have changed. (The clock is an input too: see `settled` in build.py.)
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from poziomka.app.settings.recipe import Recipe
from poziomka.core.errors import RunError, TaskError
from poziomka.core.safety.untrusted import expanded
from poziomka.core.task import Task
from poziomka.learning.loops.distill import DistillSettings
from poziomka.learning.loops.offline import OfflineSettings
from poziomka.runs import Run
from poziomka.runs.recipe import RECIPE
from poziomka.tasks import files_of

RECORD = "inputs"  # name in the run's results
WHOLE = 64 << 20  # largest file that is hashed whole, bytes; of larger files, the size and three pieces are hashed
PIECE = 1 << 20  # bytes
FILES = 10_000  # largest number of files of a folder that are hashed
PROBLEMS = 16  # problems of each split that are hashed
MODEL = ("*.json", "*.safetensors", "*.jinja", "*.gguf", "tokenizer.model", "merges.txt")


def weights_of(name: str) -> str:
    """Returns the folder of the newest checkpoint if `name` is the folder of a run, else `name` unchanged.

    Raises:
        RunError: the run has no checkpoint, or only damaged ones.
    """
    folder = Path(name)
    if not (folder / RECIPE).is_file():
        return name
    saved = Run.read(folder).latest()
    if saved is None:
        message = f"the run {folder}, which model.load names, has no checkpoint yet: train it first"
        raise RunError(message)
    return str(saved.folder)


def demand_same_inputs(recipe: Recipe, task: Task, source: str, run: Run) -> None:
    """Records digests of a run's model, data and problems at its first start; later, checks that they are unchanged.

    Args:
        recipe: recipe of the run.
        task: task of the run.
        source: folder of the loaded model if `model.load` is a name, not a path; "" leaves the model out.
        run: folder of the run, which stores the digests.

    Raises:
        RunError: an input has other contents than at the start of the run.
    """
    here = inputs_of(recipe, task, source)
    if run.results(RECORD) is None:
        run.record(RECORD, {"digests": here})
    demand_unchanged(run, here)


def demand_unchanged(run: Run, here: Mapping[str, str]) -> None:
    """Checks that a run's inputs have the digests that were recorded at its start.

    Args:
        run: folder of the run.
        here: present digests by name, as `inputs_of` returns them; names without a recorded digest are ignored.

    Raises:
        RunError: an input has other contents than at the start of the run.
    """
    old = run.results_table(RECORD, "digests")
    changed = sorted(name for name, digest in here.items() if name in old and old[name] != digest)
    if changed:
        message = (
            f"the run {run.folder} began with other contents of {' and of '.join(changed)}: put them back as they "
            "were, or begin a run in another folder"
        )
        raise RunError(message)


def inputs_of(recipe: Recipe, task: Task, source: str = "", *, saved: bool = False) -> dict[str, str]:
    """Returns digests of a run's inputs (problems, model, data and code files), by names such as "the data FOLDER".

    Args:
        recipe: recipe of the run.
        task: task of the run.
        source: folder of the loaded model if `model.load` is a name, not a path; "" leaves the model out.
        saved: whether the weights are those of a checkpoint of the run; the teachers and served rollouts that it was
            trained with are then left out.
    """
    found = {"the task's problems": _digest_of_problems(task)} | digests_of_weights(recipe, source, saved=saved)
    for stage in () if saved else recipe.stage:
        if isinstance(stage, DistillSettings) and stage.teacher.load is not None:
            teacher = Path(weights_of(stage.teacher.load))
            if teacher.exists():
                found[f"the teacher {stage.teacher.load}"] = digest_of(teacher, MODEL)
        elif isinstance(stage, OfflineSettings):
            names = (stage.journal, stage.scores)
            found |= {f"the data {name}": digest_of(Path(name)) for name in names if name and Path(name).exists()}
    for path in files_of(recipe.task):
        found[f"the file {path}"] = digest_of(path)
    for path in _paths_in(recipe.task, (recipe.tools and recipe.tools.names) or ""):
        if f"the file {path}" not in found:
            found[f"the data {path}"] = digest_of(path)
    return found


def digests_of_weights(recipe: Recipe, source: str = "", *, saved: bool = False) -> dict[str, str]:
    """Returns digests of the files that a run's weights depend on, by names such as "the model FOLDER".

    Args:
        recipe: recipe of the run.
        source: folder of the loaded model if `model.load` is a name, not a path; "" leaves the model out.
        saved: whether the weights are those of a checkpoint of the run; `model.start` is then left out, unless the
            checkpoint has LoRA adapters only.
    """
    found: dict[str, str] = {}
    wanted = recipe.model
    if wanted.load is not None:
        own = expanded(weights_of(wanted.load), RunError)
        if own.exists() or source:
            found[f"the model {wanted.load}"] = digest_of(own if own.exists() else Path(source), MODEL)
    if wanted.start is not None and not (saved and wanted.lora is None):
        found[f"the checkpoint {wanted.start}"] = digest_of(Path(wanted.start), MODEL)
    return found


def _paths_in(*names: str) -> Iterator[Path]:
    """Yields the files and folders in names of tasks and tools, such as grade_school:FOLDER or search:FOLDER.

    A path may contain a "+": the whole name is tried before its parts.
    """
    for name in names:
        whole = _path_in(name)
        found: Iterable[Path | None] = [whole] if whole is not None else map(_path_in, name.split("+"))
        yield from (path for path in found if path is not None)


def _path_in(name: str) -> Path | None:
    """Returns the longest suffix of a name after a colon that is an existing path; None if there is none."""
    pieces = name.split(":")
    for number in range(1, len(pieces)):
        path = expanded(":".join(pieces[number:]), RunError)
        with suppress(OSError):  # a task's name may be longer than a file's name may be
            if path.exists():
                return path
    return None


def digest_of(path: Path, patterns: tuple[str, ...] = ("*",)) -> str:
    """Returns a digest of a file's contents, or of the names and contents of a folder's files.

    Of a file above 64 MiB (WHOLE), the size and 1 MiB each of beginning, middle and end are hashed; of a folder, the
    first 10,000 files (FILES) in the order of their paths.

    Args:
        path: a file or folder.
        patterns: glob patterns of the files of a folder.

    Raises:
        RunError: a file cannot be read.
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
    """Returns a digest of a task's number of problems and of at most 16 problems each of the train and test splits."""
    shown: list[object] = []
    for split in ("train", "test"):
        count = task.count(split)
        shown.append([split, count])
        for index in range(PROBLEMS if count is None else min(PROBLEMS, count)):
            place = index if count is None else index * count // min(PROBLEMS, count)
            try:
                problem = task.problem(split, place)
            except TaskError:  # the run raises it itself if it needs this problem
                continue
            shown.append([problem.key, [[m.role, m.content] for m in problem.prompt], problem.answer, problem.level])
    return blake2b(json.dumps(shown).encode(), digest_size=16).hexdigest()
