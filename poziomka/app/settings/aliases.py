"""Aliases: names of earlier versions and of other libraries for the settings of a recipe, for errors that name ours."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from poziomka.app.settings.model import ModelSettings, NewModelSettings
from poziomka.core.errors import SettingsError
from poziomka.learning.curriculum.levels import CurriculumSettings
from poziomka.learning.loops.stage import StageSettings
from poziomka.learning.objectives.losses import CorrectionSettings, SurrogateSettings
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.demonstrations import LessonSettings

RATE = "optimizer.learning_rate"
OF_A_STAGE = {  # settings of a stage; the answer begins with the stage's name
    "lr": RATE,
    "learning_rate": RATE,
    "rate": RATE,
    "weight_decay": "optimizer.weight_decay",
    "max_grad_norm": "optimizer.max_grad_norm",
    "warmup_steps": "optimizer.warmup_steps",
    "loss": "surrogate.kind",
    "loss_type": "surrogate.kind",
    "epsilon": "surrogate.clip_low",
    "epsilon_high": "surrogate.clip_high",
    "beta": "kl.weight",
    "kl_coef": "kl.weight",
    "divergence": "kl",
    "num_generations": "group_size",
    "n": "group_size",
    "attempts": "group_size",
    "problems": "prompts_per_step",
    "batch_size": "prompts_per_step",
    "train_batch_size": "prompts_per_step",
    "per_device_train_batch_size": "prompts_per_step",
    "updates": "steps",
    "max_steps": "steps",
    "num_iterations": "epochs",
    "tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_completion_length": "max_tokens",
    "max_response_length": "max_tokens",
    "budget": "max_thinking_tokens",
    "retire_at": "drop_solved_above",
    "lessons": "demonstrations",
    "places": "microbatch_tokens",
    "head_rows": "logit_chunk",
    "checkpointing": "gradient_checkpointing",
    "gate": "require",
    "margin": "require.thinking_gain",
}
OF_A_RECIPE = {
    "pretrained": "model.load",
    "model_name_or_path": "model.load",
    "model_name": "model.load",
    "start": "model.start",
    "precision": "model.precision",
    "dtype": "model.precision",
    "torch_dtype": "model.precision",
    "bf16": "model.precision",
    "device": "model.device",
    "architecture": "model.new.architecture",
    "lora": "model.lora",
    "lora_r": "model.lora.rank",
    "lora_alpha": "model.lora.alpha",
    "peft_config": "model.lora",
    "context": "model.context",
    "max_model_len": "model.context",
    "max_seq_length": "model.context",
    "thinks": "model.thinks",
    "template_variables": "model.template_variables",
    "template_time": "model.template_time",
    "tool_cost": "tools.cost",
    "tool_format": "tools.format",
    "dataset": "task",
    "env": "task",
    "save_steps": "save_every",
    "eval_steps": "evaluate.every",
    "num_threads": "threads",
    "warm_start": "sft",
    "lessons": "sft.demonstrations",
    "reinforce": "rl",
    "gate": "rl.require",
    "curriculum": "rl.curriculum",
}
RL = {name: f"rl.{ours}" for name, ours in OF_A_STAGE.items() if name != "lessons"} | {
    name: f"rl.{name}" for name in ("temperature", "group_size", "max_tokens", "prompts_per_step", "optimizer", "steps")
}
ALIASES = RL | OF_A_RECIPE  # as they are written at the top of a recipe
OF_A_TABLE: Mapping[Any, Mapping[str, str]] = {  # earlier names of settings, by the class that has them
    OptimizerSettings: {
        "rate": "learning_rate",
        "lr": "learning_rate",
        "warmup": "warmup_steps",
        "decay": "decay_ratio",
        "floor": "min_lr_ratio",
        "clip": "max_grad_norm",
    },
    SurrogateSettings: {"cap": "importance_cap", "trust": "trust_region"},
    CorrectionSettings: {"cap": "importance_cap"},
    LessonSettings: {"tokens": "tokens_per_step", "haste": "cutoff_prob"},
    CurriculumSettings: {"rehearse": "review_prob"},
    ModelSettings: {each.name: f"new.{each.name}" for each in dataclasses.fields(NewModelSettings)}
    | {"pretrained": "load"},
}
NOT_STAGES = ("model", "tools", "evaluate")  # tables of a recipe
ABSENT = {"use_vllm": "the engine is part of every run", "learner": "its settings are those of the stage"}


class Setting(NamedTuple):
    """Description of one setting of a recipe.

    Attributes:
        name: dotted name.
        kind: type as in the annotation, such as "int | None".
        default: default value.
        range: "low..high", either end empty if unbounded; "" if there is no range.
        about: meaning of the setting.
    """

    name: str
    kind: str
    default: Any
    range: str
    about: str


def settings_of(made: Any, table: str = "") -> Iterator[Setting]:
    """Yields the description of every setting of a settings object, of its nested tables and of its stages.

    Args:
        made: a settings object; its values are the defaults.
        table: prefix of the dotted names.
    """
    hints = typing.get_type_hints(type(made))
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        if isinstance(value, tuple) and value and isinstance(value[0], StageSettings):
            for stage in value:
                yield from settings_of(stage, f"{table}{stage.name}.")
            continue
        inner, name = _table(hints[field.name]), f"{table}{field.name}"
        if inner is not None:
            yield from settings_of(inner() if value is None else value, f"{name}.")
            continue
        low, high = field.metadata.get("low"), field.metadata.get("high")
        bounds = "" if low is high is None else f"{'' if low is None else low}..{'' if high is None else high}"
        shown = getattr(hints[field.name], "__name__", "") if isinstance(hints[field.name], type) else ""
        text = shown or str(hints[field.name]).replace("typing.", "")
        yield Setting(name, text, value, bounds, field.metadata.get("about", ""))


def _table(hint: Any) -> Any:
    """Returns the dataclass in a type hint, whose setting is a nested table; None if the hint has none."""
    return next((each for each in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(each)), None)


def demand_own_names(kind: Any, values: Mapping[str, Any], where: str, path: str = "") -> None:
    """Raises an error that gives our name of a setting, for a name of another library or of an earlier version.

    All other unknown names are left to `build`, which refuses them.

    Args:
        kind: dataclass of the settings.
        values: settings by name, as parsed from TOML.
        where: name of the table in the message.
        path: dotted name of the table within the recipe, which begins with the name of its stage; "" for the recipe.

    Raises:
        SettingsError: names the setting that is meant.
    """
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name in hints:
            inner = _table(hints[name])
            if inner is not None and isinstance(value, Mapping):
                demand_own_names(inner, value, f"{where}.{name}", f"{path}.{name}" if path else name)
            continue
        ours = _ours(kind, name, path)
        if ours:
            message = f"unknown setting {name!r} in {where}; it is called {ours!r} here"
            raise SettingsError(message)
        if name in ABSENT:
            message = f"unknown setting {name!r} in {where}: there is none, because {ABSENT[name]}"
            raise SettingsError(message)


def _ours(kind: Any, name: str, path: str) -> str:
    """Returns our dotted name of a setting that another library or an earlier version calls `name`; "" if unknown."""
    if name in OF_A_TABLE.get(kind, {}):
        return f"{path}.{OF_A_TABLE[kind][name]}"
    stage = path.partition(".")[0]
    if stage and name in OF_A_STAGE and stage not in NOT_STAGES:
        return f"{stage}.{OF_A_STAGE[name]}"
    return ALIASES.get(name, "")
