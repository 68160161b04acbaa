"""Settings of the model and of the tools that it can call."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from poziomka.core.errors import SettingsError
from poziomka.core.safety.untrusted import DEPTH
from poziomka.core.settings import setting, shown
from poziomka.models.config import TransformerSettings
from poziomka.models.lora import LoraSettings


@dataclass(frozen=True, kw_only=True)
class NewModelSettings(TransformerSettings):
    """Architecture and sizes of a randomly initialized model, whose vocabulary is that of the task."""

    architecture: Literal["transformer", "recurrent"] = setting("transformer", "transformer or recurrent")

    @property
    def shape(self) -> TransformerSettings:
        """Sizes of the model, without its architecture."""
        return TransformerSettings(**{each.name: getattr(self, each.name) for each in fields(TransformerSettings)})


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model to train: a pretrained one (`load`), or a randomly initialized one (`new`)."""

    load: str | None = setting(
        None, "smollm2, a Hugging Face folder or hub name, a GGUF file, or a run's folder; none: a new model"
    )
    new: NewModelSettings | None = setting(None, "a new model's architecture and sizes; none: the defaults")
    start: str | None = setting(None, "checkpoint with the initial weights; none: those of `load`, or random")
    precision: Literal["float32", "bfloat16"] = setting("float32", "precision of a loaded model's weights")
    device: Literal["auto", "cpu"] = setting("auto", "device of the model; auto and cpu are the CPU")
    lora: LoraSettings | None = setting(None, "learn adapters of a loaded model; none: all its weights")
    context: int | None = setting(None, "maximum tokens of a transcript; none: the context of the model", low=2)
    thinks: bool = setting(True, "replies of a loaded model begin with <think>")
    template_variables: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"about": "variables of the chat template; enable_thinking is true if `thinks` is"},
    )
    template_time: str | None = setting(
        None, "clock of the chat template, as 2026-11-28T12:00:00+00:00; none: the start of the run"
    )

    def __post_init__(self) -> None:
        """Raises SettingsError for two models at once, or an invalid template time or template variable."""
        if self.load is not None and self.new is not None:
            message = f"model.load and model.new are two models: give one; received load = {shown(self.load)}"
            raise SettingsError(message)
        if self.template_time is not None:
            moment_of(self.template_time)
        _demand_storable(self.template_variables, "template_variables")

    @property
    def made(self) -> NewModelSettings:
        """Architecture and sizes of a new model: `new`, or the defaults if that is None."""
        return self.new or NewModelSettings()

    @property
    def variables(self) -> dict[str, Any]:
        """Variables of the chat template, with `enable_thinking` if the model thinks."""
        return ({"enable_thinking": True} if self.thinks else {}) | dict(self.template_variables)


@dataclass(frozen=True, kw_only=True)
class PythonSettings:
    """Settings of the tool that runs the model's Python code."""

    backend: str = setting("monty", "sandbox of the model's code: monty, sandlock or docker:IMAGE")


@dataclass(frozen=True, kw_only=True)
class CalculatorSettings:
    """Settings of the tool that calculates with integers: there are none."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of the tool that searches in text files."""

    folder: str = setting("", "folder with the files to search")


@dataclass(frozen=True, kw_only=True)
class ToolsSettings:
    """Tools that the model can call while it thinks, and what a call costs."""

    python: PythonSettings | None = setting(None, "Python")
    calculator: CalculatorSettings | None = setting(None, "a calculator")
    search: SearchSettings | None = setting(None, "search in text files")
    cost: float = setting(0.0, "cost of a call, as a share of the reward of a correct answer", low=0.0, high=1.0)
    format: str | None = setting(
        None,
        "format of calls: plain, spelled, hermes, llama, mistral, …; none: that of a loaded model's chat template, or "
        "plain; spelled for a new model",
    )

    @property
    def names(self) -> str | None:
        """The tools as text such as "python+search:docs", for `tools_named`; None if there are none."""
        named = []
        if self.python is not None:
            named.append("python" if self.python.backend == "monty" else f"python:{self.python.backend}")
        named += [] if self.calculator is None else ["calculator"]
        named += [] if self.search is None else [f"search:{self.search.folder}"]
        return "+".join(named) or None


def _demand_storable(value: Any, where: str, depth: int = 0) -> None:
    """Raises SettingsError for a value that recipe.toml cannot store, such as a date or too deeply nested tables."""
    if depth > DEPTH:
        message = f"template_variables nests lists and tables deeper than {DEPTH} levels"
        raise SettingsError(message)
    if isinstance(value, Mapping):
        for name, item in value.items():
            _demand_storable(item, f"{where}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _demand_storable(item, where, depth + 1)
    elif value is not None and not isinstance(value, str | int | float):
        message = f"{where} must be text, a number, true, false, a list or a table: received {shown(value)}"
        raise SettingsError(message)


def moment_of(text: str) -> datetime:
    """Returns the time parsed from ISO 8601 text; raises SettingsError for any other text."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        message = f"template_time must be a time such as 2026-11-28T12:00:00+00:00: received {text!r}"
        raise SettingsError(message) from error
