"""Adds tools that the model may call while it thinks to a task, with a price per call."""

from dataclasses import replace

from poziomka.core.errors import SettingsError, TaskError
from poziomka.core.problem import Score
from poziomka.core.task import Delegate, Task
from poziomka.core.transcript import Transcript
from poziomka.environments.tools.formats.call_format import calls_in
from poziomka.environments.tools.toolbox import Toolbox

LEAST = 0.5  # fraction of its reward that a correct answer keeps after any number of calls


def with_tools(task: Task, toolbox: Toolbox, cost: float = 0.0) -> Task:
    """Returns the task with a toolbox as its environment; its problems and splits are unchanged.

    Each call lowers the reward of a correct answer by the fraction `cost`, so that the model learns to solve easy
    problems without calls. After n calls, a correct answer with reward R > 0 earns R max(1 - n cost, 1/2). Every other
    reward is unchanged, because a fraction of a negative reward would be a gain. So no number of calls makes a correct
    answer worth less than a wrong one. (AdaTIR, Fang and Sun 2026, arXiv 2601.14696, clips advantages in the same
    spirit, and raises the cost on problems that the model finds easy. Here the price is the same for all problems.)

    Args:
        task: the task to solve.
        toolbox: the tools; the caller closes it.
        cost: price of a call, as a fraction of the reward of a correct answer, 0 to 1.

    Raises:
        SettingsError: the cost is out of range.
        TaskError: the task has an environment of its own.
    """
    if not 0.0 <= cost <= 1.0:
        message = f"the cost of a call is 0 to 1 of a right answer's reward: received {cost}"
        raise SettingsError(message)
    demand_no_environment(task)

    def priced(score: Score, transcript: Transcript) -> Score:
        calls = calls_in(transcript)
        if score.reward is None:
            return score
        kept = max(1.0 - calls * cost, LEAST) if score.correct and score.reward > 0 else 1.0
        parts = {**score.parts, "calls": float(calls), "cost": score.reward * (1.0 - kept)}
        return replace(score, reward=score.reward * kept, parts=parts)

    price = f", at {cost:g} of a right answer's reward a call" if cost else ""
    told = f"The model may call {' and '.join(toolbox.tools)} while it thinks{price}."
    scorer = Delegate(lambda problem: (task.scorer, problem), priced)
    limits = (*task.limits, told)
    return replace(task, scorer=scorer, environment=lambda _: toolbox, limits=limits, read=task.reader)


def demand_no_environment(task: Task) -> None:
    """Raises TaskError if a task has an environment already."""
    if task.environment is not None:
        message = f"task {task.name!r} talks to an environment of its own: it cannot have tools beside it"
        raise TaskError(message)
