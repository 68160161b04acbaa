"""Aliases: names that other libraries use for the settings of a recipe, for error messages that name ours."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from poziomka.core.errors import SettingsError

RATE, ATTEMPTS, TOKENS = "reinforce.learner.optimizer.rate", "reinforce.attempts", "reinforce.tokens"
ALIASES = {
    "lr": RATE,
    "learning_rate": RATE,
    "loss": "reinforce.learner.surrogate.kind",
    "loss_type": "reinforce.learner.surrogate.kind",
    "epsilon": "reinforce.learner.surrogate.clip_low",
    "epsilon_high": "reinforce.learner.surrogate.clip_high",
    "beta": "reinforce.learner.divergence.weight",
    "kl_coef": "reinforce.learner.divergence.weight",
    "num_generations": ATTEMPTS,
    "group_size": ATTEMPTS,
    "n": ATTEMPTS,
    "batch_size": "reinforce.problems",
    "train_batch_size": "reinforce.problems",
    "per_device_train_batch_size": "reinforce.problems",
    "max_steps": "reinforce.steps",
    "num_iterations": "reinforce.epochs",
    "temperature": "reinforce.temperature",
    "max_tokens": TOKENS,
    "max_new_tokens": TOKENS,
    "max_completion_length": TOKENS,
    "max_response_length": TOKENS,
    "weight_decay": "reinforce.learner.optimizer.weight_decay",
    "max_grad_norm": "reinforce.learner.optimizer.clip",
    "gradient_checkpointing": "reinforce.learner.checkpointing",
    "warmup_steps": "reinforce.learner.optimizer.warmup",
    "optimizer": "reinforce.learner.optimizer.kind",
    "model_name_or_path": "pretrained",
    "model_name": "pretrained",
    "dataset": "task",
    "env": "task",
    "dtype": "precision",
    "torch_dtype": "precision",
    "bf16": "precision",
    "max_model_len": "context",
    "max_seq_length": "context",
    "save_steps": "save_every",
    "eval_steps": "evaluate.every",
    "lora_r": "lora.rank",
    "lora_alpha": "lora.alpha",
    "peft_config": "lora",
    "num_threads": "threads",
}
ABSENT = {"device": "every run computes on this machine's processor", "use_vllm": "the engine is part of every run"}


class Setting(NamedTuple):
    """Description of one setting of a recipe.

    Attributes:
        name: dotted name.
        kind: type in words.
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
    """Yields the description of every setting of a settings object and of its nested tables.

    Args:
        made: a settings object; its values are the defaults.
        table: prefix of the dotted names.
    """
    hints = typing.get_type_hints(type(made))
    for field in dataclasses.fields(made):
        inner, name, value = _table(hints[field.name]), f"{table}{field.name}", getattr(made, field.name)
        if inner is not None:
            yield from settings_of(inner() if value is None else value, f"{name}.")
            continue
        low, high = field.metadata.get("low"), field.metadata.get("high")
        bounds = "" if low is high is None else f"{'' if low is None else low}..{'' if high is None else high}"
        shown = getattr(hints[field.name], "__name__", "") if isinstance(hints[field.name], type) else ""
        text = shown or str(hints[field.name]).replace("typing.", "")
        yield Setting(name, text, value, bounds, field.metadata.get("about", ""))


def _table(hint: Any) -> Any:
    """Returns the dataclass in a type hint of a nested table; None for a plain value."""
    return next((each for each in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(each)), None)


def demand_own_names(kind: Any, values: Mapping[str, Any], where: str) -> None:
    """Raises an error for names that other libraries use for a setting; `build` refuses all other unknown names.

    Args:
        kind: dataclass of the settings.
        values: settings by name, as parsed from TOML.
        where: name of the table in the message.

    Raises:
        SettingsError: names the setting that is meant.
    """
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if name in hints:
            inner = _table(hints[name])
            if inner is not None and isinstance(value, Mapping):
                demand_own_names(inner, value, f"{where}.{name}")
        elif name in ABSENT:
            message = f"unknown setting {name!r} in {where}: there is none, because {ABSENT[name]}"
            raise SettingsError(message)
        elif name in ALIASES:
            ours = ALIASES[name]
            if ".warm_start." in f"{where}.":  # has its own learner settings
                ours = ours.replace("reinforce.learner.", "warm_start.learner.", 1)
            message = f"unknown setting {name!r} in {where}; it is called {ours!r} here"
            raise SettingsError(message)
