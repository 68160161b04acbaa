"""Will it fit, how long will it take, and is there anything to learn from?"""

from statistics import fmean

from poziomka.learning.advantages import informative
from poziomka.models.room import free_memory
from poziomka.reports.words import duration, percent, scaled
from poziomka.training.doctor.finding import Finding
from poziomka.training.doctor.parts import Bench
from poziomka.training.preflight import ADVICE, in_words, needs

TIGHT = 0.8  # share of the available memory from which on an estimate is no promise


def memory(bench: Bench) -> Finding:
    """Compares an estimate of a step's peak with the memory there is."""
    parts, name = bench.parts, "memory"
    turns = parts.task.environment is not None
    held = needs(parts.model, parts.chat, bench.prompts, parts.settings, turns=turns)
    there = free_memory(parts.model.device)
    figure, needed = f"{in_words(held)} at the peak of a step, of {scaled(there, 'B')}", sum(held.values())
    if needed > there:
        return Finding.failed(name, figure, ADVICE)
    return Finding.warned(name, figure, ADVICE) if needed > TIGHT * there else Finding.passed(name, figure)


def variance(bench: Bench) -> Finding:
    """Looks whether attempts at a problem differ in reward: only then is there anything to learn from."""
    name = "rewards"
    judged = [rollout for rollout in bench.rollouts if rollout.score.reward is not None]
    if not judged:
        why = bench.rollouts[0].score.why
        return Finding.failed(name, f"no check came to a verdict: {why}", "mend the scorer or the environment")
    rate, share = fmean(r.score.correct for r in judged), fmean(informative(group) for group in bench.groups)
    shown = f"{percent(rate)} of {len(judged)} attempts right, "
    shown += f"{percent(share)} of {len(bench.groups)} groups with different rewards"
    if not bench.parts.warmed:
        return Finding.passed(name, f"{shown} (the warm start comes first)")
    if share == 0:
        way = "an easier task, more attempts or a warm start" if rate < 0.5 else "a harder task"
        return Finding.warned(name, shown, f"such groups teach nothing: take {way}")
    return Finding.passed(name, shown)


def seconds(bench: Bench) -> Finding:
    """Scales what sampling and learning took here to a whole step of the recipe.

    Rows that are sampled together share the work: at best more rows take no longer, at worst as much longer.
    """
    settings, taken = bench.parts.settings, bench.seconds
    rows = settings.problems * settings.attempts
    learning = taken["learning"] * rows / sum(len(group) for group in bench.few)
    low, high = (taken["sampling"] * more + learning for more in (1.0, rows / len(bench.rollouts)))
    spoken = [duration(low)] if high < 1.1 * low else [duration(low), duration(high)]
    stage = [duration(value * settings.steps) for value in (low, high)][: len(spoken)]
    figure = f"a step of {rows} rollouts {' to '.join(spoken)}, {settings.steps} steps {' to '.join(stage)}"
    return Finding.passed("time", figure)
