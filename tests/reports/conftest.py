"""A small run's folder with made-up, plausible numbers, written through poziomka.runs as training writes it."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Rollout
from poziomka.core.rollouts.evaluation import wilson
from poziomka.core.transcript import Author, Span, Stop, Transcript, compact, compact_floats
from poziomka.runs.run import Run

BUDGETS = (2, 4, 8, 16, 32, 64)
RECIPE = {
    "task": "recurrence",
    "seed": 1,
    "model": {"width": 128, "layers": 3, "heads": 4, "architecture": "transformer"},
    "warm_start": {"seconds": 90.0, "learning_rate": 0.002, "tokens_per_update": 1000},
    "reinforce": {
        "steps": 60,
        "problems": 32,
        "attempts": 8,
        "learning_rate": 0.0003,
        "surrogate": "cispo",
        "budget": 64,
    },
    "evaluate": {"problems": 200, "attempts": 8, "budgets": list(BUDGETS)},
}
ENDS = {"": "mean", "_low": "low", "_high": "high"}
NOTES = [
    "The step itself is a table of 1,024 entries, learned by the warm start: reinforcement adds when to think.",
    "Nothing is said about positions beyond the 32 steps that were trained.",
]


def estimate(mean: float, count: int = 300) -> dict[str, float]:
    found = wilson(mean, count)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def answer_of(a: int, b: int, k: int) -> tuple[list[int], int]:
    numbers = [a, b]
    while len(numbers) < k:
        numbers.append((numbers[-1] + numbers[-2]) % 32)
    return numbers[2:], numbers[k - 1]


def rollout(name: str, number: int, attempt: int, *, thinks: bool, draw: random.Random, why: str = "") -> Rollout:
    """An attempt at problem `number`: one that thinks is mostly right, one that does not mostly guesses."""
    a, b, k = number * 7 % 32, number * 11 % 32, 3 + number % 30
    numbers, gold = answer_of(a, b, k)
    problem = Problem.ask("recurrence", f"{a}-{b}-{k}", f"{a} {b} : {k}", str(gold))
    problem = Problem(f"{a} {b} : {k}", str(gold), task=problem.task, key=problem.key, level=k)
    shown = numbers if thinks else numbers[: draw.randrange(2)]
    cut = len(shown) > 24
    said = gold if thinks and not cut and draw.random() < 0.93 else draw.randrange(32)
    thought = " ".join(f"{x} ({k - i - 3})" for i, x in enumerate(shown[:24]))

    def written(text: str, stop: Stop) -> Span:
        count = max(1, len(text.split()))
        logprobs = compact_floats([-0.1] * count)
        return Span(Author.MODEL, text, compact([5] * count), logprobs, stop, "step-60" if thinks else "step-0", 0.01)

    spans = [
        Span(Author.USER, f"{a} {b} : {k}", compact([1, 2, 3, 4])),
        Span(Author.TEMPLATE, " <think> ", compact([6])),
    ]
    if thought:
        spans.append(written(thought, Stop.LENGTH if cut else Stop.THOUGHT))
    spans += [Span(Author.FORCED if cut else Author.TEMPLATE, " </think> ", compact([7])), written(str(said), Stop.END)]
    right = said == gold
    score = Score(
        float(right), Verdict.CORRECT if right else Verdict.WRONG, str(said), why or f"{said}, where {gold} is right"
    )
    return Rollout(f"{name}/{number}/{problem.key}/{attempt}", problem, (Branch(Transcript(tuple(spans)), score),))


def groups(name: str, problems: int, attempts: int, *, thinks: bool, why: str = "") -> list[list[Rollout]]:
    draw = random.Random(f"{name} {thinks}")
    return [
        [rollout(name, number, attempt, thinks=thinks, draw=draw, why=why) for attempt in range(attempts)]
        for number in range(problems)
    ]


def log_training(run: Run, steps: int) -> None:
    draw = random.Random(7)
    for step in range(0, 1200, 20):
        loss = 0.35 + 3.2 * math.exp(-step / 260) + 0.05 * draw.random()
        run.log(
            step, "warm_start", {"loss/next_token": loss, "tokens/trained": 1000, "compute/finetune_flops": 4e9 * step}
        )
    flops = 0.0
    for step in range(steps + 1):
        rise = 1 / (1 + math.exp(-(step - steps * 0.35) / (steps * 0.09)))
        reward, length = 0.21 + 0.72 * rise + 0.02 * draw.gauss(0, 1), 3.2 + 20.4 * rise
        if step:
            flops += 4.4e10 * (0.4 + rise)
            metrics = {
                "reward/mean": min(1, reward),
                "reward/pass_rate": min(1, reward + 0.25 * (1 - rise)),
                "groups/zero_variance": 0.2 + 0.5 * rise + 0.04 * draw.random(),
                "policy/entropy": 0.9 - 0.7 * rise + 0.03 * draw.random(),
                "optim/grad_norm": 0.4 + 0.3 * draw.random(),
                "policy/clip_share": 0.004 * draw.random(),
                "policy/mismatch_kl": 3e-7 * (1 + draw.random()),
                "length/thinking": length,
                "length/correct": length + 1,
                "length/wrong": length * 0.8 + draw.random(),
                "length/truncated": 64.0 if rise > 0.3 else None,
                "tokens/sampled": int(256 * length),
                "compute/reinforce_flops": flops,
                "time/sampling_seconds": 0.4,
            }
            run.log(step, "reinforce", metrics)
        if step % max(1, steps // 12) == 0:
            found = estimate(min(0.97, 0.21 + 0.72 * rise))
            metrics = {f"evaluate/accuracy{end}": found[name] for end, name in ENDS.items()}
            measured = {"evaluate/thinking_tokens": length, "compute/reinforce_flops": flops}
            forced = estimate(0.86)
            made = {f"evaluate/made_to_think{end}": forced[name] for end, name in ENDS.items()} if not step else {}
            run.log(step, "evaluate", metrics | measured | made)


def frontier() -> dict[str, object]:
    reached = {"warm start": (0.05, 0.11, 0.19, 0.21, 0.21, 0.21), "trained": (0.06, 0.15, 0.30, 0.50, 0.71, 0.95)}
    spent = {"warm start": (1.4, 2.2, 2.9, 3.2, 3.2, 3.2), "trained": (2.0, 3.9, 7.4, 13.2, 19.8, 23.6)}
    curves = {}
    for model, means in reached.items():
        one, cost = means[2], spent[model][2]
        votes = [(k, cost * k, one + (0.10 if model == "trained" else 0.05) * math.log2(k)) for k in (1, 2, 4, 8, 16)]
        curves[model] = {
            "budgets": [
                {"budget": b, "accuracy": estimate(m), "thinking_tokens": s, "tokens": s + 2}
                for b, m, s in zip(BUDGETS, means, spent[model], strict=True)
            ],
            "majority": [{"attempts": k, "tokens": t, "accuracy": estimate(m)} for k, t, m in votes],
            "oracle": [
                {"attempts": k, "tokens": t, "accuracy": estimate(min(0.97, 1 - (1 - one) ** (k**0.8)))}
                for k, t, _ in votes
            ],
            "majority_budget": 8,
            "at_once": estimate(0.22 if model == "trained" else 0.2) | {"thinking_tokens": 0.0, "tokens": 2.0},
            "always_thinks": False,
        }
        made = means if model == "trained" else (0.05, 0.10, 0.22, 0.4, 0.62, 0.86)
        curves[f"{model}, made to think"] = {
            "budgets": [
                {"budget": b, "accuracy": estimate(m), "thinking_tokens": s, "tokens": s + 2}
                for b, m, s in zip(BUDGETS, made, (2.0, 3.9, 7.4, 13.2, 19.8, 23.6), strict=True)
            ]
        }
    return {"task": "recurrence", "problems": 200, "attempts": 8, "curves": curves}


def build_run(folder: Path, steps: int = 24, problems: int = 12, attempts: int = 2, why: str = "") -> Path:
    with Run.open(folder, RECIPE) as run:
        log_training(run, steps)
        run.keep("warm-start", groups("compare", problems, attempts, thinks=False, why=why))
        run.keep("trained", groups("compare", problems, attempts, thinks=True, why=why), step=steps)
        for step in (1, steps):
            kept = groups(f"train/step-{step}", 3, 4, thinks=step > 1)
            advantages = {
                r.id: [r.score.reward - 0.5] * sum(r.transcript.by(Author.MODEL)) for group in kept for r in group
            }
            run.keep(f"step-{step:06d}", kept, advantages, step)
        run.record("frontier", frontier())
        gain = {"mean": 0.09, "low": 0.05, "high": 0.13}
        run.record("gains", {"budget": 64, "equal_thinking": gain, "over_made_to_think": gain,
                             "free": {"mean": 0.74, "low": 0.7, "high": 0.78}})  # fmt: skip
        run.record("gate", {"direct": estimate(0.22), "thinking": estimate(0.86), "margin": 0.3, "passed": True})
        run.record("cost", {
            "flops": {"warm start": 4.9e12, "sampling": 6.1e11, "learning": 1.6e12},
            "tokens": {"warm start": 1_150_000, "sampling": 402_113, "learning": 361_002},
            "seconds": {"warm start": 90.2, "sampling": 31.0, "learning": 22.4, "scoring": 0.4, "evaluation": 14.2},
            "parameters": 612_864, "threads": 2, "machine": "2 cores of an x86-64 server",
        })  # fmt: skip
        run.record("notes", {"not_shown": NOTES})
    return folder


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    return build_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_run(tmp_path / "demo")
