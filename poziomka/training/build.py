"""From a recipe to the parts of a run: task, tokenizer, chat format, model."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from poziomka.core.errors import ModelError, RunError, SettingsError, TaskError
from poziomka.core.problem import Task
from poziomka.core.seeds import seed_of
from poziomka.core.settings import shown
from poziomka.core.splits import VALIDATION
from poziomka.environments.formats import format_named
from poziomka.environments.toolbox import Toolbox
from poziomka.environments.toolboxes import tools_named
from poziomka.environments.tools import Tool
from poziomka.learning.curriculum import Curriculum
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.lessons import Lessons
from poziomka.learning.levels import of_levels
from poziomka.learning.progress import Progress
from poziomka.learning.prompts import Fitting, fitting
from poziomka.models.architecture import Architecture
from poziomka.models.chat import ChatFormat, PlainFormat
from poziomka.models.lora import attach, base_of, has_adapters, start_from, stored_adapters
from poziomka.models.pretrained import Pretrained, load_pretrained
from poziomka.models.template import TemplateFormat
from poziomka.models.tokenizer import Tokenizer
from poziomka.models.weights import build_model, load_weights
from poziomka.runs import Run
from poziomka.sampling.engine import EngineLimits
from poziomka.sampling.local import LocalSampler
from poziomka.tasks import is_task, task_named
from poziomka.tasks.tools import demand_no_environment, with_tools
from poziomka.training.allocation import keep_freed_memory
from poziomka.training.recipe import Recipe, moment_of, recipe_of
from poziomka.training.tools import calls_of, suited


@dataclass(frozen=True)
class Built:
    """What a recipe's run is made of, before anything is learned.

    Attributes:
        task: problems and scorer.
        chat: where spans get their tokens; it holds the tokenizer.
        model: the weights that learn.
        source: folder of the pretrained model; "" for one from nothing.
        notes: what a user should know of the model and of the recipe, in sentences.
        scripted: whether the task came from a script, so that only the script can go on with the run.
        base: folder of the model that adapters go onto: the pretrained one, or where the recipe starts; "" for none.
    """

    task: Task
    chat: ChatFormat
    model: Architecture
    source: str = ""
    notes: tuple[str, ...] = ()
    scripted: bool = False
    base: str = ""

    @property
    def tokenizer(self) -> Tokenizer:
        """The chat format's vocabulary."""
        return self.chat.tokenizer


def build(recipe: Recipe, task: Task | None = None, saved: Path | None = None) -> Built:
    """Returns the parts, with the weights that the recipe begins with.

    Args:
        recipe: what to build.
        task: the problems; None for those that the recipe names.
        saved: a checkpoint of the run, whose weights are taken instead.

    Raises:
        PoziomkaError: the recipe cannot be followed.
    """
    torch.set_num_threads(recipe.threads)
    keep_freed_memory()
    scripted = task is not None
    task = task or task_named(recipe.task)
    tools = tools_of(recipe, task)
    if recipe.pretrained is not None:
        loaded = load_pretrained(
            recipe.pretrained, recipe.precision, opens_thought=recipe.thinks, variables=recipe.variables
        )
        base = begin(recipe, loaded, saved)
        task = equipped(recipe, task, tools, loaded.chat)
        notes = (*loaded.notes, *unused(recipe))
        return Built(task, loaded.chat, loaded.model, str(loaded.source), notes, scripted, base)
    demand_from_nothing(recipe, task)
    weights = saved or (None if recipe.start is None else Path(recipe.start))
    tokenizer = Tokenizer.of_symbols(task.symbols)
    model = build_model(recipe.architecture, recipe.model, len(tokenizer), seed_of("weights", recipe.seed))
    if weights is not None:
        load_weights(weights, model)
    chat = PlainFormat(tokenizer)
    return Built(equipped(recipe, task, tools, chat), chat, model, notes=unused(recipe), scripted=scripted)


def begin(recipe: Recipe, loaded: Pretrained, saved: Path | None) -> str:
    """Gives a pretrained model the weights of a checkpoint, or those that the recipe starts from.

    A checkpoint's adapters go onto what the recipe starts from. Returns the folder of the model that adapters go onto.

    Raises:
        ModelError: weights do not fit, or adapters are to go onto a start that holds adapters itself.
    """
    start = None if recipe.start is None else Path(recipe.start)
    if start is not None and recipe.lora is not None and base_of(start) is not None:
        message = (
            f"adapters cannot learn on top of the start {start}, which holds adapters itself: merge those first, with "
            "`poziomka export --folder`"
        )
        raise ModelError(message)
    if start is not None and (saved is None or recipe.lora is not None):
        start_from(start, loaded.model)
    if saved is not None:
        start_from(saved, loaded.model)
    return str(loaded.source if start is None else start)


def demand_from_nothing(recipe: Recipe, task: Task) -> None:
    """Raises PoziomkaError where a model without pretrained weights cannot learn the task as the recipe has it."""
    if not task.symbols:
        message = (
            f"the task {task.name!r} is for a model that reads already: name one with pretrained, "
            "smollm2 for example, or take a task with a vocabulary of its own, recurrence for example"
        )
        raise TaskError(message)
    if recipe.precision != "float32" or recipe.lora is not None:
        what = "precision" if recipe.lora is None else "lora"
        message = f"a model from nothing learns all its weights in float32: received {what} without pretrained"
        raise ModelError(message)


def tools_of(recipe: Recipe, task: Task) -> list[Tool]:
    """Returns the tools that the recipe names, before a model is loaded, which takes longer.

    Raises:
        SettingsError: no tool, or no format, has such a name.
        EnvironmentFailure: a tool cannot run here, and why.
        TaskError: the task talks to an environment of its own.
    """
    if recipe.tools is None:
        return []
    if recipe.tool_format is not None:
        format_named(recipe.tool_format)
    demand_no_environment(task)
    return tools_named(recipe.tools)


def unused(recipe: Recipe) -> tuple[str, ...]:
    """Returns a sentence for each setting of tools in a recipe without tools: the run does not use it."""
    if recipe.tools is not None:
        return ()
    given = {"tool_format": recipe.tool_format, "tool_cost": recipe.tool_cost or None}
    return tuple(
        f'{name} = {value!r} is not used, because the recipe has no tools: name some (tools = "python" for one), or '
        f"leave {name} out"
        for name, value in given.items()
        if value is not None
    )


def equipped(recipe: Recipe, task: Task, tools: list[Tool], chat: ChatFormat) -> Task:
    """Returns the task with the recipe's tools, called as the model's chat template describes it.

    Raises:
        SettingsError: the tools cannot be called so.
    """
    if tools:
        return with_tools(task, Toolbox(tools, recipe.tool_format or calls_of(chat, tools)), recipe.tool_cost)
    return suited(task, chat)


def adapt(recipe: Recipe, model: Architecture) -> None:
    """Gives the model its adapters, where the recipe has some; a sampler copies the plain model before that."""
    if recipe.lora is not None:
        attach(model, recipe.lora, seed_of("adapters", recipe.seed))


def learner_of(recipe: Recipe, model: Architecture, settings: LearnerSettings, begun: Path | None = None) -> Learner:
    """Returns a fresh learner; where a divergence is paid for, with the model that it is held to.

    That is what reinforcement begins with: a copy, or under adapters the model itself with the adapters of then.

    Args:
        recipe: whose temperature counts.
        model: learns.
        settings: of the learner.
        begun: folder of the weights that reinforcement began with; None, or not there yet: those of `model`.
    """
    reference: Architecture | None = None
    if settings.divergence.wanted:
        reference = model if has_adapters(model) else copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    learner = Learner(model, settings, recipe.reinforce.temperature, reference, recipe.seed)
    if reference is not None and begun is not None and begun.is_dir():
        if reference is model:
            learner.begun = stored_adapters(begun, model)
        else:
            load_weights(begun, reference)
    return learner


def sampler_of(recipe: Recipe, built: Built, policy: str = "initial") -> LocalSampler:
    """Returns a sampler with the weights as they are, whose transcripts have at most the recipe's context."""
    return LocalSampler(built.model, built.chat, policy, EngineLimits(context=recipe.context))


def context_of(recipe: Recipe, model: Architecture) -> int | None:
    """Returns the most tokens of a transcript, the smaller of the recipe's and what the model reads."""
    return min((most for most in (recipe.context, model.context) if most is not None), default=None)


def taught(recipe: Recipe, built: Built) -> Fitting:
    """Returns the task that is trained on, without the prompts that are too long, and what was left out.

    It has problems of the recipe's levels only, where it names some.

    Raises:
        TaskError: the task has no problem of these levels, or none that the model can read.
    """
    task = built.task if recipe.levels is None else of_levels(built.task, *recipe.levels)
    return fitting(task, built.chat, context_of(recipe, built.model), recipe.reinforce.tokens)


def demand_problems(recipe: Recipe, built: Built) -> None:
    """Raises TaskError where levels or the validation split have no problem, or a warm start lacks demonstrations."""
    built.task.first(VALIDATION, 1)
    task = taught(recipe, built).task
    Curriculum(task, recipe.seed, settings=recipe.curriculum)
    if recipe.warm_updates:
        Lessons(task, built.chat, recipe.warm_start.lessons, recipe.seed)


def load(folder: Path) -> tuple[Recipe, Task, LocalSampler]:
    """Returns a run's recipe, its task, and a sampler with the weights of its newest checkpoint.

    Raises:
        RunError: the folder holds no run, or no checkpoint yet.
    """
    run = Run.read(folder)
    recipe = recipe_of(run.recipe, where=str(folder))
    saved = run.latest()
    if saved is None:
        message = f"the run {folder} has no checkpoint yet: train it first, with poziomka train --resume {folder}"
        raise RunError(message)
    if not is_task(recipe.task):
        message = f"the run {folder} is of a task of your own, {recipe.task!r}: evaluate it from your script"
        raise RunError(message)
    built = settled(recipe, build(recipe, saved=saved.folder), run)
    return recipe, built.task, sampler_of(recipe, built, Progress.version_of(saved.step))


def settled(recipe: Recipe, built: Built, run: Run) -> Built:
    """Returns a run's parts, whose chat template is told the time at which the run first began.

    Raises:
        RunError: provenance.json does not say that time.
    """
    if not isinstance(built.chat, TemplateFormat) or not built.chat.reads_clock:
        return built
    began = recipe.template_time or run.provenance().get("started")
    try:
        moment = moment_of(str(began))
    except SettingsError as error:
        message = (
            f"{run.folder / 'provenance.json'} does not say when the run started, which its chat template "
            f"reads: received {shown(began)}; restore the file from a copy"
        )
        raise RunError(message) from error
    return replace(built, chat=built.chat.at(moment))
