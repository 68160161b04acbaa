"""Rollouts with the rewards a test needs, tiny models, and runs to learn in."""

from dataclasses import replace

import pytest
import torch

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.splits import SPLITS
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats, split_thought
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs import Run

torch.set_num_threads(1)

SYMBOLS = ("a", "b")


def make_rollout(reward=1.0, own=3, name="r", spans=None, verdict=None, stop=Stop.END):
    """A prompt of two tokens, then `own` tokens by the model; reward None is a failed check."""
    problem = Problem.ask("sums", "1+2", " 1 2", "3")
    spans = spans or [
        Span(Author.USER, "", compact([1, 2])),
        Span(Author.MODEL, "", compact(range(3, 3 + own)), compact_floats([-1.0] * own), stop, "v1"),
    ]
    if reward is None:
        score = Score.failed(verdict or Verdict.ERROR, "it broke")
    else:
        score = Score(reward, verdict or (Verdict.CORRECT if reward == 1 else Verdict.WRONG), "3")
    return Rollout(name, problem, (Branch(Transcript(tuple(spans)), score),), "v1")


@pytest.fixture
def rollout():
    return make_rollout


@pytest.fixture
def group():
    """A group of attempts with these rewards, and lengths."""

    def group(*rewards, lengths=None):
        lengths = lengths or [3] * len(rewards)
        return [make_rollout(*each, name=f"r{n}") for n, each in enumerate(zip(rewards, lengths, strict=True))]

    return group


@pytest.fixture
def tokenizer():
    return Tokenizer.of_symbols(SYMBOLS)


@pytest.fixture
def chat(tokenizer):
    return PlainFormat(tokenizer)


@pytest.fixture
def build():
    def build(vocabulary=7, seed=0, architecture="transformer", loud=0.0):
        model = build_model(architecture, TransformerSettings(width=16, layers=1, heads=2), vocabulary, seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=loud)
        return model

    return build


@pytest.fixture
def learner_of():
    """A learner with flat rates and no clipping, but for what a test sets."""

    def learner_of(model, temperature=1.0, reference=None, learner=None, **optimizer):
        how = {"learning_rate": 1e-2, "warmup_steps": 0, "decay_ratio": 0.0, "max_grad_norm": 0.0} | optimizer
        settings = LearnerSettings(optimizer=OptimizerSettings(**how), **(learner or {}))
        return Learner(model, settings, temperature, reference)

    return learner_of


@pytest.fixture
def open_run(tmp_path):
    """Opens runs by name; a run is closed where it is opened again, and at the end."""
    opened = {}

    def open_run(name="run"):
        if name in opened:
            opened[name].close()
        opened[name] = Run.open(tmp_path / name, {"name": name})
        return opened[name]

    yield open_run
    for run in opened.values():
        run.close()


@pytest.fixture
def echo():
    """The smallest task there is: answer with the symbol of the prompt."""

    def source(split, index, level):
        symbol = SYMBOLS[index % 2]
        return Problem.ask("echo", f"{split}{index}", f" {symbol}", symbol)

    def scorer(problem, transcript):
        answer = split_thought(transcript.reply)[1]
        return Score.right(answer) if answer == problem.answer else Score.wrong(answer or "")

    return Task(
        "echo", source, scorer, trusted=True, symbols=SYMBOLS, demonstration=lambda problem: ("", problem.answer)
    )


@pytest.fixture
def graded(echo):
    """Twelve problems for training and more to hold out, of levels 0 to 3 in turn."""

    def source(split, index, level):
        return replace(echo.source(split, index, level), level=index % 4)

    return replace(echo, source=source, size=12, levels=None, splits=SPLITS)


@pytest.fixture
def counting():
    """Count up to the level: "1 2 3" for level 3."""

    def source(split, index, level):
        level = 5 if level is None else level
        return replace(Problem.ask("count", f"{split}{index}", f" {level}", str(level)), level=level)

    return Task(
        "count",
        source,
        lambda problem, transcript: None,
        levels=(1, 9),
        demonstration=lambda problem: (" ".join(map(str, range(1, problem.level))), problem.answer),
    )
