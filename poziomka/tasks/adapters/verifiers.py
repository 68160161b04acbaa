"""Adapter of verifiers environments, older interface (`verifiers.legacy`, and `verifiers` itself before version 0.3).

    import verifiers.legacy as vf
    from poziomka.tasks.adapters import from_verifiers

    task = from_verifiers("words", vf.load_environment("my-words"), gold="answer")

Problems are the rows of the environment's data sets. The scorer runs the environment itself: its own `rollout`, with a
client that replays the transcript, and then its own rubric, so that functions get their parameters by name
(`completion`, `answer`, `parser`, `state`, …), weights are the rubric's, and parsers are the environment's.

This adapter refuses more than verifiers does. A reward function that raises is an ERROR (a rubric logs the exception
and continues with 0); so is a verification of MathRubric that fails or hangs. Rewards of whole groups, tools, and
environments without reward functions raise an error with the reason.

An environment of several turns needs `stop`, the strings with which the model ends a turn, since an exchange here
continues inside one reply. All turns are replayed from the first, for each reply and again for the score; an
environment whose replies differ then is an ERROR.
"""

import copy
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, TypeVar

from poziomka.core.environment import Environment, Reply
from poziomka.core.errors import EnvironmentFailure, TaskError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.task import Task
from poziomka.core.transcript import Author, Span, Stop, Transcript, split_thought
from poziomka.tasks.adapters.exchange import exchange
from poziomka.tasks.adapters.reading import LIMITS, Read, unread, whole
from poziomka.tasks.adapters.rows import Gold, Shelf, spelled
from poziomka.tasks.adapters.scale import SHOWN, Scale

T = TypeVar("T")

SILENT = tuple(f"Math verification {what}" for what in ("failed", "hit hard timeout", "exceeded time limit"))


def from_verifiers(
    name: str,
    environment: Any,
    *,
    scale: Scale | None = None,
    read: Read = whole,
    gold: Gold = None,
    stop: Sequence[str] = (),
) -> Task:
    """Returns a task whose problems and scorer are those of a verifiers environment (older interface).

    Args:
        name: name of the task.
        environment: an environment from `load_environment`; its evaluation rows are the split "test". Without any, one
            prompt in eight belongs to "test".
        scale: range of the rubric's reward; `scale=None` uses 0 to 1.
        read: selects the part of a reply that the environment receives; the default, `whole`, does as verifiers. It is
            used for environments of a single turn only.
        gold: name of the column with the right answer, or a function that returns it for a row, as the model should
            write it; `gold=None` leaves it unknown.
        stop: strings that end the model's turn; required for environments of several turns, and only for these.

    Raises:
        TaskError: `environment` is not an environment of verifiers, or cannot be adapted: it has tools, group rewards
            or no reward function, or groups several environments.
    """
    kinds = {kind.__name__ for kind in type(environment).__mro__}
    if "Environment" not in kinds or not hasattr(environment, "rubric"):
        message = f"an environment of verifiers is adapted: received a {type(environment).__name__}"
        raise TaskError(message)
    single = "SingleTurnEnv" in kinds
    _check(environment, kinds, single=single, stop=stop)
    rows: Any = environment.build_dataset()
    tested = environment.build_eval_dataset()
    if tested is not None:
        rows = {"train": [] if rows is None else rows, "test": tested}
    shelf = Shelf(name, rows, gold)
    played = Played(environment)
    scorer = RubricScorer(played, Scale() if scale is None else scale, read if single else whole)
    talk: Environment = Turns(played, tuple(stop))
    return Task(
        name,
        shelf.source,
        scorer,
        environment=None if single else lambda _: talk,
        size=shelf.size,
        splits=shelf.splits,
        limits=LIMITS,
    )


def _check(environment: Any, kinds: set[str], *, single: bool, stop: Sequence[str]) -> None:
    """Raises TaskError with the reason if an environment cannot be adapted."""
    name = type(environment).__name__
    rubric = environment.rubric
    reasons = {
        "is a group of environments: adapt each of them and mix the tasks": "EnvGroup" in kinds,
        "calls tools in the chat format of its model: only words are exchanged here": "ToolEnv" in kinds,
        "plays no turns: it needs a `rollout` of its own": "MultiTurnEnv" not in kinds,
        "compares whole groups (has_group_rewards): a reward here is of one attempt": rubric.has_group_rewards,
        "takes several turns: say with stop=(…,) what ends the model's turn": not single and not stop,
        "takes one turn: leave out stop": single and bool(stop),
        "has no reward function": not any(rubric._get_reward_weights()),  # noqa: SLF001 as its own evaluation does
    }
    for reason, holds in reasons.items():
        if holds:
            message = f"environment {name} of verifiers {reason}"
            raise TaskError(message)


# ------------------------------------------------------------------------------------------------------------ rubric
class Inline(Executor):
    """Executor that runs MathRubric's verification in this process: a scorer's process must not have children.

    The scorer's own timeout applies, in any thread. MathRubric's timeout is an alarm, which only a main thread can set:
    in others it raises, and the answer would count as wrong.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Calls the function and returns a finished future."""
        if getattr(fn, "__name__", "") == "verify_response":
            args = (*args[:-1], 0)  # the last argument is the timeout in seconds; 0: none
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 the future passes it on
            done.set_exception(error)
        return done


def watched(rubric: Any, failures: list[str]) -> Any:
    """Returns a copy of a rubric that records exceptions of its functions and starts no process.

    Args:
        rubric: the rubric of a verifiers environment.
        failures: list to which a message is appended for each exception or failed check.
    """
    twin = copy.copy(rubric)
    twin.logger = Listening(rubric.logger, failures)
    twin.__dict__.pop("executor_name", None)  # so that closing the copy does not close the original's executor
    if hasattr(twin, "executor"):
        twin.executor = Inline()
    if hasattr(twin, "rubrics"):
        twin.rubrics = [watched(each, failures) for each in twin.rubrics]
    twin.funcs = [_watched(_bound(function, rubric, twin), failures) for function in twin.funcs]
    return twin


def _bound(function: Callable[..., Any], rubric: Any, twin: Any) -> Callable[..., Any]:
    """Returns a rubric's own method bound to its copy, and any other function unchanged."""
    own = getattr(function, "__self__", None) is rubric
    return MethodType(function.__func__, twin) if own else function  # type: ignore[attr-defined]  # own: it is a method


def _watched(function: Callable[..., Any], failures: list[str]) -> Callable[..., Any]:
    async def awaited(result: Any) -> Any:
        with _noting(function, failures):
            return await result

    @functools.wraps(function)  # the rubric reads the name and the parameters
    def call(*args: Any, **kwargs: Any) -> Any:
        with _noting(function, failures):
            result = function(*args, **kwargs)
        return awaited(result) if inspect.isawaitable(result) else result

    return call


@contextmanager
def _noting(function: Callable[..., Any], failures: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        failures.append(f"{getattr(function, '__name__', 'a reward function')} raised {type(error).__name__}: {error}")
        raise


class Listening(logging.Logger):
    """Logger that records a rubric's messages about failed checks, which count as 0, and forwards to its own logger.

    Args:
        log: the rubric's own logger.
        failures: list to which the messages are appended.
    """

    def __init__(self, log: logging.Logger, failures: list[str]) -> None:
        super().__init__(log.name)
        self._log_of_rubric, self._failures = log, failures

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 logging's own name
        """Returns True: every record is checked, even if logging is disabled."""
        return True

    def handle(self, record: logging.LogRecord) -> None:
        """Records a message about a failed check, and passes the record on to the rubric's logger."""
        said = record.getMessage()
        if said.startswith(SILENT):
            self._failures.append(said)
        if self._log_of_rubric.isEnabledFor(record.levelno):
            self._log_of_rubric.handle(record)


# ------------------------------------------------------------------------------------------------------------- turns
class NotSaid(Exception):
    """Raised in a replay when the environment needs a turn that the model has not written yet.

    Args:
        messages: the prompt of that turn.
    """

    def __init__(self, messages: Sequence[Any]) -> None:
        super().__init__("the model's turn")
        self.messages = list(messages)


@dataclass
class Played:
    """Replays rollouts of a verifiers environment with given turns of the model.

    Attributes:
        environment: the environment.
        failures: messages of exceptions and failed checks of its rubric in the latest call of `judge`.
    """

    environment: Any
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Copies the rubric, so that it records failures."""
        kind = next(kind for kind in type(self.environment).__mro__ if kind.__name__ == "Environment")
        self.root = kind.__module__.rpartition(".envs.")[0]
        self.rubric = watched(self.environment.rubric, self.failures)

    async def play(self, problem: Problem, said: Sequence[str], *, cut: bool = False) -> Any:
        """Replays a rollout with given turns of the model, and returns the environment's final state.

        Args:
            problem: the problem.
            said: the model's turns.
            cut: whether the last turn was cut off at its length limit.

        Raises:
            NotSaid: the environment needs another turn.
            EnvironmentFailure: the environment failed.
        """
        columns: Mapping[str, Any] = problem.facts["columns"]  # type: ignore[assignment]  # as rows.py has made it
        client = self._client(list(said), cut=cut)
        state = await self.environment.rollout({"prompt": spelled(problem.prompt), **columns}, client, "poziomka", {})
        if state.get("error") is not None:
            message = f"environment {type(self.environment).__name__} failed: {state['error']!r}"
            raise EnvironmentFailure(message)
        return state

    async def judge(self, state: Any) -> None:
        """Runs the rubric, which writes "reward" and "metrics" into `state`, a result of `play`."""
        self.failures.clear()
        await self.rubric.score_rollout(state)
        await self.rubric.cleanup(state)

    def _client(self, left: list[str], *, cut: bool) -> Any:
        """Returns a verifiers client that takes its replies from `left`, one by one, instead of calling a model."""
        # the environment's package is already imported, since the environment exists
        kind = sys.modules[f"{self.root}.clients"].Client
        types = sys.modules[f"{self.root}.types"]

        async def get_response(_client: Any, prompt: Any, model: str, *_: Any, **__: Any) -> Any:
            if not left:
                raise NotSaid(prompt)
            ends = cut and len(left) == 1
            reason = "length" if ends else "stop"
            message = types.ResponseMessage(content=left.pop(0), finish_reason=reason, is_truncated=ends)
            return types.Response(id="", created=0, model=model, message=message)

        unused = dict.fromkeys(kind.__abstractmethods__)  # they are for endpoints, and there is none
        return type("Replay", (kind,), {**unused, "get_response": get_response})(None)


@dataclass(frozen=True)
class RubricScorer:
    """Scores a transcript by replaying the environment's rollout and running its rubric (a scorer).

    Attributes:
        played: replays the environment.
        scale: range of the rubric's reward, which is mapped to 0 to 1.
        read: selects the part of a reply that the environment receives; for a single turn only.
    """

    played: Played
    scale: Scale
    read: Read

    def __call__(self, problem: Problem, transcript: Transcript) -> Score:
        """Returns the score; an exception of the environment propagates to the caller, which makes it an ERROR."""
        shown = self.read(transcript.reply)
        if shown is None:
            return unread(self.read)
        said, heard = exchange(transcript)
        return wait_for(self._score(problem, transcript, said if heard else [shown], heard))

    async def _score(self, problem: Problem, transcript: Transcript, said: list[str], heard: list[str]) -> Score:
        try:
            state = await self.played.play(problem, said, cut=transcript.stop is Stop.LENGTH)
        except NotSaid:
            return Score.unparsed(f"the exchange ended after {len(said)} turns, before the environment ended it")
        spoken = [shown(each) for each in between(state["completion"])]
        if [each for each in spoken if each][: len(heard)] != [each for each in heard if each]:
            return Score.failed(
                Verdict.ERROR, "the environment does not repeat itself: it said something else when judged"
            )
        await self.played.judge(state)
        if self.played.failures:
            return Score.failed(Verdict.ERROR, "; ".join(self.played.failures)[:500])
        parts = {name: float(value) for name, value in (state["metrics"] or {}).items()}
        why = "; ".join(f"{name} {value:g}" for name, value in parts.items())
        return self.scale.score(float(state["reward"]), split_thought(transcript.reply)[1], parts, why[:SHOWN])


def between(completion: Sequence[Any]) -> list[list[Any]]:
    """Returns the environment's messages after each turn of the model, one list per turn.

    Args:
        completion: messages of a rollout after its prompt; those with the role "assistant" are the model's.
    """
    found: list[list[Any]] = []
    for message in completion:
        if message.role == "assistant":
            found.append([])
        elif found:
            found[-1].append(message)
    return found


def shown(messages: Sequence[Any]) -> str:
    """Returns messages of an environment as one text for a transcript, with line feeds around each message."""
    said = [message.content if isinstance(message.content, str) else "" for message in messages]
    return "\n".join(("", *said, "")) if said else ""


class Turns:
    """An environment that replays a verifiers environment of several turns (implements `Environment`).

    Args:
        played: replays the verifiers environment.
        stop: strings that end the model's turn.
    """

    def __init__(self, played: Played, stop: tuple[str, ...]) -> None:
        self.played = played
        self.stop = stop

    def open(self, problem: Problem) -> "TurnSession":
        """Returns a session; for each reply it reruns the verifiers environment on all of the model's turns so far."""
        return TurnSession(self.played, problem)


class TurnSession:
    """Replies to the model's turns (implements `Session`); stateless, as it replays all turns in the transcript."""

    def __init__(self, played: Played, problem: Problem) -> None:
        self._played, self._problem = played, problem

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Returns the environment's reply to the model's last turn; None if the environment ended without a message.

        Raises:
            EnvironmentFailure: the environment failed.
        """
        said, _ = exchange(transcript)
        try:
            state = await self._played.play(self._problem, said)
        except NotSaid as waiting:
            rest = waiting.messages[len(self._problem.prompt) :]
            return Reply(Span(Author.ENVIRONMENT, shown(between(rest)[-1]) if rest else ""))
        last = shown(between(state["completion"])[-1])
        return Reply(Span(Author.ENVIRONMENT, last), done=True) if last else None

    def fork(self) -> "TurnSession":
        """Returns another session for the same problem; the transcript contains the turns so far."""
        return TurnSession(self._played, self._problem)

    def close(self) -> None:
        """Does nothing: the session has no resources."""
