"""Adapter of verifiers tasksets, present interface (`import verifiers.v1`, version 0.4 or later).

    import verifiers.v1 as vf
    from poziomka.tasks.adapters import from_taskset

    task = from_taskset("words", vf.load_taskset(vf.TasksetConfig(id="my-words")), gold=lambda data: data.answer)

A problem is a task's data. Its scorer is the task's own `score`, on a real `Trace` of the prompt's messages and one
sampled message of the assistant. As in verifiers' clients, the thought goes into `reasoning_content` and the text after
it into `content`, so that `trace.last_reply` is an answer; if a thought never ends, or ends twice, there is no answer.
Rewards are summed with their weights, as in `trace.reward`; metrics are stored beside them.

An endless taskset becomes an endless task. A taskset without splits is split by prompt, one in eight to "test"; an
endless one, which can only be read in order, to "validation" as well. If a task declares `validate`, it is called for
the right answers of the first tasks, and an error is raised if it denies one.

Tasks that need more than a reply raise an error with the reason: a container, tools, `setup` or `finalize` in a
runtime, a reward that needs the runtime, or a user who writes first.
"""

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from poziomka.core.errors import TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.splits import SPLITS, TEST, TRAIN, VALIDATION, hashed_to_validation
from poziomka.core.task import Task
from poziomka.core.transcript import Message, Stop, Transcript, split_thought
from poziomka.tasks.adapters.reading import LIMITS
from poziomka.tasks.adapters.rows import held_out, key_of, messages_of
from poziomka.tasks.adapters.scale import SHOWN, Scale

PATIENCE = 10_000  # tasks of an endless taskset that are skipped before a split counts as exhausted


def from_taskset(
    name: str,
    taskset: Any,
    *,
    scale: Scale | None = None,
    gold: Callable[[Any], str] | None = None,
    validated: int = 8,
) -> Task:
    """Returns a task whose problems and scorer are those of a verifiers taskset (verifiers.v1).

    Args:
        name: name of the task.
        taskset: a `verifiers.v1.Taskset`, or one for each split, in a dictionary by split name.
        scale: range of a trace's reward; `scale=None` uses 0 to 1.
        gold: returns the right answer for a task's data, as the model should write it; `gold=None` leaves it unknown.
        validated: the first so many tasks of each taskset are read twice and checked with their own `validate`.

    Raises:
        TaskError: `taskset` is no such taskset, a task needs more than one reply (tools, a container, a runtime), or
            `validate` denies the right answer of one of its own tasks.
    """
    tasksets = dict(taskset) if isinstance(taskset, Mapping) else {"": taskset}
    for split, each in tasksets.items():
        if not hasattr(each, "load") or not hasattr(each, "bounded"):
            message = f"a taskset of verifiers.v1 (0.4 or later) is adapted: received a {type(each).__name__}"
            raise TaskError(message)
        if split and not each.bounded:
            message = f"the taskset of {split!r} is endless: give it alone, and it is dealt to train and test by prompt"
            raise TaskError(message)
        _check_reading(each, max(1, validated))
        if type(each).toolsets(each.config):
            message = f"taskset {type(each).__name__} has tools for all of its tasks: only a single reply can be judged"
            raise TaskError(message)
    drawn = {split: Drawn(name, each, split == "", each.bounded) for split, each in tasksets.items()}
    first = next(iter(next(iter(tasksets.values()))), None)
    if first is None:
        message = f"taskset {type(taskset).__name__} has no tasks"
        raise TaskError(message)

    def source(split: str, index: int, level: int | None = None) -> Problem:  # noqa: ARG001 there are no levels
        data, prompt = (drawn.get(split) or drawn[""]).at(split, index)
        return Problem(prompt, gold(data) if gold else "", task=name, key=key_of(name, prompt), facts=_facts(data))

    def size(split: str) -> int:
        shelf = drawn.get(split) or drawn.get("")
        return 0 if shelf is None else shelf.count(split)

    scorer = TraceScorer(first, Scale() if scale is None else scale)
    return Task(
        name,
        source,
        scorer,
        size=size if all(each.bounded for each in tasksets.values()) else None,
        limits=LIMITS,
        splits=tuple(split for split in tasksets if split) or next(iter(drawn.values())).splits,
    )


def _check_reading(taskset: Any, count: int) -> None:
    """Raises TaskError if two readings of the first `count` tasks differ, or if one of them cannot be adapted."""
    first, again = (list(islice(taskset, count)) for _ in range(2))
    if [task.data for task in first] != [task.data for task in again]:
        message = f"taskset {type(taskset).__name__} gives other tasks when it is read again: seed what it draws from"
        raise TaskError(message)
    for task in first:
        _check(task)
        _check_gold(task)


def _check(task: Any) -> None:
    """Raises TaskError if a task needs more than one reply to a prompt, such as tools, a container or a runtime."""
    # the task's package is already imported, since the task exists
    kind, name = sys.modules["verifiers.v1"].Task, type(task).__name__
    changed = [hook for hook in ("setup", "finalize") if getattr(type(task), hook) is not getattr(kind, hook)]
    needy = [each.__name__ for each in task.hooks("reward") if _needs_runtime(each)]
    reasons = {
        "runs in a container": type(task).NEEDS_CONTAINER,
        "has tools": bool(type(task).toolsets(task.config)),
        f"prepares a runtime ({', '.join(changed)})": bool(changed),
        f"has rewards that ask for the runtime ({', '.join(needy)})": bool(needy),
        "has no prompt, since the user opens": task.data.prompt is None,
    }
    for reason, holds in reasons.items():
        if holds:
            message = f"task {name} of a verifiers taskset {reason}: only a single reply to a prompt can be judged here"
            raise TaskError(message)


def _needs_runtime(function: Callable[..., Any]) -> bool:
    asked = inspect.signature(function).parameters.get("runtime")
    return asked is not None and asked.default is inspect.Parameter.empty


def _check_gold(task: Any) -> None:
    """Raises TaskError if a task's `validate` returns False for its right answer, or raises an exception.

    A result of None, and a `validate` that needs a runtime, are accepted.
    """
    if type(task).validate is sys.modules["verifiers.v1"].Task.validate:
        return
    try:
        found = wait_for(task.validate(None))
    except AttributeError:  # an attribute of the runtime, which is None here
        return
    except Exception as error:
        message = f"`validate` of task {task.data.idx} ({type(task).__name__}) raised {type(error).__name__}: {error}"
        raise TaskError(message) from error
    if found is False:
        message = f"task {task.data.idx} ({type(task).__name__}) denies its own right answer: leave it out, or mend it"
        raise TaskError(message)


def _prompt(data: Any) -> tuple[Message, ...]:
    system = (Message("system", data.system_prompt),) if data.system_prompt else ()
    prompt = data.prompt
    if not isinstance(prompt, str) and prompt is not None:
        prompt = [message.model_dump(exclude_none=True) for message in prompt]
    messages = (*system, *messages_of(prompt, f"task {data.idx}"))
    if any(message.role == "tool" for message in messages):
        message = f"the prompt of task {data.idx} quotes a tool: only system, user and assistant are supported"
        raise TaskError(message)
    return messages


def _facts(data: Any) -> dict[str, Any]:
    """Returns a task's data as JSON data, under the key "data".

    Raises:
        TaskError: the data cannot be restored from JSON.
    """
    plain = data.model_dump(mode="json")
    if type(data).model_validate(plain) != data:
        message = f"the data of task {data.idx} is no plain data: it does not survive being written as JSON"
        raise TaskError(message)
    return {"data": plain}


@dataclass
class Drawn:
    """Reads a taskset in order, as far as needed, and assigns its tasks to splits.

    Attributes:
        name: name of the task.
        taskset: the taskset.
        dealt: whether tasks are assigned to splits by a hash of their prompts: one in eight to test, the others to
            train, and, if the taskset is endless, some of these to validation. If false, all tasks are of one split.
        bounded: whether the taskset ends.
        seen: (data, prompt) of the tasks read so far, by split.
        rest: iterator over the tasks not yet read; None before the first is read.
    """

    name: str
    taskset: Any
    dealt: bool
    bounded: bool = True
    seen: dict[str, list[tuple[Any, tuple[Message, ...]]]] = field(default_factory=lambda: {s: [] for s in SPLITS})
    rest: Iterator[Any] | None = None

    def at(self, split: str, index: int) -> tuple[Any, tuple[Message, ...]]:
        """Returns the data and the prompt of the task with this index in a split.

        Raises:
            TaskError: the taskset has no more tasks for this split, or an endless one gave none within 10,000 tasks.
        """
        shelf, passed = self._shelf(split), 0
        while len(shelf) <= index:
            if not self._read() or passed > PATIENCE:
                message = f"taskset {type(self.taskset).__name__} gave {len(shelf)} tasks for {split!r} and no more"
                raise TaskError(message)
            passed += 1
        return shelf[index]

    def count(self, split: str) -> int:
        """Returns the number of tasks in a split, after reading the whole taskset, which must end."""
        while self._read():
            pass
        return len(self._shelf(split))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits to which tasks are assigned by prompt; validation only for endless tasksets."""
        return (TRAIN, TEST) if self.bounded else SPLITS

    def _shelf(self, split: str) -> list[tuple[Any, tuple[Message, ...]]]:
        return self.seen[split if self.dealt and split in self.splits else TRAIN]

    def _read(self) -> bool:
        """Reads one more task into its split; returns False at the end of the taskset."""
        self.rest = iter(self.taskset) if self.rest is None else self.rest
        task = next(self.rest, None)
        if task is None:
            return False
        prompt = _prompt(task.data)
        self._shelf(self._split_of(key_of(self.name, prompt))).append((task.data, prompt))
        return True

    def _split_of(self, key: str) -> str:
        if held_out(self.name, key):
            return TEST
        return VALIDATION if hashed_to_validation(self.name, key) else TRAIN


@dataclass(frozen=True)
class TraceScorer:
    """Scores a transcript by a task's own `score`, on a trace made from the transcript (a scorer).

    Attributes:
        task: any task of the taskset; all of them are of one type and differ in their data.
        scale: range of a trace's reward.
    """

    task: Any
    scale: Scale

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score; an exception of a reward propagates to the caller, which gives the verdict ERROR."""
        task = copy.copy(self.task)
        task.data = type(task.data).model_validate(problem.facts["data"])
        trace = trace_of(task, problem, transcript)
        wait_for(task.score(trace, None))
        unscored = [name for name, reward in trace.rewards.items() if reward is None]
        if unscored or not trace.rewards:
            return Score.failed(Verdict.ERROR, f"the task gave no reward: {', '.join(unscored) or 'it has none'}")
        parts = {name: reward.score for name, reward in trace.rewards.items()}
        why = "; ".join(f"{name} {value:g}" for name, value in parts.items())
        parts |= {f"metric/{name}": value for name, value in trace.metrics.items() if value is not None}
        return self.scale.score(trace.reward, split_thought(transcript.reply)[1], parts, why[:SHOWN])


def trace_of(task: Any, problem: Problem, transcript: Transcript) -> Any:
    """Returns the `verifiers.v1.Trace` that a rollout of `task` with the transcript's reply would have produced."""
    vf = sys.modules["verifiers.v1"]
    state = sys.modules["verifiers.v1.state"].state_cls(type(task))()
    kinds = {"system": vf.SystemMessage, "user": vf.UserMessage, "assistant": vf.AssistantMessage}
    thought, answer = split_thought(transcript.reply)
    reply = vf.AssistantMessage(content=answer or None, reasoning_content=thought or None)
    spoken = [kinds[message.role](content=message.content) for message in problem.prompt]
    nodes = [
        vf.MessageNode(parent=place - 1 if place else None, message=message, sampled=message is reply)
        for place, message in enumerate([*spoken, reply])
    ]
    cut = transcript.stop is Stop.LENGTH
    trace = vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
        agent=vf.AgentInfo(config=vf.AgentConfig(runtime=vf.SubprocessConfig())),
        state=state,
        nodes=nodes,
        calls=[vf.ModelCall(node=len(nodes) - 1, finish_reason="length" if cut else "stop")],
        ok=True,
    )
    trace.stop("agent_completed")
    return trace
