"""`evaluate`: the accuracy of a model, a sampler or a strategy on held-out problems of a task."""

from poziomka.app.public.model import Model, load
from poziomka.app.public.training import TrainedRun
from poziomka.core.errors import TaskError
from poziomka.core.rollouts import evaluation
from poziomka.core.rollouts.evaluation import Evaluation
from poziomka.core.rollouts.scoring import Scoring
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.task import Task
from poziomka.inference.endpoint.address import is_url
from poziomka.inference.remote import RemoteSampler
from poziomka.tasks import task_named

PROBLEMS = 200  # problems of an evaluation, where there are as many


def evaluate(
    model: Sampler | Model | TrainedRun | str,
    task: Task | str,
    sampling: SamplingParams | None = None,
    *,
    problems: int | None = None,
    attempts: int = 1,
    split: str = "test",
    scoring: Scoring | None = None,
) -> Evaluation:
    """Evaluates a model on held-out problems; the same call gives the same result.

        print(pz.evaluate(pz.Thinker(run.sampler(), pz.Majority(votes=16)), task, problems=500))   # 0.87 [0.84, 0.90]

    Args:
        model: a sampler (a Thinker is one, and runs a strategy), a model, a finished run, the name of a model, or the
            URL of an OpenAI-compatible endpoint with the name of its model: "http://localhost:8000/v1#qwen3-8b".
        task: a Task, or the name of one (see `task_named`).
        sampling: temperature, most tokens and thinking budget of an attempt; None means temperature 1, 512 tokens.
        problems: number of problems; None for 200, or all where there are fewer.
        attempts: attempts at each problem.
        split: "test", "validation" or "train".
        scoring: open worker processes of the task's scorer, to be shared by several calls; None starts and stops some.

    Returns:
        The judged attempts, printed as accuracy with its 95 % interval.

    Raises:
        TaskError: the split has fewer problems than `problems`, or none.
        PoziomkaError: the model cannot be loaded or cannot sample.
    """
    task = task_named(task) if isinstance(task, str) else task
    if problems is not None:
        there = len(task.first(split, problems, stand_ins=True)) if problems > 0 else 0
        if there < max(problems, 1):
            message = (
                f"task {task.name!r} has {there} problems of {problems} in {split!r}: ask for 1 or more that exist, or "
                "leave `problems` out"
            )
            raise TaskError(message)
    if isinstance(model, str):
        model = RemoteSampler(model) if is_url(model) else load(model)
    sampler = model if isinstance(model, Sampler) else model.sampler()
    number = problems or PROBLEMS
    params = sampling or SamplingParams()
    return evaluation.evaluate(sampler, task, params, problems=number, attempts=attempts, split=split, scoring=scoring)
