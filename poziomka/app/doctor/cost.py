"""Checks of memory, time and reward variance."""

from collections.abc import Sequence
from math import ceil
from statistics import fmean

from poziomka.app.doctor.finding import Finding
from poziomka.app.doctor.parts import Bench
from poziomka.app.doctor.plan import evaluations
from poziomka.app.preflight import ADVICE, branches_of, in_words, needs
from poziomka.inference.engine import EngineLimits
from poziomka.learning.loops.sft import SFTSettings
from poziomka.learning.samples.advantages import informative
from poziomka.models.memory_limits import free_memory
from poziomka.reports.words import counted, duration, percent, scaled

TIGHT = 0.8  # share of free memory above which the estimate is too uncertain to pass


def memory(bench: Bench) -> Finding:
    """Compares the estimated peak memory of a training step with the free memory."""
    parts, name = bench.parts, "memory"
    turns = parts.task.environment is not None
    context = None if parts.recipe is None else parts.recipe.model.context
    branches = branches_of(parts.settings, parts.task)
    held = needs(
        parts.model, parts.chat, bench.prompts, parts.settings, context=context, turns=turns, branches=branches
    )
    there = free_memory(parts.model.device)
    figure, needed = f"{in_words(held)} at the peak of a step, of {scaled(there, 'B')}", sum(held.values())
    if needed > there:
        return Finding.failed(name, figure, ADVICE)
    return Finding.warned(name, figure, ADVICE) if needed > TIGHT * there else Finding.passed(name, figure)


def variance(bench: Bench) -> Finding:
    """Checks that attempts at the same problem differ in reward, since equal rewards in a group give no gradient."""
    name = "rewards"
    judged = [rollout for rollout in bench.rollouts if rollout.score.reward is not None]
    if not judged:
        why = bench.rollouts[0].score.why
        return Finding.failed(name, f"no check came to a verdict: {why}", "mend the scorer or the environment")
    rate, share = fmean(r.score.correct for r in judged), fmean(informative(group) for group in bench.groups)
    shown = f"{percent(rate)} of {len(judged)} attempts right, "
    shown += f"{percent(share)} of {len(bench.groups)} groups with different rewards"
    if not bench.parts.warmed:
        return Finding.passed(name, f"{shown} (another stage comes first)")
    if share == 0:
        way = "an easier task, more attempts or a warm start" if rate < 0.5 else "a harder task"
        return Finding.warned(name, shown, f"such groups teach nothing: take {way}")
    return Finding.passed(name, shown)


def seconds(bench: Bench) -> Finding:
    """Estimates the time of a step and of the whole run from the measured times of sampling and learning.

    The estimate is a range, because sequences sampled in one batch share work: at best, more of them take no longer
    than the measured ones; at worst, proportionally longer. A strategy's attempt counts with all its branches, each as
    long as a single reply, which is what the doctor samples. Without a recipe, only the time of reinforcement is
    estimated.
    """
    settings, taken = bench.parts.settings, bench.seconds
    branches = branches_of(settings, bench.parts.task)
    rows = settings.prompts_per_step * settings.group_size * branches
    learning = taken["learning"] * rows / sum(len(group) for group in bench.few)
    low, high = (amount + learning for amount in _sampling(bench, [rows]))
    stage = (low * settings.steps, high * settings.steps)
    said = f"a step of {rows} {'rollouts' if branches == 1 else 'branches'} {_range(low, high)}"
    spans = {counted(settings.steps, "step"): stage} | _around(bench)
    phases = [f"{phase} {_range(*span)}" for phase, span in spans.items()]
    if len(phases) > 1:
        phases.append(f"in all {_range(*map(sum, zip(*spans.values(), strict=True)))}")
    return Finding.passed("time", "; ".join([said, *phases]))


def _around(bench: Bench) -> dict[str, tuple[float, float]]:
    """Returns (least, most) seconds of each sft stage and of all evaluations, by a description of each."""
    recipe = bench.parts.recipe
    if recipe is None:
        return {}
    found = {}
    tokens = sum(len(rollout.transcript) for group in bench.few for rollout in group)
    for stage in recipe.stage:
        if isinstance(stage, SFTSettings) and stage.steps:
            each = bench.seconds["learning"] * stage.demonstrations.tokens_per_step / tokens
            found[f"{stage.name} of {counted(stage.steps, 'step')}"] = (each * stage.steps, each * stage.steps)
    sizes = evaluations(recipe, bench.parts.task)
    found[f"evaluation of {counted(sum(sizes), 'attempt')}"] = _sampling(bench, sizes)
    return found


def _sampling(bench: Bench, sizes: Sequence[int]) -> tuple[float, float]:
    """Returns the least and most seconds to sample batches one after another; `sizes` are their rollouts."""
    taken, count, together = bench.seconds["sampling"], len(bench.rollouts), EngineLimits().rows
    least = taken * sum(ceil(size / together) for size in sizes)
    return least, max(least, taken * sum(sizes) / count)


def _range(low: float, high: float) -> str:
    return duration(low) if high < 1.1 * low else f"{duration(low)} to {duration(high)}"
