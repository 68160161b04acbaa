"""Settings that every stage of a recipe has: its name, its number of steps, its gate, and those of its learner."""

import re
from dataclasses import dataclass, fields

from poziomka.core.errors import SettingsError
from poziomka.core.settings import setting
from poziomka.learning.learner import LearnerSettings

NAME = "name of the stage in metrics and checkpoints, unique in the recipe"


@dataclass(frozen=True, kw_only=True)
class RequireSettings:
    """Gate of a stage: what the model must reach on held-out problems before the stage starts."""

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
    """Settings of a stage of any kind; a kind adds its own and those of its learner, without a table around them."""

    kind: str = "stage"
    name: str = setting("stage", NAME)
    steps: int = setting(1, "steps of the stage", low=0)
    require: RequireSettings | None = setting(None, "what the model must reach before the stage; none: nothing")

    def __post_init__(self) -> None:
        """Raises SettingsError for a name that a file, or a setting's path, cannot have."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            message = f"a stage's name must be a letter, then letters, digits, '-' and '_': received {self.name!r}"
            raise SettingsError(message)

    @property
    def learner(self) -> LearnerSettings:
        """Settings of the stage's learner."""
        return LearnerSettings(**{field.name: getattr(self, field.name) for field in fields(LearnerSettings)})
