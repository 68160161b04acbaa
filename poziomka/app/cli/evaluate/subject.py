"""The subject of `poziomka evaluate`: a model that can sample, a task, and default settings."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poziomka.app.build import dated, load, recipe_in, thinks
from poziomka.app.memory_allocator import keep_freed_memory
from poziomka.app.settings.recipe import Recipe
from poziomka.app.tool_formats import suited
from poziomka.core.errors import ModelError, RunError, SettingsError, TaskError, nearest
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.safety.untrusted import expanded
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.splits import SPLITS
from poziomka.core.task import Task
from poziomka.inference.local import LocalSampler
from poziomka.inference.remote import RemoteSampler
from poziomka.learning.session import TrainingSession
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.checkpoints.weights import digest_of
from poziomka.models.text.chat import ChatFormat
from poziomka.models.text.template import TemplateFormat
from poziomka.runs.run import Run
from poziomka.tasks import is_task, task_named

PROBLEMS = 200  # problems of an evaluation without a recipe
UNMARKED = (
    "neither this model's vocabulary nor its chat template has <think>: a thought is opened before each reply, which "
    "the model was not trained to close"
)


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, the task to evaluate it on, and defaults for options that are not given.

    Attributes:
        name: the model as it was named: a folder, a file, or a name.
        run: folder of the run; None for a model that is not a run's.
        sampler: sampler with the model's weights, or over an endpoint that has them.
        task: task with the problems.
        task_name: name of the task, as `task_named` accepts it.
        sampling: default sampling settings.
        problems: default number of problems.
        samples: default number of attempts at each problem.
        budgets: default thinking budgets in tokens; () for none.
        notes: sentences for the user.
        recorded: `sampler` with a file of the turns of attempts under way; None if they are not recorded.
    """

    name: str
    run: Path | None
    sampler: LocalSampler | RemoteSampler
    task: Task
    task_name: str
    sampling: SamplingParams
    problems: int = PROBLEMS
    samples: int = 1
    budgets: Sequence[int] = ()
    notes: tuple[str, ...] = ()
    recorded: Sampler | None = None

    @property
    def thinks(self) -> bool:
        """Whether replies begin with an open thought, or the model may know the tags <think> and </think>."""
        return isinstance(self.sampler, RemoteSampler) or thinks(self.sampler.chat)

    @property
    def weights(self) -> str | None:
        """Digest of the model's weights; None for a model of an endpoint."""
        return None if isinstance(self.sampler, RemoteSampler) else digest_of(self.sampler.engine.model)

    @property
    def endpoint(self) -> str | None:
        """URL of the endpoint; None for a model in this process."""
        return self.sampler.address.url if isinstance(self.sampler, RemoteSampler) else None


def subject_of(given: Namespace) -> Subject:
    """Loads the model and the task of an evaluation.

    Args:
        given: parsed options of `poziomka evaluate`.

    Raises:
        PoziomkaError: the model or the task does not exist, or cannot be used.
    """
    if given.endpoint is not None:
        return _of_endpoint(given)
    folder = expanded(given.model, ModelError)
    if (folder / "recipe.toml").is_file():
        if given.dtype is not None:
            message = f"the precision of the run {folder} is that of its recipe: leave --dtype out"
            raise SettingsError(message)
        return _of_run(folder, given)
    if given.task is None:
        message = (
            f"give --task, the problems that the model answers, or the folder of a run: there is no run in {folder}; "
            "`poziomka tasks` and `poziomka runs` list them"
        )
        raise RunError(message)
    task = _task(given.task, given.split)
    keep_freed_memory()
    loaded = load_pretrained(given.model, given.dtype or "bfloat16")
    chat, note = _thinking(loaded.chat, given.think)
    sampler = LocalSampler(loaded.model, chat)
    notes = (*loaded.notes, *note)
    return Subject(given.model, None, sampler, suited(task, chat), given.task, SamplingParams(), notes=notes)


def _of_endpoint(given: Namespace) -> Subject:
    """Returns a model that an endpoint serves, with the task of --task."""
    if given.task is None:
        message = f"which problems should {given.model} of the endpoint answer? Name a task with --task"
        raise SettingsError(message)
    sampler = RemoteSampler.of(given.endpoint, given.model, think=given.think)
    task = suited(_task(given.task, given.split), None)
    wait_for(sampler.reach())  # before problems are drawn and a command says that they are being answered
    return Subject(given.model, None, sampler, task, given.task, SamplingParams())


def _of_run(folder: Path, given: Namespace) -> Subject:
    """Returns a run's newest weights with its own task and its recipe's settings, or with the task of --task."""
    run = Run.read(folder)
    recipe = recipe_in(run)
    if given.task is not None and given.task != recipe.task:
        task = _task(given.task, given.split)
        named = is_task(recipe.task)
        sampler = load(folder, problems=False)[2] if named else _scripted(run, recipe)
        run.latest()  # adds notes about damaged checkpoints
        sampler.chat, note = _thinking(sampler.chat, given.think)
        task, notes = suited(task, sampler.chat), (*run.notes, *note)
        return Subject(given.model, folder, sampler, task, given.task, recipe.sampling, notes=notes)
    recipe, task, sampler = load(folder)
    _demand_split(task, given.split)
    run.latest()
    sampler.chat, note = _thinking(sampler.chat, given.think)
    settings = recipe.evaluate
    return Subject(
        name=given.model,
        run=folder,
        sampler=sampler,
        task=task,
        task_name=recipe.task,
        sampling=recipe.sampling,
        problems=settings.problems,
        samples=settings.attempts,
        budgets=settings.budgets if thinks(sampler.chat) and given.think is not False else (),
        notes=(*run.notes, *note),
    )


def _scripted(run: Run, recipe: Recipe) -> LocalSampler:
    """Returns a sampler with the newest weights of a run whose own task is defined in a script.

    Raises:
        RunError: the run has no checkpoint yet.
    """
    saved = run.latest()
    if saved is None:
        message = f"the run {run.folder} has no checkpoint yet: train it first, by the script that has its task"
        raise RunError(message)
    wanted = recipe.model
    loaded = load_pretrained(
        str(saved.folder), wanted.precision, opens_thought=wanted.thinks, variables=wanted.variables
    )
    return LocalSampler(loaded.model, dated(recipe, loaded.chat, run), TrainingSession.version_of(saved.step))


def _task(name: str, split: str) -> Task:
    task = task_named(name)
    _demand_split(task, split)
    return task


def _demand_split(task: Task, split: str) -> None:
    known = dict.fromkeys((*SPLITS, *task.splits))
    if split not in known:
        message = f"task {task.name!r} has no split {split!r}{nearest(split, known)}"
        raise TaskError(message)


def _thinking(chat: ChatFormat, think: bool | None) -> tuple[ChatFormat, tuple[str, ...]]:
    """Returns the chat format with --think or --no-think applied, and a note about a model that does not think.

    The plain format opens every thought; for --no-think, the thinking budget 0 closes it.
    """
    if think is None or not isinstance(chat, TemplateFormat):
        return chat, ()
    note = () if not think or thinks(chat) else (UNMARKED,)
    return chat.thinking(opens=think), note
