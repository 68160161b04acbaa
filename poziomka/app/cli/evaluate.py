"""`poziomka evaluate`: measures the held-out accuracy of a run's newest weights at given thinking budgets."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from poziomka.app.build import load
from poziomka.app.cli.progress import doing
from poziomka.app.measure import failures
from poziomka.core.errors import SettingsError
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.sampler import SamplingParams
from poziomka.reports.words import counted
from poziomka.runs.run import Run
from poziomka.thinking.budget import at_budgets

SCHEMA = 1  # schema version of the output of `--json`


@dataclass(frozen=True)
class Curve:
    """Held-out accuracy of a run's newest weights at several thinking budgets.

    Attributes:
        run: folder of the run.
        policy: version of the weights.
        task: name of the task.
        problems: number of held-out problems at each budget.
        attempts: number of attempts at each problem.
        sampling: sampling settings, except the budget.
        found: evaluations by budget, tokens.
        notes: notes about the run's folder, such as a damaged checkpoint that was skipped.
    """

    run: Path
    policy: str
    task: str
    problems: int
    attempts: int
    sampling: SamplingParams
    found: Mapping[int, Evaluation]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """A table with budget, accuracy and its interval, and the mean tokens of thoughts and replies."""
        drawn = f"{counted(self.problems, 'held-out problem')}, {counted(self.attempts, 'attempt')} each"
        lines = [f"{self.run} at {self.policy} · task {self.task} · {drawn}"]
        rows = [("budget", "accuracy [95 %]", "thinking tokens", "reply tokens")]
        for budget, each in self.found.items():
            rows.append((str(budget), str(each.accuracy), f"{each.thinking:.1f}", f"{each.tokens:.1f}"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, *self._failed()])

    def _failed(self) -> list[str]:
        """Returns a line for each budget with failed checks: their number, and the bounds of the accuracy."""
        lines = []
        for budget, each in self.found.items():
            if each.failures:
                wrong, right = each.bounds
                lines.append(
                    f"budget {budget}: {counted(each.failures, 'check')} failed and are left out of the accuracy, "
                    f"which is {wrong:.2f} with all of them wrong and {right:.2f} with all of them right"
                )
        return lines

    def json(self) -> str:
        """Returns the results as one JSON object."""
        values = {
            "schema_version": SCHEMA,
            "run": str(self.run),
            "policy": self.policy,
            "task": self.task,
            "problems": self.problems,
            "attempts": self.attempts,
            "temperature": self.sampling.temperature,
            "budgets": [
                {
                    "budget": budget,
                    "accuracy": asdict(each.accuracy),
                    "thinking_tokens": each.thinking,
                    "tokens": each.tokens,
                    "verdicts": each.verdicts(),
                    **failures(each),
                }
                for budget, each in self.found.items()
            ],
        }
        return json.dumps(values, ensure_ascii=False, indent=1)


def evaluate(
    folder: Path, budgets: Sequence[int] = (), problems: int | None = None, attempts: int | None = None
) -> Curve:
    """Evaluates a run's newest weights: samples thoughts at the largest budget and truncates them to smaller ones.

    Args:
        folder: folder of the run.
        budgets: budgets in thinking tokens; empty for those of the recipe.
        problems: number of held-out problems; None for the recipe's.
        attempts: number of attempts at each problem; None for the recipe's.

    Raises:
        RunError: the folder has no run or no readable checkpoint, or an input of the run has changed.
        SettingsError: a budget is below 0.
    """
    with doing(f"loading {folder}", always=False):
        recipe, task, sampler = load(folder)
    run = Run.read(folder)
    run.latest()  # adds notes about damaged checkpoints
    settings, own = recipe.evaluate, recipe.sampling
    budgets = sorted(set(budgets or settings.budgets))
    if budgets[0] < 0:
        message = f"budgets are thinking tokens, 0 or more: received {budgets[0]}"
        raise SettingsError(message)
    there = task.count("test")
    problems = problems or settings.problems
    problems = problems if there is None else min(problems, there)
    attempts = attempts or settings.attempts
    answer = max(1, own.max_tokens - (own.max_thinking_tokens or 0))  # tokens of an answer after a full thought
    sampling = replace(own, max_thinking_tokens=None, max_tokens=max(own.max_tokens, answer + max(budgets)))
    drawn = f"{counted(problems, 'held-out problem')}, {counted(attempts, 'attempt')} each"
    with doing(f"answering {drawn}, with at most {counted(budgets[-1], 'thinking token')}"):
        found = at_budgets(sampler, task, sampling, budgets, problems=problems, attempts=attempts)
    ordered = {budget: found[budget] for budget in budgets}
    return Curve(folder, sampler.policy, task.name, problems, attempts, sampling, ordered, run.notes)
