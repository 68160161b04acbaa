"""Result of `poziomka evaluate`: its table, its JSON, and its checks that failed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from poziomka.app.measure import failures
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.sampler import SamplingParams
from poziomka.core.splits import TEST, TRAIN, VALIDATION
from poziomka.reports.words import counted, percent
from poziomka.runs.tables import aligned

SCHEMA = 1  # schema version of the output of `--json`
SPLIT_NAMES = {TEST: "held-out problem", VALIDATION: "validation problem", TRAIN: "training problem"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """Accuracy of a model on the problems of a split, at one or several thinking budgets.

    Attributes:
        model: the model as it was named.
        run: folder of the run; None for another model.
        policy: version of the weights.
        endpoint: URL of the endpoint that serves the model; None for a model in this process.
        task: name of the task.
        split: name of the split.
        problems: number of problems at each budget.
        samples: number of attempts at each problem.
        sampling: sampling settings, except the thinking budget.
        seed: seed of the evaluation.
        votes: attempts of a majority vote; None for no vote.
        strategy: text that names the strategy of each attempt; None for single replies.
        read: name of the reader of answers for votes; None for the task's own.
        found: evaluations by thinking budget in tokens; the key None is an evaluation without a budget.
        thinks: whether the model thinks; the thinking tokens of another model are not reported.
        notes: sentences for the user, such as a damaged checkpoint that was skipped.
    """

    model: str
    run: Path | None
    policy: str
    task: str
    split: str
    problems: int
    samples: int
    sampling: SamplingParams
    found: Mapping[int | None, Evaluation]
    endpoint: str | None = None
    seed: int = 0
    votes: int | None = None
    strategy: str | None = None
    read: str | None = None
    thinks: bool = True
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """Returns a table by budget: accuracy with interval, shares without an answer, mean tokens of replies."""
        name = self.model if self.run is None else f"{self.run} at {self.policy}"
        head = f"{name} · task {self.task} · {drawn(self.problems, self.samples, self.split)} · {how(self.sampling)}"
        head += "" if self.strategy is None else f" · strategy {self.strategy}"
        tokens = "reply tokens" if self.strategy is None else "tokens"
        rows: list[tuple[str, ...]] = [
            ("budget", "accuracy [95 %]", "unparsed", "truncated", tokens, "thinking tokens")
        ]
        for budget, each in self.found.items():
            shares = percent(each.unparsed), percent(each.truncated)
            rows.append((str(budget), str(each.accuracy), *shares, f"{each.tokens:.1f}", f"{each.thinking:.1f}"))
        first, last = 1 if None in self.found else 0, None if self.thinks else -1
        rows = [row[first:last] for row in rows]
        return "\n".join([head, *aligned(rows), *self._several(), *self._failed(), *self._cut_off()])

    def _several(self) -> list[str]:
        """Returns lines with the accuracy of the majority vote; [] without a vote."""
        if self.votes is None:
            return []
        return [
            f"{_at(budget)}majority of {self.votes}: {each.majority_at(self.votes)} · at least one of {self.votes} "
            f"right: {each.pass_at(self.votes)}"
            for budget, each in self.found.items()
        ]

    def _failed(self) -> list[str]:
        """Returns a line for each budget with failed checks: their number, and the bounds of the accuracy."""
        lines = []
        for budget, each in self.found.items():
            if each.failures:
                wrong, right = each.bounds
                lines.append(
                    f"{_at(budget)}{counted(each.failures, 'check')} failed and are left out of the accuracy, "
                    f"which is {wrong:.2f} with all of them wrong and {right:.2f} with all of them right"
                )
        return lines

    def _cut_off(self) -> list[str]:
        """Returns a line for each budget at which most replies ended at their token limit."""
        said = [(budget, each.cut_off()) for budget, each in self.found.items()]
        return [f"{_at(budget)}{cut}: raise --max-tokens" for budget, cut in said if cut]

    def demand_judged(self) -> None:
        """Raises TaskError if the scorer failed on all attempts at a budget, which then has no accuracy."""
        for each in self.found.values():
            _ = each.accuracy

    def values(self) -> dict[str, Any]:
        """Returns the results as JSON values."""
        return {
            "schema_version": SCHEMA,
            "model": self.model,
            "run": None if self.run is None else str(self.run),
            "policy": self.policy,
            **({} if self.endpoint is None else {"endpoint": self.endpoint}),
            "task": self.task,
            "split": self.split,
            "problems": self.problems,
            "attempts": self.samples,
            "seed": self.seed,
            "strategy": self.strategy,
            **({} if self.read is None else {"read": self.read}),
            **described(self.sampling),
            "budgets": [self._point(budget, each) for budget, each in self.found.items()],
        }

    def _point(self, budget: int | None, each: Evaluation) -> dict[str, Any]:
        """Returns the results at one budget as JSON values; the accuracy is None if all checks failed."""
        values: dict[str, Any] = {
            "budget": budget,
            "accuracy": asdict(each.accuracy) if any(each.corrects) else None,
            "thinking_tokens": each.thinking if self.thinks else None,
            "tokens": each.tokens,
            "latency": each.latency,
            "unparsed": each.unparsed,
            "truncated": each.truncated,
            "verdicts": each.verdicts(),
            **failures(each),
        }
        if self.votes is not None:
            majority, oracle = each.majority_at(self.votes), each.pass_at(self.votes)
            values["votes"] = {"attempts": self.votes, "majority": asdict(majority), "oracle": asdict(oracle)}
        return values

    def json(self) -> str:
        """Returns the results as one JSON object."""
        return json.dumps(self.values(), ensure_ascii=False, indent=1)


def drawn(problems: int, samples: int, split: str) -> str:
    """Returns the number of problems and attempts in words: "100 held-out problems, 1 attempt each"."""
    noun = SPLIT_NAMES.get(split, f"{split} problem")
    return f"{counted(problems, noun)}, {counted(samples, 'attempt')} each"


def described(sampling: SamplingParams) -> dict[str, Any]:
    """Returns the settings that decide how tokens are sampled as JSON values: temperature, top_p, top_k, …."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "max_tokens": sampling.max_tokens,
    }


def how(sampling: SamplingParams) -> str:
    """Returns the sampling settings in words: "temperature 0.7, top-p 0.9, at most 512 tokens"."""
    words = ["greedy" if sampling.temperature == 0 else f"temperature {sampling.temperature:g}"]
    words += [] if sampling.top_p == 1 else [f"top-p {sampling.top_p:g}"]
    words += [] if sampling.top_k is None else [f"top-k {sampling.top_k}"]
    words += [] if sampling.min_p == 0 else [f"min-p {sampling.min_p:g}"]
    return ", ".join([*words, f"at most {counted(sampling.max_tokens, 'token')}"])


def _at(budget: int | None) -> str:
    return "" if budget is None else f"budget {budget}: "
