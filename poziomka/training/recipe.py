"""A recipe: everything that one run is made from, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from poziomka.core.errors import SettingsError
from poziomka.core.settings import build, override, plain, read_toml, setting, shown
from poziomka.core.untrusted import DEPTH
from poziomka.learning.learner import LearnerSettings
from poziomka.learning.lessons import LessonSettings
from poziomka.learning.levels import CurriculumSettings
from poziomka.learning.optimizers import OptimizerSettings
from poziomka.learning.reinforce import ReinforceSettings
from poziomka.models.lora import LoraSettings
from poziomka.models.transformer import TransformerSettings
from poziomka.training.aliases import demand_own_names
from poziomka.training.kinds import Kind, completed, kind_of

SCHEMA = 1  # of recipe.toml
WARM_START = OptimizerSettings(rate=2e-3, warmup=50, decay=0.6, floor=0.02)


@dataclass(frozen=True, kw_only=True)
class WarmStartSettings:
    """Fine-tuning on demonstrations, before reinforcement."""

    updates: int = setting(1200, "optimizer steps", low=0)
    lessons: LessonSettings = field(default_factory=LessonSettings)
    learner: LearnerSettings = field(default_factory=lambda: LearnerSettings(optimizer=WARM_START))


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """What a warm start must show before reinforcement begins: that thought helps."""

    margin: float = setting(
        0.3,
        "least gain of accuracy, forced to think over forced to answer; -1, or reinforce.budget=0: asks for nothing",
        low=-1.0,
        high=1.0,
    )
    problems: int = setting(200, "held-out problems to measure it on", low=10)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Held-out evaluation."""

    budgets: tuple[int, ...] = setting((2, 4, 8, 16, 32, 64), "thinking tokens")
    problems: int = setting(400, "held-out problems of the final evaluation", low=10)
    attempts: int = setting(4, "attempts a problem, at each budget", low=1)
    votes: tuple[int, ...] = setting((1, 2, 4, 8, 16, 32), "attempts that vote, and that an oracle picks from")
    vote_problems: int = setting(100, "held-out problems of the vote", low=10)
    vote_budget: int = setting(8, "thinking tokens of an attempt that votes", low=0)
    every: int = setting(5, "reinforcement steps between two points of the learning curve", low=1)
    curve_problems: int = setting(250, "held-out problems of a point of the learning curve", low=10)
    curve_attempts: int = setting(2, "attempts a problem at such a point", low=1)

    def __post_init__(self) -> None:
        """Checks what stands inside the lists."""
        for name, low in (("budgets", 0), ("votes", 1)):
            values = getattr(self, name)
            if not values or min(values) < low:
                message = f"evaluate.{name} must be one or more numbers from {low} on: received {list(values)}"
                raise SettingsError(message)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, from nothing to a report."""

    schema_version: int = SCHEMA
    name: str = setting("run", "what the run is called")
    task: str = setting("recurrence", "the problems")
    levels: tuple[int, ...] | None = setting(
        None, "lowest and highest level of the problems trained on; none: all; held-out problems are of all levels"
    )
    tools: str | None = setting(
        None, "what the model can call while it thinks: python, calculator, python+search:FOLDER; none: nothing"
    )
    tool_cost: float = setting(0.0, "share of a right answer's reward that a call costs", low=0.0, high=1.0)
    tool_format: str | None = setting(
        None,
        "how calls are written: plain, spelled, hermes, llama, mistral, …; none: as a pretrained model's chat template "
        "describes them, else plain; spelled for a model from nothing",
    )
    seed: int = setting(0, "names all randomness", low=0)
    threads: int = setting(2, "threads of tensor work; the bits of a result depend on it", low=1, high=1024)
    save_every: int = setting(200, "steps between two checkpoints", low=1)
    watchdog: float | None = setting(
        120.0, "seconds without a logged line after which a line says which part waits for what; none: never", low=0.01
    )
    start: str | None = setting(None, "a checkpoint to begin with instead of a warm start")
    pretrained: str | None = setting(
        None, "smollm2, a folder in the hub's layout, a GGUF file or a hub name; none: a model from nothing"
    )
    precision: Literal["float32", "bfloat16"] = setting("float32", "of a pretrained model's weights")
    context: int | None = setting(
        None, "most tokens of a transcript, where a reply is cut; none: as many as the model reads", low=2
    )
    thinks: bool = setting(True, "a pretrained model's replies begin with <think>")
    template_variables: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={"about": "what a chat template may ask for; enable_thinking is true where a model thinks"},
    )
    template_time: str | None = setting(
        None, "what a chat template reads from the clock, 2026-11-28T12:00:00+00:00; none: the time of the run's start"
    )
    architecture: Literal["transformer", "recurrent"] = setting("transformer", "transformer or recurrent")
    lora: LoraSettings | None = setting(None, "learn adapters of a pretrained model; none: all its weights")
    model: TransformerSettings = field(default_factory=TransformerSettings)
    warm_start: WarmStartSettings = field(default_factory=WarmStartSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)
    reinforce: ReinforceSettings = field(default_factory=ReinforceSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)

    def __post_init__(self) -> None:
        """Checks that levels are a lowest and a highest."""
        if self.levels is not None and (len(self.levels) != 2 or self.levels[0] > self.levels[1]):
            message = f"levels must be two numbers, the lowest and the highest: received {list(self.levels)}"
            raise SettingsError(message)
        if self.template_time is not None:
            moment_of(self.template_time)
        _demand_storable(self.template_variables, "template_variables")

    @property
    def variables(self) -> dict[str, Any]:
        """What the chat template may ask for."""
        return ({"enable_thinking": True} if self.thinks else {}) | dict(self.template_variables)

    @property
    def kind(self) -> Kind:
        """Which weights learn, and whether they learned before."""
        return kind_of(self.pretrained, self.lora)

    @property
    def warm_updates(self) -> int:
        """Updates of the warm start; 0 where a checkpoint stands in for it."""
        return 0 if self.start else self.warm_start.updates


def _demand_storable(value: Any, where: str, depth: int = 0) -> None:
    """Raises SettingsError for a value that the recipe of a run could not give back: a date, or tables without end."""
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
    """Returns a time written as ISO 8601 has it; raises SettingsError for anything else."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        message = f"template_time must be a time such as 2026-11-28T12:00:00+00:00: received {text!r}"
        raise SettingsError(message) from error


def read_recipe(path: Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Returns the recipe in a file (or in a run's folder) with changes written `name=value`.

    Raises:
        SettingsError: no such file, not TOML, an unknown name, a value of the wrong type or out of range, or a
            recipe of another schema version.
    """
    values = read_toml(path / "recipe.toml" if path.is_dir() else path)
    return recipe_of(values, changes, str(path))


def recipe_of(values: dict[str, Any], changes: tuple[str, ...] = (), where: str = "recipe") -> Recipe:
    """Returns the recipe that plain values spell; raises SettingsError as `read_recipe` does."""
    version = values.get("schema_version", SCHEMA)
    if version != SCHEMA:
        message = (
            f"{where} has schema_version {version!r}, and this version of poziomka reads {SCHEMA}: "
            "use the version that wrote it, or write the recipe anew"
        )
        raise SettingsError(message)
    changed = override(values, changes)
    demand_own_names(Recipe, changed, where)
    return build(Recipe, completed(changed), where)


def resolved(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns what the stored recipe of a run comes to now: a setting that is younger than the run has its default.

    Raises:
        SettingsError: as `read_recipe`.
    """
    return plain(recipe_of(values, where=where))
