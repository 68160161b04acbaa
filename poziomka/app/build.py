"""Builds the components of a run from its recipe: task, tokenizer, chat format, model, learner, sampler."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from poziomka.app.inputs import demand_unchanged, digests_of_weights, inputs_of, weights_of
from poziomka.app.memory_allocator import keep_freed_memory
from poziomka.app.settings.convert import converted
from poziomka.app.settings.model import moment_of
from poziomka.app.settings.recipe import Recipe, Stage, recipe_of
from poziomka.app.tool_formats import equipped, tools_of, unused
from poziomka.core.errors import ModelError, RunError, SettingsError, TaskError
from poziomka.core.seeds import seed_of
from poziomka.core.settings import shown
from poziomka.core.splits import TEST, TRAIN
from poziomka.core.task import Task
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.curriculum.levels import of_levels
from poziomka.learning.curriculum.prompt_limits import Fitting, fitting
from poziomka.learning.learner import Learner
from poziomka.learning.loops.distill import DistillSettings, TeacherSettings
from poziomka.learning.loops.rl import RLSettings
from poziomka.learning.loops.sft import SFTSettings
from poziomka.learning.objectives.teacher import ContextTeacher
from poziomka.learning.samples.demonstrations import demonstrated
from poziomka.learning.session import TrainingSession
from poziomka.models.base import Architecture
from poziomka.models.checkpoints.pretrained import Pretrained, load_pretrained
from poziomka.models.checkpoints.weights import build_model, load_weights
from poziomka.models.lora import attach, base_of, has_adapters, load_learned, start_from, stored_adapters
from poziomka.models.text.chat import ChatFormat, PlainFormat
from poziomka.models.text.template import TemplateFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.runs import Run
from poziomka.runs.recipe import OLDER
from poziomka.tasks import is_task, task_named


@dataclass(frozen=True)
class Built:
    """Components of a run before training.

    Attributes:
        task: problems and scorer.
        chat: chat format, which tokenizes spans; includes the tokenizer.
        model: the model to train.
        source: folder of the loaded model; "" for a randomly initialized one.
        notes: sentences about the model and the recipe for the user.
        scripted: whether a script passed the task as an object, so that only the script can resume the run.
        base: folder of the weights below LoRA adapters: `model.start` of the recipe, else the folder of the loaded
            model; "" for a randomly initialized model.
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
        """The chat format's tokenizer."""
        return self.chat.tokenizer


def build(recipe: Recipe, task: Task | None = None, saved: Path | None = None) -> Built:
    """Builds the components of a run, with the recipe's initial weights or those of a checkpoint.

    Sets torch's number of threads and tunes the memory allocator.

    Args:
        recipe: the recipe to build.
        task: the task; None loads the one that the recipe names.
        saved: folder of a checkpoint of the run, whose weights are loaded; None loads the recipe's initial weights.

    Raises:
        PoziomkaError: the recipe names something missing or incompatible.
    """
    torch.set_num_threads(recipe.threads)
    keep_freed_memory()
    scripted = task is not None
    task = task or task_named(recipe.task)
    tools = tools_of(recipe, task)
    wanted = recipe.model
    if wanted.load is not None:
        name = weights_of(wanted.load)
        loaded = load_pretrained(name, wanted.precision, opens_thought=wanted.thinks, variables=wanted.variables)
        base = begin(recipe, loaded, saved)
        task = equipped(recipe, task, tools, loaded.chat)
        notes = (*loaded.notes, *unused(recipe))
        return Built(task, loaded.chat, loaded.model, str(loaded.source), notes, scripted, base)
    chat = format_from_nothing(recipe, task)
    weights = saved or (None if wanted.start is None else Path(wanted.start))
    new = wanted.made
    model = build_model(new.architecture, new.shape, len(chat.tokenizer), seed_of("weights", recipe.seed))
    if weights is not None:
        load_weights(weights, model)
    return Built(equipped(recipe, task, tools, chat), chat, model, notes=unused(recipe), scripted=scripted)


def begin(recipe: Recipe, loaded: Pretrained, saved: Path | None) -> str:
    """Loads the weights of the recipe's `model.start`, or of a checkpoint of the run, into a pretrained model.

    If the checkpoint has LoRA adapters only, they are loaded on top of the weights of `model.start`.

    Args:
        recipe: recipe with `model.start` and `model.lora`.
        loaded: the pretrained model, whose weights are replaced.
        saved: folder of a checkpoint of the run; None loads `model.start` only.

    Returns:
        The folder of the weights below LoRA adapters: `model.start`, else the folder of the pretrained model.

    Raises:
        ModelError: the weights do not fit, or adapters are to be trained on top of a start that has adapters itself.
    """
    demand_adaptable_start(recipe)
    start = None if recipe.model.start is None else Path(recipe.model.start)
    if start is not None and (saved is None or recipe.model.lora is not None):
        start_from(start, loaded.model)
    if saved is not None:
        start_from(saved, loaded.model)
    return str(loaded.source if start is None else start)


def demand_adaptable_start(recipe: Recipe) -> None:
    """Raises ModelError if LoRA adapters are to be trained on top of a `model.start` that has adapters itself."""
    start = recipe.model.start
    if start is not None and recipe.model.lora is not None and base_of(Path(start)) is not None:
        message = (
            f"adapters cannot learn on top of the start {start}, which holds adapters itself: merge those first, with "
            "`poziomka export --folder`"
        )
        raise ModelError(message)


def format_from_nothing(recipe: Recipe, task: Task) -> PlainFormat:
    """Returns the chat format of a randomly initialized model, with the task's vocabulary.

    Raises:
        TaskError: the task has no vocabulary of its own.
        ModelError: the recipe asks for adapters, or for a precision other than float32.
    """
    if not task.symbols:
        message = (
            f"the task {task.name!r} is for a model that reads already: name one with model.load, "
            "smollm2 for example, or take a task with a vocabulary of its own, recurrence for example"
        )
        raise TaskError(message)
    if recipe.model.precision != "float32" or recipe.model.lora is not None:
        what = "model.precision" if recipe.model.lora is None else "model.lora"
        message = f"a new model learns all its weights in float32: received {what} without model.load"
        raise ModelError(message)
    return PlainFormat(Tokenizer.of_symbols(task.symbols))


def adapt(recipe: Recipe, model: Architecture) -> None:
    """Attaches the recipe's LoRA adapters to the model; does nothing if the recipe has none.

    Call `sampler_of` before: the sampler must copy the model without adapters.
    """
    if recipe.model.lora is not None:
        attach(model, recipe.model.lora, seed_of("adapters", recipe.seed))


def learner_of(recipe: Recipe, built: Built, stage: Stage, begun: Path | None = None) -> Learner:
    """Returns a new learner for a stage, with a reference model if the stage's loss needs one.

    A distillation's reference is its teacher. That of another loss, for its KL term, is the model as it was at the
    start of the stage: a frozen copy or, with LoRA, the model itself with the adapter weights of that moment.

    Args:
        recipe: recipe with the seed.
        built: components of the run, with the model to train.
        stage: the stage.
        begun: folder of the model's weights at the start of the stage; with None or a missing folder, the model's
            present weights are used.
    """
    model, settings = built.model, stage.learner
    begun = begun if begun is not None and begun.is_dir() else None
    temperature = 1.0 if isinstance(stage, SFTSettings) else stage.temperature
    seed = seed_in(recipe, stage)
    if isinstance(stage, DistillSettings):
        return Learner(model, settings, temperature, teacher_of(built, stage.teacher, begun), seed)
    reference: Architecture | None = None
    if settings.kl.wanted:
        reference = model if has_adapters(model) else copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    learner = Learner(model, settings, temperature, reference, seed)
    if reference is not None and begun is not None:
        if reference is model:
            learner.begun = stored_adapters(begun, model)
        else:
            load_weights(begun, reference)
    return learner


def teacher_of(built: Built, teacher: TeacherSettings, begun: Path | None) -> Architecture | ContextTeacher:
    """Returns the frozen teacher of a distillation: another checkpoint, or a copy of the model in training.

    With `teacher.context`, the teacher also reads that text as a system message before each prompt.

    Args:
        built: components of the run, with the model in training.
        teacher: settings of the teacher.
        begun: folder of the model's weights at the start of the stage; None copies the present weights.

    Raises:
        SettingsError: neither `teacher.load` nor `teacher.context` is given.
        ModelError: the checkpoint cannot be read, or has another tokenizer than the model.
    """
    if teacher.load is None and teacher.context is None:
        message = "a distillation needs a teacher: give teacher.load, teacher.context, or both"
        raise SettingsError(message)
    if teacher.load is not None:
        model = _other_model(built, teacher)
    else:
        model = copy.deepcopy(built.model)
        if begun is not None:
            load_learned(begun, model)
    model = model.eval().requires_grad_(requires_grad=False)
    return model if teacher.context is None else ContextTeacher(model, built.chat, teacher.context)


def _other_model(built: Built, teacher: TeacherSettings) -> Architecture:
    folder = weights_of(str(teacher.load))
    if isinstance(built.chat, PlainFormat) and built.chat.tokenizer.files is None:  # a vocabulary of the task's
        model = copy.deepcopy(built.model)
        load_weights(Path(folder), model)
        return model
    loaded = load_pretrained(folder, teacher.precision)
    if loaded.tokenizer.fingerprint != built.tokenizer.fingerprint:
        message = f"the teacher {teacher.load} has another tokenizer than the model: take one of the same family"
        raise ModelError(message)
    return loaded.model


def seed_in(recipe: Recipe, stage: Stage) -> int:
    """Returns a stage's seed.

    The first stage of its kind has the recipe's seed; a later one has a seed derived from it and the stage's name.
    """
    first = next((each for each in recipe.stage if each.kind == stage.kind), stage)
    return recipe.seed if first.name == stage.name else seed_of("stage", recipe.seed, stage.name)


def thinks(chat: ChatFormat) -> bool:
    """Returns whether a chat format opens a thought before each reply, or knows the tags <think> and </think>."""
    return not isinstance(chat, TemplateFormat) or chat.opens_thought or chat.marks_thoughts


def sampler_of(recipe: Recipe, built: Built, policy: str = "initial") -> LocalSampler:
    """Returns a local sampler with the model's present weights and the recipe's context, in tokens, as its limit.

    Args:
        recipe: recipe with the context.
        built: components of the run.
        policy: name of the weights' version, which the sampler stores in the spans that it writes.
    """
    return LocalSampler(built.model, built.chat, policy, EngineLimits(context=recipe.model.context))


def context_of(recipe: Recipe, model: Architecture) -> int | None:
    """Returns the token limit of a transcript: the smaller of the recipe's and the model's; None if neither has one."""
    return min((most for most in (recipe.model.context, model.context) if most is not None), default=None)


def taught(recipe: Recipe, built: Built) -> Fitting:
    """Returns the task restricted to training problems of the recipe's levels whose prompts fit the context.

    The result also has counts of the problems that were removed as too long, and notes about them.

    Raises:
        TaskError: the task has no problem of these levels, or none whose prompt fits the context.
    """
    task = levelled(recipe, built.task)
    return fitting(task, built.chat, context_of(recipe, built.model), recipe.sampling.max_tokens)


def levelled(recipe: Recipe, task: Task) -> Task:
    """Returns the task with training problems of the recipe's levels only; all if the recipe has no levels.

    Raises:
        TaskError: the task has no problem of these levels.
    """
    return task if recipe.levels is None else of_levels(task, *recipe.levels)


def demand_problems(recipe: Recipe, task: Task, trained: Task) -> None:
    """Checks that a task has the problems that the recipe's stages and evaluations need.

    Args:
        recipe: recipe with the stages.
        task: task with the validation and test problems.
        trained: the same task, restricted to the training problems that the stages learn from.

    Raises:
        TaskError: a split is empty, an adaptive curriculum has no levels, or an sft stage has no demonstrations.
    """
    task.first(recipe.evaluate.split, 1)
    task.first(TEST, 1)
    for stage in recipe.stage:
        if isinstance(stage, RLSettings | DistillSettings):
            trained.first(TRAIN, 1)
            Curriculum(trained, recipe.seed, settings=stage.curriculum)
        elif isinstance(stage, SFTSettings) and stage.steps:
            demonstrated(trained, stage.demonstrations)
            trained.first(TRAIN, 1)


def load(folder: Path, *, problems: bool = True) -> tuple[Recipe, Task, LocalSampler]:
    """Loads a run's recipe, its task, and a sampler with the weights of its newest checkpoint.

    Args:
        folder: folder of the run.
        problems: whether the caller uses the task's problems; if False, only the files that the weights depend on are
            checked for changes since the start of the run.

    Raises:
        RunError: the folder has no run or no checkpoint, the run's task is defined in a script, or an input of the run
            has other contents than at its start.
    """
    run = Run.read(folder)
    recipe = recipe_in(run)
    saved = run.latest()
    if saved is None:
        message = f"the run {folder} has no checkpoint yet: train it first, with poziomka train --resume {folder}"
        raise RunError(message)
    if not is_task(recipe.task):
        message = f"the run {folder} is of a task of your own, {recipe.task!r}: evaluate it from your script"
        raise RunError(message)
    built = settled(recipe, build(recipe, saved=saved.folder), run)
    digests = inputs_of(recipe, built.task, built.source, saved=True) if problems else None
    demand_unchanged(run, digests or digests_of_weights(recipe, built.source, saved=True))
    return recipe, built.task, sampler_of(recipe, built, TrainingSession.version_of(saved.step))


def recipe_in(run: Run) -> Recipe:
    """Returns the recipe of a run; a recipe of schema 1 is converted in memory, its file is unchanged.

    Raises:
        SettingsError: the recipe cannot be used.
    """
    old = run.recipe.get("schema_version") == OLDER
    return recipe_of(converted(run.recipe) if old else run.recipe, where=str(run.folder))


def settled(recipe: Recipe, built: Built, run: Run) -> Built:
    """Returns the components with the date and time of the chat template fixed; see `dated`."""
    return replace(built, chat=dated(recipe, built.chat, run))


def dated(recipe: Recipe, chat: ChatFormat, run: Run) -> ChatFormat:
    """Returns the chat format with the date and time that its template may render fixed.

    The time is `model.template_time` of the recipe, or the start of the run, so that a resumed run renders the same
    prompts. Templates that do not read the clock are unchanged.

    Raises:
        RunError: provenance.json has no valid start time.
    """
    if not isinstance(chat, TemplateFormat) or not chat.reads_clock:
        return chat
    began = recipe.model.template_time or run.provenance().get("started")
    try:
        moment = moment_of(str(began))
    except SettingsError as error:
        message = (
            f"{run.folder / 'provenance.json'} does not say when the run started, which its chat template "
            f"reads: received {shown(began)}; restore the file from a copy"
        )
        raise RunError(message) from error
    return chat.at(moment)
