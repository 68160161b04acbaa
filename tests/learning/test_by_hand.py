"""The loop of examples/02_grpo_by_hand.py computes what the loop of `train` computes."""

import runpy
from pathlib import Path

import pytest
import torch

from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.session import TrainingSession

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "02_grpo_by_hand.py"


@pytest.fixture(scope="module")
def example():
    torch.set_num_threads(1)
    return runpy.run_path(str(EXAMPLE))


def test_its_curve_is_that_of_the_loop(example, open_run):
    by_hand = example["grpo"](example["Parts"].build(), 12)
    assert min(by_hand) > 0
    parts, run = example["Parts"].build(), open_run()
    sampling = {
        "prompts_per_step": 8,
        "group_size": 8,
        "max_tokens": 2,
        "max_thinking_tokens": 0,
        "drop_solved_above": None,
    }
    settings = RLSettings(steps=12, advantage="group", optimizer=parts.learner.settings.optimizer, **sampling)
    progress = TrainingSession(run, parts.learner, parts.sampler.chat.tokenizer, 1000)
    task = example["task"]
    reinforce(progress, Policy(parts.sampler), task, Curriculum(task, seed=0), settings)
    assert [line["reward/mean"] for line in run.metrics()] == pytest.approx(by_hand, abs=1e-12)


def test_its_reward_rises(example):
    rewards = example["grpo"](example["Parts"].build(seed=1), 40)
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.3


def test_it_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 150
