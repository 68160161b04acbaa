"""Trees written by hand: a sampler that writes the step of a path, and a judge that reads its values from a table."""

import asyncio
from itertools import product

import pytest

from poziomka.core.rollout import Cost
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.transcript import Author, Message, Transcript
from poziomka.testing import ScriptedSampler
from poziomka.thinking.judges.judge import Judge, Judgement

DEPTH, WIDTH = 4, 6  # of the trees that a table can describe
SAMPLING = SamplingParams(max_tokens=40)
FREE = Cost()


@pytest.fixture
def question():
    return Transcript.of([Message("user", " Which way?")])


@pytest.fixture
def said():
    """The text that the model wrote."""
    return lambda transcript: "".join(span.text for span in transcript if span.author is Author.MODEL).strip()


@pytest.fixture
def table():
    """Makes a sampler whose step is `texts[path]`, an exception for a step that cannot be sampled."""

    def make(name, texts, seed=0):
        paths = {
            seed_of(seed, name, *path): path
            for depth in range(1, DEPTH + 1)
            for path in product(range(WIDTH), repeat=depth)
        }

        def script(transcript, sampling):
            text = texts[paths[sampling.seed]]
            if isinstance(text, Exception):
                raise text
            return text

        return ScriptedSampler(script)

    return make


class Table(Judge):
    """Reads values by the text that the model wrote; an exception for a judge that raises."""

    def __init__(self, value, said, cost, parameters):
        self.value, self.said, self.cost, self.size = value, said, cost, parameters
        self.asked = []

    @property
    def parameters(self):
        return self.size

    async def judge(self, transcripts, *, problem=None, seed=0):
        texts = [self.said(transcript) for transcript in transcripts]
        self.asked.append(texts)
        values = [self.value(text) for text in texts]
        for value in values:
            if isinstance(value, Exception):
                raise value
        return [Judgement(value, self.cost) for value in values]


@pytest.fixture
def judge(said):
    """Makes a judge from a function of the text, or from a table."""

    def make(value, cost=FREE, parameters=None):
        return Table(value.__getitem__ if isinstance(value, dict) else value, said, cost, parameters)

    return make


@pytest.fixture
def run(question):
    """Makes one attempt of a search at the question."""

    def attempt(search, sampler, params=SAMPLING, **more):
        return asyncio.run(search.attempt(sampler, question, params, **more))

    return attempt
