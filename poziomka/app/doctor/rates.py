"""Check that the learning rates are usual for the kind of training and the size of the model."""

from poziomka.app.doctor.finding import Finding
from poziomka.app.doctor.parts import Bench
from poziomka.app.settings.kinds import usual_rates
from poziomka.reports.words import scaled

WILD = 5.0  # a rate above this many times the usual range fails: training diverges or destroys what was learned


def rates(bench: Bench) -> list[Finding]:
    """Compares each stage's learning rate with the usual range for its kind of training and size of model.

    A rate outside of the range is a warning, one above five times the range (WILD) a failure. Returns [] without a
    recipe.
    """
    recipe = bench.parts.recipe
    if recipe is None:
        return []
    parameters = bench.parts.model.parameters_count
    usual = usual_rates(recipe.kind, parameters)
    what = f"{recipe.kind} of {scaled(parameters)} parameters"
    found = []
    for stage in recipe.stage:
        if stage.steps:
            rate, setting = stage.optimizer.learning_rate, f"{stage.name}.optimizer.learning_rate"
            found.append(_compared(f"{stage.name} rate", setting, rate, usual.of(stage.kind), what))
    return found


def _compared(name: str, setting: str, rate: float, usual: tuple[float, float], what: str) -> Finding:
    low, high = usual
    figure = f"{rate:g}, where {low:g} to {high:g} is usual for {what}"
    if low <= rate <= high:
        return Finding.passed(name, figure)
    if rate < low:
        return Finding.warned(name, figure, f"little will be learned: raise {setting} to {low:g} or more")
    advice = f"lower {setting} to {high:g} or less"
    if rate > WILD * high:
        return Finding.failed(name, figure, f"such a rate destroys what the model has learned: {advice}")
    return Finding.warned(name, figure, f"training may become unstable: {advice}")
