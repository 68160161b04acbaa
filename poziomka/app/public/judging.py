"""`train_judge` and `load_judge`: learned judges of a policy's replies, trained, measured, saved and loaded."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from poziomka.app.interrupt import interruptible
from poziomka.app.public.model import Model, load
from poziomka.core.errors import ModelError, SettingsError, TaskError
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.rollouts.verdict_form import OUTCOME, VerdictForm
from poziomka.core.sampler import Sampler
from poziomka.core.seeds import seed_of
from poziomka.core.settings import plain
from poziomka.core.splits import TRAIN, VALIDATION
from poziomka.core.task import Task
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import Learner
from poziomka.learning.loops.judge import JudgeSettings, Verdicts, demand_words, labels_of, teach
from poziomka.learning.samples.verdict_labels import Labels
from poziomka.learning.session import TrainingSession
from poziomka.models.lora import attach, save_learned
from poziomka.models.text.template import TemplateFormat
from poziomka.runs import Run
from poziomka.runs.storage.results import read_json, write_json
from poziomka.tasks import task_named
from poziomka.thinking.judges.learned import LearnedJudge
from poziomka.thinking.judges.quality import JudgeQuality, judged_by, quality_of

FILE = "judge.json"  # form of the judge, beside its weights
RUN = "training"  # folder of the training run, in that of the judge


@dataclass(frozen=True)
class TrainedJudge:
    """A judge that `train_judge` trained.

    Attributes:
        folder: folder with the weights in the Hugging Face layout, `judge.json`, and the training run in `training/`.
        judge: the judge, to be passed to a strategy.
        quality: quality on complete replies to held-out problems.
        step_quality: quality on first steps of replies to held-out problems; None for a judge of outcomes. A step's
            `correct` is the share of its continuations that are correct.
        counts: number of training labels by verdict.
    """

    folder: Path
    judge: LearnedJudge
    quality: JudgeQuality
    step_quality: JudgeQuality | None
    counts: Mapping[str, int]

    def __str__(self) -> str:
        """Returns the quality on held-out problems, of complete replies and then of steps."""
        return str(self.quality) + (f"\nfirst steps:\n{self.step_quality}" if self.step_quality else "")


def train_judge(
    task: Task | str,
    policy: Sampler | Model | str,
    folder: str | Path,
    *,
    model: Model | str | None = None,
    form: VerdictForm = OUTCOME,
    settings: JudgeSettings | None = None,
) -> TrainedJudge:
    """Trains a judge on a policy's own replies, measures it on held-out problems, and saves it.

        judge = train_judge("sums", pz.load("smollm2"), "judges/sums", settings=JudgeSettings(problems=100)).judge

    The labels are the scorer's, of replies to problems of "train"; the judge is measured on problems of "validation".
    The judge learns its own copy of the weights. The same call again resumes a training that was interrupted.

    Args:
        task: a Task, or the name of one.
        policy: model whose replies are judged, a sampler of it, or its name.
        folder: folder of the judge.
        model: model that becomes the judge, or its name; None for the policy's own weights.
        form: `OUTCOME` for a verifier of complete replies, `VALUE` for a value model of steps, or one in words of the
            model's vocabulary.
        settings: numbers of problems, replies and steps, optimizer, adapters; None for the defaults.

    Raises:
        SettingsError: the words of the form are not single tokens, the folder has other files, or a setting cannot be
            used.
        LearningError: all labels have the same verdict, or a loss is not finite.
        TaskError: no held-out reply could be scored.
        PoziomkaError: the task or a model cannot be used.
        Interrupted: Ctrl-C stopped the training; its state is saved.
    """
    task = task_named(task) if isinstance(task, str) else task
    settings, folder = settings or JudgeSettings(), Path(folder)
    _demand_own(folder)
    policy = load(policy) if isinstance(policy, str) else policy
    learner = _chosen(policy, model)
    sampler = policy if isinstance(policy, Sampler) else policy.sampler()
    demand_words(learner.chat, form)
    problems = task.first(TRAIN, settings.problems, stand_ins=True)
    labels = labels_of(sampler, task, problems, form, settings, _name(TRAIN, settings))
    held = {each.kind: _held_out(sampler, task, each, settings) for each in (OUTCOME, form)}
    verdicts = Verdicts([each for own in labels for each in own], learner.chat, form, settings, learner.weights.context)
    judge = LearnedJudge(_taught(learner, verdicts, form, folder), form)
    found = {kind: quality_of(wait_for(judged_by(judge, sampler, own))) for kind, own in held.items()}
    write_json(folder / RUN / "results" / "judge.json", {kind: quality.plain() for kind, quality in found.items()})
    return TrainedJudge(folder, judge, found["outcome"], found.get("value"), verdicts.counts)


def load_judge(folder: str | Path) -> LearnedJudge:
    """Loads a judge that `train_judge` saved.

    Args:
        folder: folder of the judge.

    Raises:
        ModelError: the folder has no judge, or it cannot be read.
        SettingsError: its judge.json cannot be used.
    """
    folder = Path(folder)
    saved = read_json(folder / FILE) if folder.is_dir() else None
    if saved is None:
        message = (
            f"there is no judge in {folder}: its folder has a {FILE} beside the weights; train one, or give another"
        )
        raise ModelError(message)
    form = VerdictForm.of(saved, str(folder / FILE))
    precision, variables = saved.get("precision"), saved.get("template_variables")
    if not isinstance(precision, str) or not isinstance(variables, Mapping):
        message = f"{folder / FILE} must have a precision and template_variables: received {saved!r:.120}"
        raise SettingsError(message)
    return LearnedJudge(_silent(load(folder, precision=precision, template_variables=variables)).sampler(), form)


def _demand_own(folder: Path) -> None:
    """Raises SettingsError if the folder has something else than a judge, which its weights would overwrite."""
    if folder.exists() and not (folder / RUN).is_dir() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"the folder of a judge must be new, or of the same judge: {folder} has other files; give another"
        raise SettingsError(message)


def _chosen(policy: Sampler | Model, model: Model | str | None) -> Model:
    """Returns the model that becomes the judge, with a chat format that opens no thought."""
    if model is None and isinstance(policy, Sampler):
        message = f"a judge needs weights to train: give model=, because the policy is a {type(policy).__name__}"
        raise SettingsError(message)
    chosen = load(model) if isinstance(model, str) else model or policy
    assert isinstance(chosen, Model)
    return _silent(chosen)


def _silent(model: Model) -> Model:
    """Returns a model whose replies do not begin with "<think>", because a judge's first token is its verdict."""
    chat = model.chat
    return replace(model, chat=chat.thinking(opens=False)) if isinstance(chat, TemplateFormat) else model


def _name(split: str, settings: JudgeSettings) -> str:
    return f"judge/{settings.seed}/{split}"


def _held_out(sampler: Sampler, task: Task, form: VerdictForm, settings: JudgeSettings) -> Labels:
    """Returns labels of replies to held-out problems; raises TaskError if there are none."""
    problems = task.first(VALIDATION, settings.held_out, stand_ins=True)
    found = labels_of(sampler, task, problems, form, settings, _name(VALIDATION, settings))
    if not any(found):
        message = f"no reply to {len(problems)} held-out problems of task {task.name!r} could be scored: try its scorer"
        raise TaskError(message)
    return found


def _taught(model: Model, verdicts: Verdicts, form: VerdictForm, folder: Path) -> LocalSampler:
    """Trains a copy of a model, saves it as a judge, and returns a sampler with its weights."""
    settings = verdicts.settings
    weights = copy.deepcopy(model.weights)
    sampler = LocalSampler(weights, model.chat, "judge")
    if settings.lora is not None:
        attach(weights, settings.lora, seed_of("adapters", settings.seed))
    learner = Learner(weights, settings, seed=settings.seed)
    recipe = {"kind": "judge", "model": model.name, "form": form.plain(), "settings": plain(settings)}
    with Run.open(folder / RUN, recipe) as run:
        progress = TrainingSession(run, learner, model.tokenizer)
        progress.again = "the call that began it"
        progress.restore()
        with interruptible(progress):
            teach(progress, verdicts)
        progress.publish_weights(sampler)
    save_learned(folder, weights, model.tokenizer, str(model.source))
    variables = {"precision": model.precision, "template_variables": dict(model.variables)}
    write_json(folder / FILE, form.plain() | variables)
    return sampler
