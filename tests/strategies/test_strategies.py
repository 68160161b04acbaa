"""Five strategies, each trained by the same loop: the accuracy rises over the untrained model, on three seeds."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from poziomka.core.errors import SettingsError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import Collector, wait_for
from poziomka.core.rollouts.evaluation import evaluate, paired_gain
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task, asked
from poziomka.core.transcript import Author
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.objectives.losses import SurrogateSettings
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.samples.branches import by_role
from poziomka.learning.session import TrainingSession
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs import Run
from poziomka.testing import ScriptedSampler
from poziomka.thinking import FunctionJudge
from poziomka.thinking.budget import Budget
from poziomka.thinking.majority import Majority
from poziomka.thinking.search import Beam, Steps
from poziomka.thinking.thinker import Thinker

torch.set_num_threads(1)
pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GAME, TREE = (runpy.run_path(str(EXAMPLES / name)) for name in ("03_self_play.py", "04_tree_search.py"))
SelfPlay, heap_game, single_moves, Tree = GAME["SelfPlay"], GAME["heap_game"], GAME["single_moves"], TREE["Tree"]
SEEDS = (0, 1, 2)
DEFAULTS = {"prompts_per_step": 8, "group_size": 4, "max_thinking_tokens": None, "drop_solved_above": None}


def repeat(name, words):
    """A task whose answer repeats the prompt."""

    def source(split, index, level):
        said = words[index % len(words)]
        return Problem.ask(name, f"{split}{index}", f" {said}", said)

    how = {"trusted": True, "symbols": ("a", "b")}
    return Task(name, source, shares, **how)


def shares(problem, transcript):
    """The share of symbols that are in their places, of the longer of answer and gold answer."""
    said, gold = transcript.answer.split(), problem.answer.split()
    right = sum(one == two for one, two in zip(said, gold, strict=False)) / max(len(said), len(gold))
    return Score(right, Verdict.CORRECT if right == 1 else Verdict.WRONG, " ".join(said))


single, pairs = repeat("single", ["a", "b"]), repeat("pairs", ["a a", "a b", "b a", "b b"])


@pytest.fixture
def trained(tmp_path):
    """Makes models to train, each in a run of its own, which is closed at the end."""
    opened = []

    def make(task, seed, **settings):
        opened.append(Trained(tmp_path / f"run{len(opened)}", task, seed, **settings))
        return opened[-1]

    yield make
    for one in opened:
        one.progress.run.close()


class Trained:
    """A tiny model before and after reinforcement with a strategy; accuracy on the same problems, paired."""

    def __init__(self, folder, task, seed, **settings):
        torch.manual_seed(seed)
        tokenizer = Tokenizer.of_symbols(task.symbols)
        self.chat = PlainFormat(tokenizer)
        self.model = build_model("transformer", TransformerSettings(width=32, layers=1, heads=2), len(tokenizer), seed)
        optimizer = OptimizerSettings(learning_rate=1e-2, warmup_steps=0, decay_ratio=0.0, max_grad_norm=1.0)
        learner = Learner(self.model, LearnerSettings(optimizer=optimizer), 1.0, None)
        self.progress = TrainingSession(Run.open(folder, {"name": f"seed {seed}"}), learner, tokenizer, 1000)
        self.sampler = LocalSampler(self.model, self.chat)
        self.task = task
        self.settings = RLSettings(**(DEFAULTS | settings))

    def reinforce(self, strategy):
        curriculum = Curriculum(self.task, seed=0, retire_at=None)
        reinforce(self.progress, Policy(self.sampler, strategy), self.task, curriculum, self.settings)

    def corrects(self, task, strategy=None):
        """1.0 or 0.0 for each of 4 attempts at 60 problems of the test split."""
        self.progress.publish_weights(self.sampler)
        sampler = self.sampler if strategy is None else Thinker(self.sampler, strategy)
        sampling = SamplingParams(
            max_tokens=self.settings.max_tokens, max_thinking_tokens=self.settings.max_thinking_tokens
        )
        return evaluate(sampler, task, sampling, problems=60, attempts=4).corrects


def gain(model, strategy, task, evaluated_with=None):
    before = model.corrects(task, evaluated_with)
    model.reinforce(strategy)
    return paired_gain(model.corrects(task, evaluated_with), before)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thinking_budget_trains(trained, seed):
    model = trained(single, seed, steps=40, group_size=8, max_tokens=4)
    assert gain(model, Budget(most=1), single, Budget(most=1)).low > 0
    assert all(rollout.thinking <= 1 for rollout in model.progress.run.journal("step-000040").rollouts)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_vote_that_is_rewarded_trains(trained, seed):
    model = trained(single, seed, steps=40, group_size=8, max_tokens=2, max_thinking_tokens=0)
    assert gain(model, Majority(3, reward="vote"), single).low > 0
    (group, *_) = model.progress.run.journal("step-000001").groups
    assert all(len({branch.score.reward for branch in rollout.branches}) == 1 for rollout in group)


def test_agreement_with_the_vote_is_rewarded_without_gold_answers():
    replies = iter([" a", " b", " b", " ", " b"])
    sampler = ScriptedSampler(lambda transcript, sampling: next(replies))
    unknown = replace(single, scorer=lambda problem, transcript: Score.wrong("not looked at"))
    with Scoring(unknown) as scoring:
        collector = Collector(sampler, scoring, Majority(5, reward="agreement"))
        ((rollout,),) = collector.collect(unknown.take("test", 0, 1), SamplingParams(max_tokens=2))
    assert [branch.score.reward for branch in rollout.branches] == [0, 1, 1, 0, 1]
    assert rollout.answer == 1


@pytest.mark.parametrize("wrong", [{"votes": 0}, {"votes": 3, "reward": "votes"}])
def test_a_vote_that_cannot_be_taken_is_refused(wrong):
    with pytest.raises(SettingsError):
        Majority(**wrong)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_game_of_two_players_trains_towards_its_optimum(trained, seed):
    model = trained(heap_game, seed, steps=60, prompts_per_step=7, group_size=16, max_tokens=1, max_thinking_tokens=0)
    assert gain(model, SelfPlay(), single_moves).low > 0
    roles = {line.branch.role for group in by_role(model.progress.run.journal("step-000060").groups) for line in group}
    assert roles == {"first", "second"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_search_whose_leaves_are_judged_trains(trained, seed):
    model = trained(pairs, seed, steps=30, max_tokens=2, max_thinking_tokens=0)
    tree = Tree(trunks=2, leaves=3, depth=1)
    assert gain(model, tree, pairs).low > 0
    with Scoring(pairs) as scoring:
        ((rollout, *_),) = Collector(model.sampler, scoring, tree).collect(
            pairs.take("test", 0, 1), SamplingParams(max_tokens=2)
        )
    assert [branch.parent for branch in rollout.branches] == [None, 0, 0, None, 3, 3]
    assert all(branch.score is not None for branch in rollout.branches)


PREFIX = FunctionJudge(lambda problem, transcript: shares(problem, transcript).reward)  # of symbols in their places


@pytest.mark.parametrize("seed", SEEDS)
def test_a_search_guided_by_a_judge_trains(trained, seed):
    model = trained(pairs, seed, steps=30, max_tokens=2, max_thinking_tokens=0)
    beam = Beam(judge=PREFIX, candidates=4, width=2, steps=Steps(stops=(), tokens=1))
    assert gain(model, beam, pairs).low > 0
    rollouts = model.progress.run.journal("step-000030").rollouts
    assert all(4 < rollout.cost.sampled <= 8 for rollout in rollouts)  # two steps of at most four tokens
    given_up = [branch for rollout in rollouts for branch in rollout.branches if not branch.trainable]
    assert {branch.score.verdict for branch in given_up} == {Verdict.TRUNCATED}


def searched(model, search, problems=60):
    """1.0 or 0.0 for one search at each problem of the test split, with the present weights."""
    with Scoring(pairs) as scoring:
        collector = Collector(model.sampler, scoring, search)
        groups = collector.collect(pairs.take("test", 0, problems), SamplingParams(max_tokens=2, max_thinking_tokens=0))
    return [[float(rollout.score.correct)] for (rollout,) in groups]


@pytest.mark.parametrize("seed", SEEDS)
def test_expert_iteration_by_search_teaches_the_policy_what_the_search_found(trained, seed):
    """The search finds more right answers than the policy, and imitating these alone raises the policy's accuracy."""
    how = {"advantage": "expert", "surrogate": SurrogateSettings(kind="reinforce"), "patience": None}
    model = trained(pairs, seed, steps=30, max_tokens=2, max_thinking_tokens=0, **how)
    search = Beam(judge=PREFIX, candidates=8, width=2, answer="best", steps=Steps(stops=(), tokens=1))
    assert paired_gain(searched(model, search), model.corrects(pairs)).low > 0
    assert gain(model, search, pairs).low > 0
    journal = model.progress.run.journal("step-000001")
    lines = {line.id: line for group in by_role(journal.groups) for line in group}
    assert journal.advantages.keys() == {name for name, line in lines.items() if line.score.correct}
    assert {value for values in journal.advantages.values() for value in values} == {1.0}


def test_the_answer_of_a_strategy_is_streamed_and_the_rest_is_put_aside(trained):
    model = trained(pairs, 0, steps=0, max_tokens=2, max_thinking_tokens=0)
    heard = []
    prompt = asked(pairs, pairs.problem("test", 0))
    thinker = Thinker(model.sampler, Majority(5))
    reply = wait_for(
        thinker.extend(prompt, SamplingParams(max_tokens=2), lambda author, token: heard.append(token) or True)
    )
    assert heard == [token for span in reply.spans if span.author is Author.MODEL for token in span.tokens]
    assert len(reply.tried) == 4
    aside = [span for tried in reply.tried for span in tried.spans if span.author is Author.MODEL]
    assert reply.cost == len(heard) + sum(map(len, aside)) > len(heard)
