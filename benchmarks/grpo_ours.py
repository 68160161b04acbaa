"""Seconds of our step of reinforcement on SmolLM2-135M, reasoning-gym's chain_sum, as JSON.

    .venv/bin/python benchmarks/grpo_ours.py --tokens 48

The work of a step: 8 prompts × 8 attempts of at most `--tokens` new tokens at temperature 1, no divergence term, one
AdamW update at rate 2e-5; bf16 weights with fp32 masters and fp32 logits, or fp32 weights where the processor does not
multiply bf16. A step is everything the loop does: problems, attempts, checking, advantages, packing, the update,
adopting the weights, the metrics line and the journal. The first step warms up and is not counted. Prompts and reward
are grpo_trl.py's.
"""

import argparse
import json
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from decode import matrices, products
from decode_work import dtype_here
from grpo_work import PROMPTS, parser_of

from poziomka.app.memory_allocator import keep_freed_memory
from poziomka.core.problem import Problem, Score
from poziomka.core.seeds import seed_of
from poziomka.core.task import Task
from poziomka.core.transcript import Transcript
from poziomka.inference.local import LocalSampler
from poziomka.learning.curriculum.curriculum import Curriculum
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.rl import Policy, RLSettings, reinforce
from poziomka.learning.optim.optimizers import OptimizerSettings
from poziomka.learning.session import TrainingSession
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.runs import Run

FLOPS = ("compute/sampling_flops", "compute/training_flops")  # totals since the run began


def task_of(reward: str) -> Task:
    """Returns the prompts as a task: 1 where the reply's last number is the answer, or what `--reward` names."""
    problems = json.loads(PROMPTS.read_text())
    replies: Counter[str] = Counter()

    def source(split: str, index: int, _level: int | None) -> Problem:
        given = problems[index]
        return Problem.ask("chain_sum", f"{split}{index}", given["question"], given["answer"])

    def check(problem: Problem, transcript: Transcript) -> Score:
        if reward == "alternate":
            replies[problem.key] += 1
            return Score.wrong("") if replies[problem.key] % 2 else Score.right("")
        if reward == "coin":
            return Score.right("") if seed_of("coin", problem.key, *transcript.tokens) % 2 else Score.wrong("")
        numbers = re.findall(r"-?\d+", transcript.reply.replace(",", ""))
        if not numbers:
            return Score.unparsed("no number")
        return Score.right(numbers[-1]) if int(numbers[-1]) == int(problem.answer) else Score.wrong(numbers[-1])

    return Task("chain_sum", source, check, trusted=True, size=len(problems))


def run(options: argparse.Namespace) -> tuple[list[float], list[dict[str, Any]], str, int]:
    """Runs the loop; returns when each step ended, the start first, its metrics, and a prompt with its length."""
    loaded = load_pretrained(options.model, options.dtype)
    optimizer = OptimizerSettings(
        learning_rate=options.learning_rate, warmup_steps=0, decay_ratio=0.0, moments=options.moments
    )
    how = LearnerSettings(optimizer=optimizer, layout=options.layout, microbatch_tokens=options.places)
    settings = RLSettings(
        steps=options.steps + 1,
        prompts_per_step=options.problems,
        group_size=options.attempts,
        max_tokens=options.tokens,
        max_thinking_tokens=None,
        drop_solved_above=None,
        patience=None,
        learner=how,
    )
    task, ends, lines = task_of(options.reward), [0.0], []
    read = loaded.chat.read(Transcript.of(task.problem("train", 0).prompt))

    def hear(_stage: str, line: Mapping[str, Any]) -> None:
        ends.append(time.perf_counter())
        lines.append(dict(line))

    with tempfile.TemporaryDirectory() as folder, Run.open(Path(folder), {"name": "benchmark"}) as books:
        learner = Learner(loaded.model, how)
        progress = TrainingSession(books, learner, loaded.tokenizer, 10**9, hear)
        sampler = LocalSampler(loaded.model, loaded.chat)
        ends[0] = time.perf_counter()
        reinforce(progress, Policy(sampler), task, Curriculum(task, options.seed, None), settings)
    return ends, lines, loaded.tokenizer.decode(read.tokens), len(read)


def options_of(description: str | None) -> argparse.Namespace:
    """Reads the command line, sets the threads, and lets the process keep its memory, as poziomka's does."""
    parser = parser_of(description)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default=dtype_here())
    parser.add_argument("--layout", choices=["shared", "rows"], default="shared")
    parser.add_argument("--places", type=int, default=768)
    parser.add_argument("--moments", choices=["bfloat16", "float32"], default="bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    return options


def main() -> None:
    """Prints the figures."""
    options = options_of(__doc__)
    ends, lines, prompt, length = run(options)
    seconds = [after - before for before, after in pairwise(ends)][1:]
    figures = {
        "peer": "ours",
        "seconds": seconds,
        "median": median(seconds),
        "tokens": [line["tokens/sampled"] for line in lines[1:]],
        "rewards": [line["reward/mean"] for line in lines[1:]],
        "informative": [1 - line["groups/zero_variance"] for line in lines[1:]],
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "prompt": prompt,
        "prompt_tokens": length,
        "sampling_seconds": [line["time/sampling_seconds"] for line in lines[1:]],
        "learning_seconds": [line["time/learning_seconds"] for line in lines[1:]],
        "mismatch_kl": [line.get("policy/mismatch_kl") for line in lines[1:]],
        "training": training(lines),
        "bound": bound(lines, options),
        "settings": vars(options) | {"torch": torch.__version__},
    }
    print(json.dumps(figures))


def training(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Returns the optimizer steps' tokens and FLOPs a second, medians, and the best square product beside."""
    rates = [
        (after["compute/training_flops"] - before["compute/training_flops"]) / after["time/learning_seconds"]
        for before, after in pairwise(lines)
        if after["time/learning_seconds"] > 0
    ]
    tokens = [line["tokens/trained"] / line["time/learning_seconds"] for line in lines[1:]]
    peak = peak_of()
    return {"tokens_per_second": median(tokens), "flops": median(rates), "peak": peak, "share": median(rates) / peak}


def bound(lines: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, float]:
    """Returns the seconds that a counted step needs at least, medians, twice.

    `matmul`: all operations at the rate of the best square product. `products`: those of training at that rate, and the
    sampled tokens at the rate of a decoding step's matrix products with all attempts in the batch.
    """
    peak, rows = peak_of(), options.problems * options.attempts
    rate = max(products(matrices(load_pretrained(options.model, options.dtype).model), rows).values())
    matmul, both = [], []
    for before, after in pairwise(lines):
        sampling, training = (after[name] - before[name] for name in FLOPS)
        matmul.append((sampling + training) / peak)
        both.append(training / peak + after["tokens/sampled"] / rate)
    return {"matmul": median(matmul), "products": median(both), "peak": peak, "products_rate": rate}


def peak_of() -> float:
    """Returns the FLOPs a second of the best square product, in bfloat16 or float32."""
    times = []
    for dtype in (torch.bfloat16, torch.float32):
        a = torch.randn(2048, 2048, dtype=dtype)
        for _ in range(12):
            began = time.perf_counter()
            torch.mm(a, a)
            times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)


if __name__ == "__main__":
    main()
