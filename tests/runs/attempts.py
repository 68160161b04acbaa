"""Attempts of several turns with a tiny model, recorded in a file of turns: python attempts.py FILE STRATEGY N.

When N lines are recorded, the environment prints "waiting" and never replies.
"""

import hashlib
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from poziomka.core.environment import Handover, Reply
from poziomka.core.problem import Problem, Score
from poziomka.core.rollouts.collect import Collector
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import SamplingParams
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span
from poziomka.inference.engine import EngineLimits
from poziomka.inference.local import LocalSampler
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs.storage.turns import RecordedSampler, TurnLog
from poziomka.thinking import strategy_of

SYMBOLS = ("a", "b", "c")
PROBLEMS, ATTEMPTS = 4, 2


@dataclass(frozen=True)
class Echo:
    """A session that replies with a letter that depends on all that was said."""

    path: Path
    hang: int | None  # lines of the file of turns after which there is no reply
    lie: bool
    handover: Handover = Handover("", lambda prompt, summary, turns: prompt)  # noqa: RUF009 it is frozen

    async def reply(self, transcript):
        if self.hang is not None and len(self.path.read_bytes().splitlines()) >= self.hang:
            print("waiting", flush=True)  # noqa: T201 the test that kills it reads this
            time.sleep(3600)  # noqa: ASYNC251 until it is killed
        heard = len(transcript.heard)
        number = hashlib.sha256(transcript.text.encode()).digest()[0] + (self.lie and heard == 1)
        return Reply(Span(Author.ENVIRONMENT, f" {SYMBOLS[number % 3]}"), done=heard == 11)

    def fork(self):
        return self

    def close(self):
        pass


@dataclass(frozen=True)
class Room:
    path: Path
    hang: int | None
    lie: bool
    stop: tuple[str, ...] = ("a",)

    def open(self, problem):
        return Echo(self.path, self.hang, self.lie)


def rollouts_of(path, strategy, *, hang=None, lie=False):
    """All rollouts, with a file of turns at `path`."""
    torch.set_num_threads(1)
    tokenizer = Tokenizer.of_symbols(SYMBOLS)
    model = build_model("transformer", TransformerSettings(width=16, layers=1, heads=2), len(tokenizer), 0)
    limits = EngineLimits(rows=1, cached=0)  # a reply then depends on its request alone, bit for bit
    inner = LocalSampler(model, PlainFormat(tokenizer), limits=limits)
    task = Task(
        "echo",
        lambda split, index, level: Problem.ask("echo", f"{split}{index}", f" {SYMBOLS[index % 3]}"),
        lambda problem, transcript: Score.of(min(1.0, len(transcript.heard) / 12)),
        environment=lambda problem: Room(path, hang, lie),
        trusted=True,
        symbols=SYMBOLS,
    )
    with TurnLog(path, {"strategy": strategy}) as log, Scoring(task) as scoring:
        collector = Collector(RecordedSampler(inner, log), scoring, strategy_of(strategy))
        sampling = SamplingParams(max_tokens=60, temperature=0.7)
        groups = collector.collect(task.take("test", 0, PROBLEMS), sampling, ATTEMPTS)
    return [_timeless(rollout) for group in groups for rollout in group]


def _timeless(rollout):
    branches = tuple(
        replace(
            each, transcript=replace(each.transcript, spans=tuple(replace(s, seconds=0.0) for s in each.transcript))
        )
        for each in rollout.branches
    )
    return replace(rollout, branches=branches)


if __name__ == "__main__":
    rollouts_of(Path(sys.argv[1]), sys.argv[2], hang=int(sys.argv[3]))
