"""Self-play: a strategy for games of several players with private views, and a small game with a known optimum.

    python examples/03_self_play.py

Two players take 1 or 2 from a heap in turn; the one who takes the last wins. A transformer of 20 thousand weights plays
both sides from random weights, and each side is rewarded for winning. At heap n the best move is n mod 3, where that
is not 0: the share of best moves is printed before and after.
"""

from dataclasses import replace
from itertools import cycle
from pathlib import Path

from poziomka import SamplingParams, evaluate
from poziomka.core.environment import opened
from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, Strategy
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Message, Span, Transcript
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.session import TrainingSession
from poziomka.models.checkpoints.weights import build_model
from poziomka.models.text.chat import PlainFormat
from poziomka.models.text.tokenizer import Tokenizer
from poziomka.models.transformer import TransformerSettings
from poziomka.runs import Run

LARGEST = 7
HEAPS, TAKES = tuple(str(heap) for heap in range(1, LARGEST + 1)), ("t1", "t2")
ROLES = ("first", "second")


class SelfPlay(Strategy):
    """One game per attempt: the sampler plays every role, and each role's branch gets its own reward."""

    async def attempt(self, sampler, prompt, params, *, open_session=None, problem=None):
        views = {}
        with opened(open_session) as game:
            for turn, role in enumerate(cycle(game.roles)):
                how = replace(params, seed=seed_of(params.seed, "self-play", turn))
                views[role] = await sampler.extend(game.view(role), how)
                await game.move(role, views[role])
                rewards = game.outcome()
                if rewards is not None:
                    break
        return Attempt(tuple(branch(views[role], role, rewards[role]) for role in game.roles if role in views))


def branch(transcript, role, reward):
    score = Score.right(role) if reward == 1 else Score.wrong(role)
    return Branch(transcript, score, role=role, reward=reward)


class Heap:
    """Players take 1 or 2 from a heap in turn; the one who takes the last wins, and an illegal move loses (a Game).

    A player who leaves a multiple of 3 wins: the best move at heap n is n mod 3, where that is not 0.
    """

    roles = ROLES

    def __init__(self, heap):
        self.heap, self.winner, self.views = heap, None, {}

    def view(self, role):
        if role in self.views:
            return self.views[role] + Span(Author.ENVIRONMENT, f" {self.heap}")
        return Transcript.of([Message("user", f" {self.heap}")])

    async def move(self, role, transcript):
        self.views[role] = transcript
        move, other = transcript.spans[-1].text.strip(), ROLES[1 - ROLES.index(role)]
        taken = TAKES.index(move) + 1 if move in TAKES else self.heap + 1
        self.heap -= taken
        if self.heap <= 0:
            self.winner = role if self.heap == 0 else other

    def outcome(self):
        return self.winner and {role: float(role == self.winner) for role in ROLES}

    def close(self):
        pass


class Heaps:
    """Opens games (an Environment)."""

    stop = ()

    def open(self, problem):
        return Heap(int(problem.answer))


def source(split, index, _level):
    heap = HEAPS[index % LARGEST]
    return Problem.ask("heap", f"{split}{index}", f" {heap}", heap)


def scorer(problem, transcript):
    """Judges a single move from the heap of the prompt."""
    move = transcript.answer
    best = int(problem.answer) % 3
    return Score.right(move) if best and move == TAKES[best - 1] else Score.wrong(move)


heap_game = Task("heap", source, scorer, environment=lambda _: Heaps(), trusted=True, symbols=(*HEAPS, *TAKES))
single_moves = replace(heap_game, environment=None)


def train(folder, steps=60, seed=0):
    """Trains in a folder; returns the share of best moves before and after, with their intervals."""
    tokenizer = Tokenizer.of_symbols(heap_game.symbols)
    model = build_model("transformer", TransformerSettings(width=32, layers=1, heads=2), len(tokenizer), seed)
    sampler = LocalSampler(model, PlainFormat(tokenizer))
    learner = Learner(model, LearnerSettings(optimizer=OptimizerSettings(learning_rate=1e-2, warmup_steps=0)))
    settings = RLSettings(steps=steps, prompts_per_step=LARGEST, group_size=16, max_tokens=1, max_thinking_tokens=0)
    one = SamplingParams(max_tokens=1, max_thinking_tokens=0)
    before = evaluate(sampler, single_moves, one, problems=70, attempts=4).accuracy
    with Run.open(Path(folder), {"name": "heap"}) as run:
        progress = TrainingSession(run, learner, tokenizer)
        reinforce(progress, Policy(sampler, SelfPlay()), heap_game, Curriculum(heap_game, seed), settings)
    return before, evaluate(sampler, single_moves, one, problems=70, attempts=4).accuracy


if __name__ == "__main__":
    for when, share in zip(("before", "after"), train("runs/heap"), strict=True):
        print(f"share of best moves {when}: {share}")
