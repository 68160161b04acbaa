"""Overhead of strategies: processor time of an attempt outside the engine's steps, as a share of theirs.

    .venv/bin/python benchmarks/strategy_overhead.py                    # SmolLM2-135M
    .venv/bin/python benchmarks/strategy_overhead.py --model runs/demo  # a run's model

An attempt runs in one thread. Its processor time, which other processes hardly change, is that of the engine's steps
(reading prompts and sampling tokens) and the rest: the strategy, the judge, the sampler's texts and the event loop.
Every strategy solves the same problems; the first problem warms up and is not counted.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from commands import command_line
from compare_trl import machine, write

import poziomka as pz
from poziomka.core.rollouts.conversation import SINGLE_REPLY
from poziomka.core.sampler import SamplingParams
from poziomka.core.strategy import Strategy
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.inference.local import LocalSampler
from poziomka.tasks import task_named
from poziomka.thinking.judges.confidence import Logprobs
from poziomka.thinking.majority import Majority
from poziomka.thinking.parallel import BestOf
from poziomka.thinking.search import MCTS, Beam, ParticleFilter, Steps

RESULTS = Path(__file__).resolve().parent / "results" / "strategy_overhead.json"
MOST = 0.05  # largest share that is accepted


def strategies(branches: int, step: int) -> dict[str, Strategy]:
    """Returns the strategies by name; a step of a search has at most `step` tokens."""
    judge, steps = Logprobs(), Steps(stops=("\n",), tokens=step)
    return {
        "single reply": SINGLE_REPLY,
        "majority": Majority(branches),
        "best of n": BestOf(branches, judge),
        "beam": Beam(judge=judge, steps=steps, candidates=branches, width=4),
        "particles": ParticleFilter(judge=judge, steps=steps, particles=branches),
        "MCTS": MCTS(judge=judge, steps=steps, simulations=branches, width=4),
    }


class Clock:
    """Processor seconds of an engine's steps; takes the place of `step`, by which the sampler calls it.

    Args:
        step: the engine's own method.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        """Starts at 0."""
        self.step, self.seconds, self.steps = step, 0.0, 0

    def __call__(self) -> None:
        """Steps the engine."""
        began = time.thread_time()
        self.step()
        self.seconds += time.thread_time() - began
        self.steps += 1


def attempts(sampler: LocalSampler, task: Task, strategy: Strategy, options: argparse.Namespace) -> dict[str, object]:
    """Returns the figures of a strategy over the problems."""
    found, loop = [], asyncio.new_event_loop()  # asyncio.run would print the result into an error that it ignores
    for index in range(options.problems + 1):
        problem = task.source("test", index, options.level)
        clock = Clock(type(sampler.engine).step.__get__(sampler.engine))
        sampler.engine.step = clock  # type: ignore[method-assign] # timed from outside, so that the engine has no clock
        params = SamplingParams(max_tokens=options.tokens, seed=index)
        began = time.thread_time()
        attempt = loop.run_until_complete(strategy.attempt(sampler, Transcript.of(problem.prompt), params))
        whole = time.thread_time() - began
        found.append((whole, clock.seconds, clock.steps, attempt.cost.sampled))
    loop.close()
    counted = found[1:]
    whole, engine, steps, sampled = (sum(each) for each in zip(*counted, strict=True))
    return {
        "overhead": (whole - engine) / engine,
        "by_problem": [(each[0] - each[1]) / each[1] for each in counted],
        "median": median((each[0] - each[1]) / each[1] for each in counted),
        "engine_seconds": engine,
        "microseconds_per_token": 1e6 * (whole - engine) / sampled,
        "engine_steps": steps,
        "tokens": sampled,
    }


def read_arguments() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a name, a folder, or the folder of a run")
    parser.add_argument(
        "--only", nargs="+", default=list(strategies(4, 1)), choices=list(strategies(4, 1)), metavar="STRATEGY"
    )
    parser.add_argument("--task", default="sums")
    parser.add_argument("--level", type=int, help="of the problems; None for those that the task draws")
    parser.add_argument("--problems", type=int, default=4, help="that count")
    parser.add_argument("--branches", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48, help="most tokens of a reply")
    parser.add_argument("--step", type=int, default=12, help="most tokens of a step of a search")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Measures, adds the model's figures to the results, prints a table."""
    options = read_arguments()
    torch.set_num_threads(1)
    sampler, task = pz.load(options.model, precision="float32").sampler(), task_named(options.task)
    figures = {}
    made = strategies(options.branches, options.step)
    for name in options.only:
        figures[name] = attempts(sampler, task, made[name], options)
        print(f"{name}: {figures[name]['overhead']:.2%} of the engine's time", file=sys.stderr)
    book = json.loads(options.out.read_text()) if options.out.exists() else {}
    named = Path(options.model).name
    book[named] = {"command": command_line(sys.argv), "machine": machine(), "strategies": figures}
    book[named]["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write(options.out, book)
    print("| strategy | overhead | µs a token | engine steps | tokens |\n| --- | --- | --- | --- | --- |")
    for name, found in figures.items():
        own = (f"{found['overhead']:.1%}", f"{found['microseconds_per_token']:.0f}", found["engine_steps"])
        print(f"| {' | '.join(map(str, (name, *own, found['tokens'])))} |")


if __name__ == "__main__":
    main()
