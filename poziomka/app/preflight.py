"""Checks before training: strategies of stages, the memory of a step, and notes on settings without effect."""

from collections.abc import Sequence

import torch

from poziomka.app.settings.recipe import Recipe, Stage
from poziomka.core.errors import ModelError, SettingsError
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler
from poziomka.core.splits import TEST
from poziomka.core.strategy import Strategy
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.inference.engine import READ_AT_ONCE, EngineLimits
from poziomka.learning.loops.distill import DistillSettings
from poziomka.learning.loops.rl import RLSettings
from poziomka.learning.memory_estimate import step_bytes
from poziomka.models.base import Architecture
from poziomka.models.cache import room_for
from poziomka.models.layers.linear import laid_out
from poziomka.models.memory_limits import free_memory
from poziomka.models.text.chat import ChatFormat
from poziomka.reports.words import scaled
from poziomka.thinking.budget import Budget, Continue, RandomBudget
from poziomka.thinking.judges.confidence import ExactJudge, Logprobs
from poziomka.thinking.majority import Majority
from poziomka.thinking.parallel import BestOf
from poziomka.thinking.registry import Part, gold_in, parts_of, strategy_of
from poziomka.thinking.size import most_branches

ADVICE = (
    "take a smaller model or LoRA, a smaller prompts_per_step or group_size, fewer max_tokens, "
    "fewer microbatch_tokens, or set gradient_checkpointing"
)

BLIND = (Budget, RandomBudget, Continue, Majority, BestOf)  # their requests do not depend on the replies of inner ones


def needs(
    model: Architecture,
    chat: ChatFormat,
    prompts: Sequence[Transcript],
    settings: RLSettings | DistillSettings,
    *,
    context: int | None = None,
    turns: bool = False,
    branches: int = 1,
) -> dict[str, float]:
    """Returns the estimated peak memory of a training step in bytes: "weights", "optimizer" and "work".

    "work" is the larger of sampling and learning, which do not overlap. The sampler has its own weights. During
    learning, its caches are freed, and so are weights that it keeps in another memory layout, except the embedding.

    Args:
        model: the model to train, with its adapters.
        chat: chat format that tokenizes the prompts.
        prompts: some of the prompts to come, tools included; the longest determines the estimate.
        settings: number and length of attempts, and the learner's settings.
        context: largest number of tokens of a transcript; None for the model's own limit.
        turns: whether attempts wait for an environment, so that their caches are kept meanwhile.
        branches: largest number of branches of an attempt.
    """
    rows = settings.prompts_per_step * settings.group_size * branches
    longest = max(_length(chat, prompt) for prompt in prompts)
    bounds = [most for most in (context, model.context) if most is not None]
    length = min(longest + settings.max_tokens, *bounds) if bounds else longest + settings.max_tokens
    learning = step_bytes(model, settings.learner, rows * length, length)
    sampling = learning["weights"] + remembered_bytes(model, rows, length, settings.prompts_per_step, longest)
    if turns:
        limits = EngineLimits()
        sampling += min(limits.cached_bytes, min(rows * length, limits.cached) * bytes_a_token(model))
    return {
        "weights": learning["weights"],
        "optimizer": learning["optimizer"],
        "work": max(sampling, resting_bytes(model) + learning["activations"] + learning["head"]),
    }


def strategy_in(stage: RLSettings, sampler: Sampler | None, scoring: Scoring) -> Strategy:
    """Returns the strategy that makes the attempts of a stage.

    Args:
        stage: settings of the stage.
        sampler: sampler of the policy; None if the strategy is only checked.
        scoring: scores replies for exact judges.

    Raises:
        SettingsError: the strategy is unknown, a judge of it cannot be had, or it lets gold answers decide what the
            model reads or goes on with, which they cannot do when it is used.
    """
    if stage.strategy is None:
        return SINGLE_REPLY
    try:
        _demand_no_gold(stage.strategy)
        # to check a text without a sampler, a judge of the same form takes the place of the one that needs it
        judges: dict[str, Part] = {"certainty": Logprobs(), "exact": ExactJudge(scoring)}
        judges |= {} if sampler is None else parts_of(sampler, scoring)
        return strategy_of(stage.strategy, judges)
    except SettingsError as error:
        message = f"{stage.name}.strategy = {stage.strategy!r}: {error}"
        raise SettingsError(message) from error


def _demand_no_gold(text: str) -> None:
    """Raises SettingsError if gold answers decide more than which complete reply answers, as they may in pass@k."""
    for (*outer, own), gold in gold_in(text):
        only_answers = own is BestOf and all(made in BLIND for made in outer)
        if gold == "scorer" or (gold == "exact" and not only_answers):
            message = (
                f"{gold!r} would let gold answers decide what the model reads or goes on with, which the trained "
                "model will not have: choose another judge or feedback; rewards use gold answers anyway"
            )
            raise SettingsError(message)


def checked_strategy(stage: Stage, task: Task) -> Strategy:
    """Returns the strategy of a stage, a single reply if it has none, to look at; its judges may be stand-ins.

    Raises:
        SettingsError: as for `strategy_in`.
    """
    if not isinstance(stage, RLSettings):
        return SINGLE_REPLY
    with Scoring(task, stage.scorer_seconds) as scoring:
        return strategy_in(stage, None, scoring)


def branches_of(stage: Stage, task: Task) -> int:
    """Returns the largest number of branches of an attempt in a stage."""
    return most_branches(checked_strategy(stage, task))


def demand_strategies(recipe: Recipe, task: Task) -> None:
    """Raises SettingsError if a stage of a recipe has a strategy that cannot be trained with; see `strategy_in`."""
    for stage in recipe.stage:
        checked_strategy(stage, task)


def _length(chat: ChatFormat, prompt: Transcript) -> int:
    """Returns the number of tokens of a prompt; 0 if the chat format refuses it, which its attempts will record."""
    try:
        return len(chat.read(prompt))
    except ModelError:
        return 0


def demand_memory(needed: dict[str, float], device: torch.device) -> None:
    """Raises ModelError if a training step needs more memory than is free; the message gives the estimate and advice.

    Args:
        needed: estimated bytes by part, as `needs` returns.
        device: device of the model.
    """
    there = free_memory(device)
    if sum(needed.values()) > there:
        message = f"a step needs {in_words(needed)} of memory, and {scaled(there, 'B')} are free: {ADVICE}"
        raise ModelError(message)


def in_words(needed: dict[str, float]) -> str:
    """Returns a memory estimate, bytes by part, as text for messages: the total and its parts."""
    parts = ", ".join(f"{what} {scaled(amount, 'B')}" for what, amount in needed.items())
    return f"about {scaled(sum(needed.values()), 'B')} ({parts})"


def remembered_bytes(model: Architecture, rows: int, length: int, problems: int, prompt: int) -> float:
    """Returns the peak bytes of the engine's decode cache for `rows` sequences of `length` tokens each.

    The peak is the larger of two: at the end, the cache of all sequences plus a copy of one layer's tensor while it
    grows; at the beginning, the prompts of all sequences, `prompt` tokens each, plus those of the `problems` prompts
    that prefill reads in one pass. A CPU commits memory when it is written, so unused capacity counts on other devices
    only.

    Args:
        model: the model to sample from.
        rows: number of sequences.
        length: tokens of a sequence, prompt included.
        problems: number of different prompts.
        prompt: tokens of the longest prompt.
    """
    with torch.no_grad():
        one = model.memory(1, length if model.device.type == "cpu" else room_for(length))
    tensors = [rows * layer.nbytes for layers in one.stores.values() for layer in layers]
    begun = (rows * prompt + min(problems * prompt, READ_AT_ONCE)) * bytes_a_token(model)
    return max(sum(tensors) + max(tensors), begun)


def bytes_a_token(model: Architecture) -> float:
    """Returns the bytes of decode cache for each token of a sequence."""
    with torch.no_grad():
        short, long = (model.memory(1, length).nbytes for length in (64, 128))
    return (long - short) / 64


def resting_bytes(model: Architecture) -> int:
    """Returns the bytes of the sampler's own weights while the learner works.

    Weights that the sampler keeps in another memory layout are freed then, and do not count.
    """
    return sum(p.nbytes for p in model.parameters()) - sum(weight.nbytes for weight in laid_out(model))


def notes_on(recipe: Recipe, task: Task) -> list[str]:
    """Returns sentences about settings of a recipe that cannot do what they ask for.

    Args:
        recipe: recipe with stages and evaluations.
        task: task with the validation and test problems.
    """
    return [*_fewer_problems(recipe, task), *_long_thoughts(recipe)]


def _fewer_problems(recipe: Recipe, task: Task) -> list[str]:
    """Returns a sentence about the evaluations that ask for more problems than a split has; [] if there are none."""
    settings = recipe.evaluate
    asked = [
        (TEST, "evaluate.problems", settings.problems),
        (TEST, "evaluate.vote_problems", settings.vote_problems),
        (settings.split, "evaluate.curve_problems", settings.curve_problems),
    ]
    asked += [
        (settings.split, f"{each.name}.require.problems", each.require.problems)
        for each in recipe.stage
        if each.require
    ]
    there = [(task.available(split, count), split, name, count) for split, name, count in asked]
    told = [f"{name} = {count} of {few} in {split!r}" for few, split, name, count in there if few < count]
    return [f"task {task.name!r} has fewer problems than evaluations ask for: {', '.join(told)}"] if told else []


def _long_thoughts(recipe: Recipe) -> list[str]:
    """Returns a sentence about each stage whose thoughts may take all tokens of a reply."""
    thinking = recipe.sampled if recipe.model.load is None or recipe.model.thinks else ()
    return [
        f"{each.name}.max_thinking_tokens = {each.max_thinking_tokens} leaves no token for an answer where "
        f"{each.name}.max_tokens = {each.max_tokens}, which includes the thought: lower the first or raise the second"
        for each in thinking
        if each.max_thinking_tokens is not None and each.max_thinking_tokens >= each.max_tokens
    ]
