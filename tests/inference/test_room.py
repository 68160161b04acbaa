"""What an engine takes of the memory follows what its rows and waiting conversations hold."""

import subprocess
import sys

import pytest

from poziomka.core.environment import Reply
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import collect
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span
from poziomka.inference import engine as engines
from poziomka.inference.local import LocalSampler
from poziomka.inference.prefix_pool import BLOCK

START = """
import sys
from array import array
import torch
torch.set_num_threads(1)
from poziomka.core.sampler import SamplingParams
from poziomka.models.transformer import Transformer, TransformerSettings
from poziomka.inference.engine import Engine, Request, SpecialTokens

def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

model = Transformer(TransformerSettings(width=512, layers=4, heads=8, inner=64, qk_norm=False), 100)
engine = Engine(model, SpecialTokens(frozenset(), (), ()), lambda ids: "")
prompt = [1 + place % 90 for place in range(900)]

def write(rows, prompt, tokens):
    for seed in range(rows):
        params = SamplingParams(seed=seed, max_tokens=tokens)
        engine.submit(Request(array("i", prompt), params, 0, False, lambda pieces: None))
    while engine.busy:
        engine.step()
"""

PEAK = (
    START
    + """
from poziomka.app.preflight import remembered_bytes
write(1, prompt[:600], 2)
before = peak()
write(40, prompt, 130)
print(remembered_bytes(model, 40, 1030, 1, 900) / (peak() - before))
"""
)


@pytest.mark.fault("A12")
@pytest.mark.slow
def test_the_estimate_is_within_a_tenth_of_what_growing_rows_take():
    found = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    assert 0.9 < float(found) < 1.1, found


class Echo:
    """Opens sessions that answer each of the model's words with another, for a number of turns."""

    stop = tuple(f" {digit}" for digit in range(10))

    def open(self, problem):
        return self

    async def reply(self, transcript):
        return Reply(Span(Author.ENVIRONMENT, " 1"))

    def fork(self):
        return self

    def close(self):
        pass


def talk_of(turns, sessions, sampler, look):
    """Lets sessions go on for a number of turns each; `look` is called whenever one is answered."""

    class Looking(Echo):
        async def reply(self, transcript):
            look()
            return await super().reply(transcript)

    task = Task(
        "echo",
        lambda split, index, level: Problem.ask("echo", f"{split}{index}", f" {index % 10} {index // 10}"),
        lambda problem, transcript: Score.wrong(""),
        environment=lambda problem: Looking(),
        trusted=True,
    )
    how = SamplingParams(max_tokens=turns, min_thinking_tokens=500)
    return collect(sampler, task, task.take("test", 0, sessions), how)


@pytest.mark.fault("A16")
@pytest.mark.parametrize(("turns", "sessions"), [(6, 40), (40, 6)])
def test_one_state_is_kept_for_each_conversation_that_waits(model, chat, turns, sessions):
    """Those that were taken up again are gone, at any number of turns."""
    sampler = LocalSampler(model, chat)
    engine, kept = sampler.engine, []
    talk_of(turns, sessions, sampler, lambda: kept.append((len(engine.cache), engine.cache.pool.nbytes)))
    assert 0 < max(states for states, _ in kept) <= sessions
    assert max(nbytes for _, nbytes in kept) <= 2 * sessions * BLOCK


@pytest.mark.fault("A16")
def test_a_turn_is_what_it_would_be_without_a_state(model, chat):
    small = engines.EngineLimits(cached_bytes=0)
    one, two = LocalSampler(model, chat), LocalSampler(model, chat, limits=small)
    texts = [
        [rollout.transcript.tokens for (rollout,) in talk_of(8, 5, sampler, lambda: None)] for sampler in (one, two)
    ]
    assert texts[0] == texts[1]
    assert two.engine.counters.read > one.engine.counters.read


@pytest.mark.fault("A16")
def test_rows_that_have_left_give_their_room_back(model, desk_of, monkeypatch):
    """Forty short rows and a long one: when the short ones are done, the long one's room is all that is left."""
    monkeypatch.setattr(engines, "KEPT_IDLE", 0)
    desk = desk_of(model)
    desk.ask("long", [1, 7, 8], seed=1, max_tokens=200, thinking=True, min_thinking_tokens=300)
    for number in range(40):
        desk.ask(number, [1, 7, 8, number % 9], seed=number, max_tokens=5)
    desk.step(3)
    assert desk.engine._memory.capacity >= 41
    desk.step(10)
    assert desk.engine._memory.capacity == engines.LEAST_ROWS
    assert len(desk.finish().tokens("long")) == 200
    alone = desk_of(model)
    alone.ask("long", [1, 7, 8], seed=1, max_tokens=200, thinking=True, min_thinking_tokens=300)
    assert alone.finish().tokens("long") == desk.tokens("long")
