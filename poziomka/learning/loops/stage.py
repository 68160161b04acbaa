"""Settings that stages of a recipe share: name, number of steps, gate, learner, and those of stages that sample."""

import re
from dataclasses import dataclass, field, fields

from poziomka.core.errors import SettingsError
from poziomka.core.sampler import SamplingParams
from poziomka.core.settings import setting
from poziomka.learning.curriculum.levels import CurriculumSettings
from poziomka.learning.learner import LearnerSettings

NAME = "name of the stage in metrics and checkpoints, unique in the recipe"


@dataclass(frozen=True, kw_only=True)
class RequireSettings:
    """Settings of a stage's gate: accuracy and gain from thinking that the model must reach before the stage starts."""

    thinking_gain: float | None = setting(
        None,
        "minimum gain in accuracy from thinking before the stage starts; none: no condition",
        low=-1.0,
        high=1.0,
    )
    accuracy: float | None = setting(
        None, "minimum accuracy, made to think, before the stage starts; none: no condition", low=0.0, high=1.0
    )
    problems: int = setting(200, "held-out problems on which the conditions are measured", low=10)


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """Settings that every stage of a recipe has.

    The settings class of each kind of stage inherits from this class and from LearnerSettings, and adds its own fields.
    """

    kind: str = "stage"
    name: str = setting("stage", NAME)
    steps: int = setting(1, "steps of the stage", low=0)
    require: RequireSettings | None = setting(None, "what the model must reach before the stage; none: nothing")

    def __post_init__(self) -> None:
        """Raises SettingsError unless `name` is a letter followed by letters, digits, "-" and "_"."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            message = f"a stage's name must be a letter, then letters, digits, '-' and '_': received {self.name!r}"
            raise SettingsError(message)

    @property
    def learner(self) -> LearnerSettings:
        """The learner's part of these settings, as LearnerSettings; needs a subclass that has them."""
        return LearnerSettings(**{field.name: getattr(self, field.name) for field in fields(LearnerSettings)})


@dataclass(frozen=True, kw_only=True)
class SampledSettings(LearnerSettings, StageSettings):
    """Settings of a stage that samples replies to problems in each step and learns from them."""

    prompts_per_step: int = setting(32, "prompts per step", low=1)
    group_size: int = setting(1, "replies per prompt", low=1)
    temperature: float = setting(1.0, "sampling temperature", low=1e-6)
    max_tokens: int = setting(70, "maximum tokens of a reply, thinking tokens included", low=1)
    max_thinking_tokens: int | None = setting(
        64, "maximum thinking tokens, after which the thought is closed; none: no limit", low=0
    )
    scorer_seconds: float = setting(10.0, "time limit of one check by an untrusted scorer", low=0.001)
    curriculum: CurriculumSettings = field(default_factory=CurriculumSettings)

    @property
    def sampling(self) -> SamplingParams:
        """Sampling parameters of the replies."""
        return SamplingParams(
            temperature=self.temperature, max_tokens=self.max_tokens, max_thinking_tokens=self.max_thinking_tokens
        )
