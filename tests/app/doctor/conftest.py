"""Parts of a tiny recipe, whole and with one fault planted: real model, engine, learner and scorer."""

from dataclasses import replace

import pytest
import torch

from poziomka.app.doctor import Bench, Parts, examine
from poziomka.core.problem import Problem, Score
from poziomka.core.task import Task
from poziomka.core.transcript import split_thought
from poziomka.environments.tools.calculator import Calculator
from poziomka.inference.local import LocalSampler
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.rl import RLSettings
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings

torch.set_num_threads(1)

DIGITS = tuple("0123456789")
SETTINGS = {
    "steps": 3,
    "prompts_per_step": 4,
    "group_size": 4,
    "max_tokens": 12,
    "max_thinking_tokens": 6,
    "temperature": 0.8,
}


def source(split, index, level):
    """Two digits; which is the larger?"""
    one, two = index % 10, (index * 3 + 1) % 10
    return Problem.ask("larger", f"{split}{index}", f" {one} {two}", str(max(one, two)))


def scorer(problem, transcript):
    answer = split_thought(transcript.reply)[1]
    return Score.right(answer) if answer == problem.answer else Score.wrong(answer or "")


def demonstration(problem):
    return problem.prompt[0].content.strip(), problem.answer


@pytest.fixture
def task():
    symbols = (*DIGITS, "<tool>", "</tool>", "<result>", "</result>", "error", "+")
    return Task("larger", source, scorer, trusted=True, symbols=symbols, demonstration=demonstration)


@pytest.fixture
def tools(task):
    """The task with a calculator; an untrained model writes a call now and then."""
    return replace(task, environment=lambda problem: Calculator())


@pytest.fixture
def build():
    """Weights loud enough that temperatures can be told apart."""

    def build(vocabulary):
        model = build_model("transformer", TransformerSettings(width=32, layers=2, heads=2), vocabulary, 0)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        return model

    return build


@pytest.fixture
def parts_of(task, build):
    """Parts that are well, but for what a test changes; `sampler` and `chat` are classes."""

    def parts_of(task=task, sampler=LocalSampler, chat=PlainFormat, settings=None, **changes):
        tokenizer = Tokenizer.of_symbols(task.symbols)
        model, how = build(len(tokenizer)), RLSettings(**(SETTINGS | (settings or {})))
        learner = Learner(model, LearnerSettings(), how.temperature)
        format_ = chat(tokenizer)
        return Parts(task, format_, model, sampler(model, format_), learner, how, **changes)

    return parts_of


@pytest.fixture
def found():
    """Returns what the doctor finds, by name of the check; a check with several findings gives the worst."""

    def found(parts):
        findings = {}
        for finding in examine(Bench(parts)):
            known = findings.get(finding.name)
            findings[finding.name] = known if known and known.status == "FAIL" else finding
        return findings

    return found


@pytest.fixture
def failures(found):
    """Returns the findings that failed, by name."""
    return lambda parts: {name: each for name, each in found(parts).items() if each.status == "FAIL"}
