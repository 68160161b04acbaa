"""Four strategies, each trained by the same loop: the accuracy rises over the untrained model, on three seeds."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import Collector, wait_for
from poziomka.core.rollouts.evaluation import evaluate, paired_gain
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampling
from poziomka.core.task import Task, asked
from poziomka.core.transcript import Span
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.loops.sft import finetune
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.branches import by_role
from poziomka.learning.session import Progress
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs import Run
from poziomka.thinking.budget import Budget
from poziomka.thinking.majority import Majority
from poziomka.thinking.thinker import Thinker

torch.set_num_threads(1)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GAME, TREE = (runpy.run_path(str(EXAMPLES / name)) for name in ("03_self_play.py", "04_tree_search.py"))
SelfPlay, heap_game, single_moves, Tree = GAME["SelfPlay"], GAME["heap_game"], GAME["single_moves"], TREE["Tree"]
SEEDS = (0, 1, 2)
DEFAULTS = {"prompts_per_step": 8, "group_size": 4, "max_thinking_tokens": None, "drop_solved_above": None}
PAIRS = [f"{one}{two}" for one in "ab" for two in "ab"]


def source(split, index, level):
    pair = PAIRS[index % len(PAIRS)]
    return Problem.ask("pairs", f"{split}{index}", f" {pair[0]} {pair[1]}", f"{pair[0]} {pair[1]}")


def shares(problem, transcript):
    """The share of the two symbols that are in their places."""
    said = transcript.reply.rpartition("</think>")[2].split()
    right = sum(one == two for one, two in zip(said, problem.answer.split(), strict=False))
    answer = " ".join(said)
    return Score.right(answer) if said == problem.answer.split() else replace(Score.wrong(answer), reward=right / 2)


pairs = Task(
    "pairs", source, shares, trusted=True, symbols=("a", "b"), demonstration=lambda problem: ("", problem.answer)
)


class Trained:
    """A tiny model before and after reinforcement with a strategy; accuracy on the same problems, paired."""

    def __init__(self, folder, task, seed, **settings):
        torch.manual_seed(seed)
        tokenizer = Tokenizer.of_symbols(task.symbols)
        self.chat = PlainFormat(tokenizer)
        self.model = build_model("transformer", TransformerSettings(width=32, layers=1, heads=2), len(tokenizer), seed)
        optimizer = OptimizerSettings(learning_rate=1e-2, warmup_steps=0, decay_ratio=0.0, max_grad_norm=1.0)
        learner = Learner(self.model, LearnerSettings(optimizer=optimizer), 1.0, None)
        self.progress = Progress(Run.open(folder, {"name": f"seed {seed}"}), learner, tokenizer, 1000)
        self.sampler = LocalSampler(self.model, self.chat)
        self.task = task
        self.settings = RLSettings(
            **(
                {"prompts_per_step": 8, "group_size": 4, "max_thinking_tokens": None, "drop_solved_above": None}
                | settings
            )
        )

    def imitate(self, updates):
        """Takes some steps on demonstrations, so that right answers are the most frequent ones."""
        problems = self.task.take("train", 0, 8)
        told = [self.chat.read(asked(self.task, p) + Span("teacher", f" {p.answer}")) for p in problems]
        finetune(self.progress, lambda update: told, updates)

    def reinforce(self, strategy):
        curriculum = Curriculum(self.task, seed=0, retire_at=None)
        reinforce(self.progress, Policy(self.sampler, strategy), self.task, curriculum, self.settings)

    def corrects(self, task, strategy=None):
        """1.0 or 0.0 for each of 4 attempts at 60 problems of the test split."""
        self.progress.publish_weights(self.sampler)
        sampler = self.sampler if strategy is None else Thinker(self.sampler, strategy)
        sampling = Sampling(tokens=self.settings.max_tokens, think_most=self.settings.max_thinking_tokens)
        return evaluate(sampler, task, sampling, problems=60, attempts=4).corrects


def gain(trained, strategy, task, evaluated_with=None):
    before = trained.corrects(task, evaluated_with)
    trained.reinforce(strategy)
    return paired_gain(trained.corrects(task, evaluated_with), before)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thinking_budget_trains(tmp_path, seed):
    trained = Trained(tmp_path / "run", pairs, seed, steps=40, tokens=5)
    assert gain(trained, Budget(most=1), pairs, Budget(most=1)).low > 0
    journal = trained.progress.run.journal(40)
    assert all(rollout.thinking <= 1 for rollout in journal.rollouts)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_vote_that_is_rewarded_trains_without_gold_answers(tmp_path, seed):
    unknown = replace(pairs, scorer=lambda problem, transcript: Score.wrong("not looked at"))
    trained = Trained(tmp_path / "run", unknown, seed, steps=30, tokens=2, budget=0)
    trained.imitate(6)
    found = gain(trained, Majority(8, reward_agreement=True), pairs)
    assert found.low > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_game_of_two_players_trains_towards_its_optimum(tmp_path, seed):
    trained = Trained(tmp_path / "run", heap_game, seed, steps=60, problems=7, attempts=16, tokens=1, budget=0)
    assert gain(trained, SelfPlay(), single_moves).low > 0
    roles = {line.branch.role for group in by_role(trained.progress.run.journal(60).groups) for line in group}
    assert roles == {"first", "second"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_search_whose_leaves_are_judged_trains(tmp_path, seed):
    trained = Trained(tmp_path / "run", pairs, seed, steps=30, tokens=2, budget=0)
    tree = Tree(trunks=2, leaves=3, depth=1)
    assert gain(trained, tree, pairs).low > 0
    with Scoring(pairs) as scoring:
        ((rollout, *_),) = Collector(trained.sampler, scoring, tree).collect(
            pairs.take("test", 0, 1), Sampling(tokens=2)
        )
    assert [branch.parent for branch in rollout.branches] == [None, 0, 0, None, 3, 3]
    assert all(branch.score is not None for branch in rollout.branches)


def test_the_answer_of_a_strategy_is_streamed_and_the_rest_is_put_aside(tmp_path):
    trained = Trained(tmp_path / "run", pairs, 0, steps=0, tokens=2, budget=0)
    heard = []
    prompt = asked(pairs, pairs.problem("test", 0))
    thinker = Thinker(trained.sampler, Majority(5))
    reply = wait_for(thinker.extend(prompt, Sampling(tokens=2), lambda author, token: heard.append(token) or True))
    assert heard == [token for span in reply.spans[-1:] for token in span.tokens]
    assert len(reply.tried) == 4
    assert reply.cost == 10
