"""`poziomka evaluate`: held-out accuracy of a run's newest weights, at thinking budgets of one's choice."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from poziomka.cli.progress import doing
from poziomka.core.errors import SettingsError
from poziomka.core.evaluation import Evaluation
from poziomka.core.sampler import Sampling
from poziomka.reports.words import counted
from poziomka.runs.run import Run
from poziomka.thinking.budget import at_budgets
from poziomka.training.build import load
from poziomka.training.measure import failures

SCHEMA = 1  # of what `--json` prints


@dataclass(frozen=True)
class Curve:
    """What a run's newest weights reach at several budgets.

    Attributes:
        run: its folder.
        policy: the version of the weights.
        task: the problems' task.
        problems: held-out problems at each budget.
        attempts: at each problem.
        sampling: settings of every request; the budget stands in `found`.
        found: the evaluation, by budget.
        notes: what a person should know of the run's folder (a damaged checkpoint that was passed over).
    """

    run: Path
    policy: str
    task: str
    problems: int
    attempts: int
    sampling: Sampling
    found: Mapping[int, Evaluation]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """A table: budget, accuracy with its interval, thinking tokens really spent."""
        drawn = f"{counted(self.problems, 'held-out problem')}, {counted(self.attempts, 'attempt')} each"
        lines = [f"{self.run} at {self.policy} · task {self.task} · {drawn}"]
        rows = [("budget", "accuracy [95 %]", "thinking tokens", "reply tokens")]
        for budget, each in self.found.items():
            rows.append((str(budget), str(each.accuracy), f"{each.thinking:.1f}", f"{each.tokens:.1f}"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, *self._failed()])

    def _failed(self) -> list[str]:
        """Returns a line for each budget at which checks failed: how many, and what they leave open."""
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
        """Returns the same as one JSON object."""
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
    """Lets a run's newest weights think once, at the largest budget, and cuts that thought at each smaller one.

    Args:
        folder: the run's.
        budgets: thinking tokens; none for those of its recipe.
        problems: held-out problems; None for the recipe's number.
        attempts: at each problem; None for the recipe's number.

    Raises:
        RunError: the folder is no run's, has no checkpoint that can be read, or what the run reads has changed since.
        SettingsError: a budget below 0.
    """
    with doing(f"loading {folder}", always=False):
        recipe, task, sampler = load(folder)
    run = Run.read(folder)
    run.latest()  # notes what is damaged
    settings, own = recipe.evaluate, recipe.reinforce.sampling
    budgets = sorted(set(budgets or settings.budgets))
    if budgets[0] < 0:
        message = f"budgets are thinking tokens, 0 or more: received {budgets[0]}"
        raise SettingsError(message)
    there = task.count("test")
    problems = problems or settings.problems
    problems = problems if there is None else min(problems, there)
    attempts = attempts or settings.attempts
    answer = max(1, own.tokens - (own.think_most or 0))  # tokens that the recipe leaves after a whole thought
    sampling = replace(own, think_most=None, tokens=max(own.tokens, answer + max(budgets)))
    drawn = f"{counted(problems, 'held-out problem')}, {counted(attempts, 'attempt')} each"
    with doing(f"answering {drawn}, with at most {counted(budgets[-1], 'thinking token')}"):
        found = at_budgets(sampler, task, sampling, budgets, problems=problems, attempts=attempts)
    ordered = {budget: found[budget] for budget in budgets}
    return Curve(folder, sampler.policy, task.name, problems, attempts, sampling, ordered, run.notes)
