"""Recipe: all settings of one run, a list of stages among them, read from TOML."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from poziomka.app.settings import kinds
from poziomka.app.settings.aliases import demand_own_names
from poziomka.app.settings.kinds import Kind, kind_of
from poziomka.app.settings.model import ModelSettings, ToolsSettings
from poziomka.core.errors import SettingsError, nearest
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import build, override, plain, read_toml, setting, shown
from poziomka.learning.loops.distill import DistillSettings
from poziomka.learning.loops.offline import OfflineSettings
from poziomka.learning.loops.rl import RLSettings
from poziomka.learning.loops.sft import SFTSettings
from poziomka.learning.loops.stage import RequireSettings
from poziomka.runs.recipe import EVALUATION, FIXED, SCHEMA

Stage = SFTSettings | RLSettings | OfflineSettings | DistillSettings
Sampled = RLSettings | DistillSettings  # stages that sample replies
STAGES: dict[str, type[Stage]] = {
    "sft": SFTSettings,
    "rl": RLSettings,
    "offline": OfflineSettings,
    "distill": DistillSettings,
}


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Held-out evaluation: thinking budgets, majority votes and the learning curve."""

    split: Literal["validation", "train"] = setting(
        "validation", "split of the learning curve, best checkpoint and `require`; final figures use the test split"
    )
    budgets: tuple[int, ...] = setting((2, 4, 8, 16, 32, 64), "thinking budgets of the final evaluation, tokens")
    problems: int = setting(400, "held-out problems of the final evaluation", low=1)
    attempts: int = setting(4, "attempts per problem at each budget", low=1)
    votes: tuple[int, ...] = setting((1, 2, 4, 8, 16, 32), "numbers of attempts for majority vote and oracle")
    vote_problems: int = setting(100, "held-out problems of the votes", low=1)
    vote_budget: int = setting(8, "maximum thinking tokens of an attempt in a vote", low=0)
    every: int = setting(5, "steps between two evaluations on validation problems", low=1)
    curve_problems: int = setting(250, "validation problems of such an evaluation", low=1)
    curve_attempts: int = setting(2, "attempts per problem in such an evaluation", low=1)

    def __post_init__(self) -> None:
        """Raises SettingsError if `budgets` or `votes` is empty or has a value below its minimum."""
        for name, low in (("budgets", 0), ("votes", 1)):
            values = getattr(self, name)
            if not values or min(values) < low:
                message = f"evaluate.{name} must be one or more numbers from {low} on: received {list(values)}"
                raise SettingsError(message)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of one run, from initial weights to a report.

    Attributes:
        stage: the stages in their order; `[[stage]]` in TOML.
    """

    schema_version: int = SCHEMA
    name: str = setting("run", "name of the run; left out: the name of the recipe's file")
    task: str = setting("recurrence", "name of the task, as in `poziomka tasks`")
    levels: tuple[int, ...] | None = setting(
        None, "lowest and highest level of the training problems; none: all; held-out problems have all levels"
    )
    seed: int = setting(0, "seed of all random numbers", low=0)
    threads: int = setting(
        2, "threads of PyTorch; results are bit-identical only for the same number", low=1, high=1024
    )
    save_every: int = setting(200, "steps between two checkpoints, at most ten minutes apart", low=1)
    watchdog: float | None = setting(
        120.0, "seconds without a logged line after which the busy component is reported; none: never", low=0.01
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    tools: ToolsSettings | None = setting(None, "tools that the model can call while it thinks; none: nothing")
    stage: tuple[Stage, ...] = field(
        default_factory=lambda: (SFTSettings(), RLSettings(require=RequireSettings(thinking_gain=0.3)))
    )
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)

    def __post_init__(self) -> None:
        """Raises SettingsError for an invalid range of levels, no stage, or names of stages that are not unique."""
        if self.levels is not None and (len(self.levels) != 2 or self.levels[0] > self.levels[1]):
            message = f"levels must be two numbers, the lowest and the highest: received {list(self.levels)}"
            raise SettingsError(message)
        names = [stage.name for stage in self.stage]
        if not names:
            message = f"a recipe needs a stage: write [[stage]] with a kind, one of {', '.join(STAGES)}"
            raise SettingsError(message)
        if twice := next((name for name in names if names.count(name) > 1), None):
            message = f'two stages are called {twice!r}: give each a name of its own, name = "{twice}_2" for one'
            raise SettingsError(message)

    @property
    def kind(self) -> Kind:
        """Kind of training: which weights are trained, and whether they are pretrained."""
        return kind_of(self.model.load, self.model.lora)

    @property
    def sampled(self) -> tuple[Sampled, ...]:
        """The stages that sample replies: those of kind rl and distill."""
        return tuple(stage for stage in self.stage if isinstance(stage, Sampled))

    @property
    def sampling(self) -> SamplingParams:
        """Sampling settings for held-out problems: those of the last stage that samples, or the defaults of rl."""
        stages = self.sampled
        return stages[-1].sampling if stages else RLSettings().sampling

    @property
    def compared(self) -> str:
        """Name of the first stage that is not sft, before which the model is evaluated for comparison; "" for none."""
        return next((stage.name for stage in self.stage if not isinstance(stage, SFTSettings)), "")

    def named(self, name: str) -> Stage:
        """Returns the stage with a name.

        Raises:
            SettingsError: no stage has this name.
        """
        found = next((stage for stage in self.stage if stage.name == name), None)
        if found is None:
            message = f"no stage is called {name!r}{nearest(name, [stage.name for stage in self.stage])}"
            raise SettingsError(message)
        return found


def read_recipe(path: Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe from a TOML file, or from a run's folder; a recipe without a name has that of its file.

    The name of FOLDER/recipe.toml is FOLDER.

    Args:
        path: the file, or a folder with recipe.toml.
        changes: settings to change, written `name=value`; `rl.steps=5` is a setting of the stage called rl.

    Raises:
        SettingsError: the file is missing or not TOML, a name is unknown, a value has the wrong type or is out of
            range, or the recipe has another schema version.
    """
    file = path / "recipe.toml" if path.is_dir() else path
    named = file.absolute().parent if file.stem == "recipe" else file
    return recipe_of({"name": named.stem} | read_toml(file), changes, str(path))


def recipe_of(values: Mapping[str, Any], changes: tuple[str, ...] = (), where: str = "recipe") -> Recipe:
    """Returns the recipe of parsed TOML values; raises SettingsError as `read_recipe` does.

    Args:
        values: settings by name; those left out have the defaults of the recipe's kind of training.
        changes: settings to change, written `name=value`.
        where: name of the recipe in errors.
    """
    try:
        return _recipe(values, changes, "--set" if changes else where)
    except SettingsError:
        if changes:
            _recipe(values, (), where)  # raises if the recipe itself is wrong, not a change
        raise


def _recipe(values: Mapping[str, Any], changes: tuple[str, ...], where: str) -> Recipe:
    _demand_version(values, where)
    if values.get("kind") == EVALUATION:
        message = f"{where} is an evaluation, with rollouts and no weights: give a recipe, or the folder of a run"
        raise SettingsError(message)
    known = {each.name for each in fields(Recipe)} - {"stage"}
    firsts = {change: change.partition("=")[0].strip().partition(".")[0] for change in changes}
    given = override(values, [change for change in changes if firsts[change] in known])
    kind = _kind_of(given.get("model"))
    stages = _stages_by_name(given.pop("stage", kinds.STAGES[kind]), where)
    own = [change for change in changes if firsts[change] in stages and firsts[change] not in known]
    stages = override(stages, own)
    given = override(given, [change for change in changes if firsts[change] not in {*known, *stages}])
    _demand_version(given, where)
    demand_own_names(Recipe, given, where)
    if strange := next((name for name in given if name not in known), None):
        message = f"unknown setting {strange!r} in {where}{nearest(strange, [*known, *stages])}"
        raise SettingsError(message)
    if isinstance(given.get("tools"), str):
        message = f"{where}.tools must be a table: received {shown(given['tools'])}; write tools.python={{}} for one"
        raise SettingsError(message)
    model = given.get("model")
    if model is None or (isinstance(model, Mapping) and model.get("load") is None and "new" not in model):
        model = {**(model or {}), "new": {}}
    if isinstance(model, Mapping):
        given["model"] = model = kinds.model_of(model, kind)
    thinks = isinstance(model, Mapping) and model.get("thinks") is True
    built = tuple(_stage(name, stages[name], kind, f"{where}.{name}", thinks=thinks) for name in stages)
    if isinstance(given.get("evaluate", {}), Mapping):
        given["evaluate"] = _evaluate(given.get("evaluate", {}), kind, built, thinks=thinks)
    return build(Recipe, {**given, "stage": built}, where)


def _evaluate(given: Mapping[str, Any], kind: Kind, stages: tuple[Stage, ...], *, thinks: bool) -> dict[str, Any]:
    """Returns the settings of evaluations, completed with defaults that depend on the last stage that samples."""
    last = next((stage for stage in reversed(stages) if isinstance(stage, Sampled)), RLSettings())
    budget = last.max_tokens // 2 if last.max_thinking_tokens is None else last.max_thinking_tokens
    steps = stages[-1].steps if stages else 0
    return kinds.evaluate_of(given, kind, budget=budget if thinks else 0, steps=steps)


def resolved(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns a run's stored recipe as TOML values, with the defaults of settings that are newer than the run.

    Raises:
        SettingsError: as for `read_recipe`.
    """
    return plain(recipe_of(values, where=where))


def _demand_version(values: Mapping[str, Any], where: str) -> None:
    version = values.get("schema_version", SCHEMA)
    if version == 1 and not isinstance(version, bool):
        message = (
            f"{where} has schema_version 1, and this version of poziomka reads {SCHEMA}: "
            f"`poziomka recipes convert {where} [NEW]` converts it"
        )
        raise SettingsError(message)
    if version != SCHEMA or isinstance(version, bool):
        message = (
            f"{where} has schema_version {version!r}, and this version of poziomka reads {SCHEMA}: "
            "use the version that wrote it, or write the recipe anew"
        )
        raise SettingsError(message)


def _kind_of(model: Any) -> Kind:
    table = model if isinstance(model, Mapping) else {}
    return kind_of(table.get("load"), table.get("lora"))


def _stages_by_name(given: Any, where: str) -> dict[str, dict[str, Any]]:
    """Returns the tables of a recipe's stages by name, in their order, each with its kind and name.

    Raises:
        SettingsError: `given` is not a list of tables, a kind is unknown, or a name is used twice or reserved.
    """
    if not isinstance(given, list | tuple) or not all(isinstance(each, Mapping) for each in given):
        message = f"{where}.stage must be a list of tables, each under [[stage]]: received {shown(given)}"
        raise SettingsError(message)
    found: dict[str, dict[str, Any]] = {}
    taken = {each.name for each in fields(Recipe)} | {"start", *FIXED}
    for number, table in enumerate(given, 1):
        kind = table.get("kind")
        if kind not in STAGES:
            hint = nearest(kind, STAGES) if isinstance(kind, str) else ""
            message = (
                f"{where}: stage {number} must have a kind, one of {', '.join(STAGES)}: received {shown(kind)}{hint}"
            )
            raise SettingsError(message)
        name = table.get("name", kind)
        if not isinstance(name, str) or name in taken:
            message = f"{where}: stage {number} cannot be called {shown(name)}: another setting or part has this name"
            raise SettingsError(message)
        if name in found:
            message = f'{where}: two stages are called {name!r}: give each a name of its own, name = "{name}_2" for one'
            raise SettingsError(message)
        found[name] = {**table, "kind": kind, "name": name}
    return found


def _stage(name: str, values: Any, kind: Kind, where: str, *, thinks: bool) -> Stage:
    """Returns a stage from values parsed from TOML, completed with the defaults of its kind and kind of training."""
    if not isinstance(values, Mapping):
        message = f"{where} must be a table of settings: received {shown(values)}"
        raise SettingsError(message)
    made = STAGES.get(values["kind"])
    if made is None:
        message = f"{where}.kind must be one of {', '.join(STAGES)}: received {shown(values['kind'])}"
        raise SettingsError(message)
    demand_own_names(made, values, where, name)
    return build(made, kinds.completed(values, kind, thinks=thinks), where)
