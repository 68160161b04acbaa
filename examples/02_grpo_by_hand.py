"""GRPO by hand: the loop of reinforcement learning from public pieces, without recipes and run folders.

    python examples/02_grpo_by_hand.py

A transformer of 20 thousand weights learns from nothing, by reward alone, to repeat two symbols. The loop computes what
`poziomka train` computes: the same rewards, step by step.
"""

from dataclasses import dataclass
from random import Random
from statistics import fmean

from poziomka import Problem, SamplingParams, Score, Task, Transcript, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.seeds import seed_of
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.advantages import group_std
from poziomka.learning.samples.weighting import policy_examples
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings

SYMBOLS = ("a", "b", "c")
PROMPTS_PER_STEP, GROUP_SIZE, LEARNING_RATE = 8, 8, 1e-2


def source(split: str, index: int, _level: int | None) -> Problem:
    """Returns a problem: two symbols, drawn at random; the split and the index name the draw."""
    random = Random(seed_of("repeat", split, index))
    words = " ".join(random.choice(SYMBOLS) for _ in range(2))
    return Problem.ask("repeat", f"{split}{index}", f" {words}", words)


def scorer(problem: Problem, transcript: Transcript) -> Score:
    """Scores the text after the thought: the share of symbols in their places."""
    answer = transcript.answer
    pairs = zip(answer.split(), problem.answer.split(), strict=False)
    right = sum(one == two for one, two in pairs) / len(problem.answer.split())
    return Score(right, Verdict.CORRECT if right == 1 else Verdict.WRONG, answer)


task = Task("repeat", source, scorer, trusted=True, symbols=SYMBOLS)


@dataclass
class Parts:
    """The model that learns, the sampler that writes with a copy of its weights, and the learner."""

    sampler: LocalSampler
    learner: Learner

    @classmethod
    def build(cls, seed: int = 0) -> "Parts":
        """Returns fresh parts: a transformer with one layer, a tokenizer with a token per symbol, AdamW."""
        tokenizer = Tokenizer.of_symbols(SYMBOLS)
        settings = TransformerSettings(width=32, layers=1, heads=2)
        model = build_model("transformer", settings, len(tokenizer), seed)
        optimizer = OptimizerSettings(learning_rate=LEARNING_RATE, warmup_steps=0, decay_ratio=0.0)
        return cls(LocalSampler(model, PlainFormat(tokenizer)), Learner(model, LearnerSettings(optimizer=optimizer)))


def rollout(problem: Problem, name: str, transcript: Transcript) -> Rollout:
    """Returns a judged attempt."""
    return Rollout(name, problem, (Branch(transcript, scorer(problem, transcript)),))


async def sample(sampler: LocalSampler, problem: Problem, names: list[str]) -> list[Rollout]:
    """Returns a group: one attempt at a problem for each name, which also names the attempt's seed."""
    prompt = Transcript.of(problem.prompt)
    seeds = [seed_of("rollout", problem.task, name) for name in names]
    samplings = [SamplingParams(temperature=1.0, max_tokens=2, max_thinking_tokens=0, seed=seed) for seed in seeds]
    replies = await sampler.branch(prompt, samplings)
    return [rollout(problem, *pair) for pair in zip(names, replies, strict=True)]


def grpo(parts: Parts, steps: int, seed: int = 0) -> list[float]:
    """Returns the mean reward of each step.

    For each step: groups of attempts; advantages (R - mean) / std within the group (Shao et al. 2024, arXiv
    2402.03300); one AdamW step on the mean over prompts of the mean over their tokens; the sampler loads the weights.
    """
    sampler, learner = parts.sampler, parts.learner
    first = seed_of("curriculum", seed) % 2**40
    rewards = []
    wait_for(sampler.load_weights("step-000000", learner.weights()))
    for step in range(1, steps + 1):
        problems = task.take("train", first + (step - 1) * PROMPTS_PER_STEP, PROMPTS_PER_STEP)
        groups = []
        for number, problem in enumerate(problems):
            names = [f"train/{seed}/{step}/{number}/{problem.key}/{attempt}" for attempt in range(GROUP_SIZE)]
            groups.append(wait_for(sample(sampler, problem, names)))
        rewards.append(fmean(attempt.score.reward or 0.0 for group in groups for attempt in group))
        batch = learner.pack(policy_examples(groups, group_std(groups), "prompt"))
        sums = learner.forward_backward(batch)
        learner.optim_step(LEARNING_RATE, sums)
        wait_for(sampler.load_weights(f"step-{step:06d}", learner.weights()))
    return rewards


if __name__ == "__main__":
    for step, reward in enumerate(grpo(Parts.build(), 40), 1):
        print(f"step {step:3d}  mean reward {reward:.2f}")
