"""Toolbox: an environment of several tools that the model calls while it thinks.

A session runs the calls in the model's latest text and replies with their results. Each called tool runs in the
session, keeps its state between calls and is forked with the session. Calls run inline, one after another in the order
in which they were written, in no thread: the same text gets the same results, so a run is as reproducible as its tools.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

from poziomka.core.environment import Reply
from poziomka.core.errors import EnvironmentFailure, SettingsError, reason_of
from poziomka.core.problem import Problem
from poziomka.core.safety.failures import failures_of
from poziomka.core.transcript import Author, Message, Span, Stop, Tools, Transcript
from poziomka.environments.tools.formats.call_format import Call, CallFormat, Plain, Result, latest, unmarked
from poziomka.environments.tools.formats.registry import format_named
from poziomka.environments.tools.tool import RunningTool, Tool, ToolFault

MOST = 8  # maximum calls of a session
SHOWN = 2000  # maximum characters of a result


class Toolbox:
    """An Environment with tools that the model can call while it writes.

    Args:
        tools: the tools, with different names.
        calls: format in which the model writes calls: a name of formats.registry.FORMATS, or a CallFormat. None:
            `suited` can select the format of the model's chat template; until then it is "plain", or "hermes:inside" if
            "plain" cannot write the calls of a tool.
        most: maximum calls of a session; further calls are answered with a message that none is left.
        shown: maximum characters of a result that the model reads; the middle of a longer one is left out.

    Raises:
        SettingsError: no tool, two of one name, a limit that is not positive, or a tool that the format cannot call.
    """

    def __init__(
        self, tools: Sequence[Tool], calls: str | CallFormat | None = None, most: int = MOST, shown: int = SHOWN
    ) -> None:
        """Checks the arguments; opens no tool."""
        names = [tool.name for tool in tools]
        if not names or len(set(names)) < len(names):
            message = f"a toolbox holds tools of different names: received {names}"
            raise SettingsError(message)
        if most < 1 or shown < 1:
            message = f"a toolbox's limits are 1 or more: received most {most}, shown {shown}"
            raise SettingsError(message)
        self.chosen = calls is not None
        if calls is None:
            calls = "hermes:inside" if any(Plain().refuse(tool) for tool in tools) else "plain"
        self.format = format_named(calls) if isinstance(calls, str) else calls
        for tool in tools:
            why = self.format.refuse(tool)
            if why:
                message = f"calls of {tool.name!r} cannot be written in the format {self.format.name!r}: {why}"
                raise SettingsError(message)
        self.tools = {tool.name: tool for tool in tools}
        self.most = most
        self.shown = shown

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings after which generation stops for the session's reply; () if a call ends the model's turn."""
        return self.format.stop

    def open(self, problem: Problem) -> "ToolboxSession":
        """Returns a new session, which opens each tool at its first call.

        Args:
            problem: unused: every problem gets the same tools.
        """
        return ToolboxSession(self, {}, 0)

    def suited(self, calls: str) -> "Toolbox":
        """Returns a toolbox with the same tools and limits and another call format.

        If the format of this toolbox was given explicitly, it is kept, and this toolbox itself is returned.

        Args:
            calls: name of the call format, for example the one that the model's chat template describes.
        """
        return self if self.chosen else Toolbox([*self.tools.values()], calls, self.most, self.shown)

    @cached_property
    def described(self) -> Tools:
        """Definitions of the tools, which the chat format renders into the prompt."""
        schemas = tuple(tool.schema for tool in self.tools.values())
        return Tools(schemas, self.format.signs, self.prompt(), tuple(self.examples()))

    def prompt(self) -> str:
        """Returns instructions for calling the tools, to put into a prompt.

        They are for a model that was not trained on the call format, or whose chat template describes no tools. Weak
        models need `examples` in addition.
        """
        return self.format.explain(self.tools)

    def examples(self) -> list[Message]:
        """Returns the tools' examples as messages (question, call, result, answer) to put before a conversation."""
        said = []
        for tool in self.tools.values():
            for example in tool.examples:
                call = self.format.call(tool, example.arguments, alone=len(self.tools) == 1)
                result = Result(Call(tool.name, example.arguments), example.result)
                (text,) = self.format.write([result], message=not self.stop)
                said.append(Message("user", example.question))
                if self.stop:
                    said.append(Message("assistant", f"{call}{text} {example.answer}"))
                else:
                    answered = (("assistant", call), ("tool", text), ("assistant", example.answer))
                    said += [Message(role, words) for role, words in answered]
        return said

    def close(self) -> None:
        """Closes all tools, which releases the resources that sessions share; may be called twice.

        Raises:
            EnvironmentFailure: a tool could not be closed; all others were.
        """
        _close_all(self.tools)


class ToolboxSession:
    """A Session that runs the tool calls in the model's text and replies with their results.

    Args:
        toolbox: the tools, their format and limits.
        running: tools that are already open, by name; the session owns them.
        made: number of calls made so far.

    Attributes:
        after_end: whether the session also answers calls in a turn that the model ended itself.
    """

    after_end = True

    def __init__(self, toolbox: Toolbox, running: dict[str, RunningTool], made: int) -> None:
        """Stores the arguments; opens no tool: the first call of each tool does."""
        self._toolbox = toolbox
        self._running = running
        self._made = made
        self._closed = False

    async def reply(self, transcript: Transcript) -> Reply | None:
        """Runs the calls in the model's latest text and returns their results; None if there are no calls.

        Calls beyond the session's limit are answered with a message that none is left. Of one turn, at most one call
        more than the limit is answered.

        Raises:
            EnvironmentFailure: a tool failed, or the session is closed.
        """
        toolbox = self._toolbox
        calls = toolbox.format.read(latest(transcript), toolbox.tools)[: toolbox.most + 1]
        if not calls:
            return None
        results = [self._result(call) for call in calls]
        texts = toolbox.format.write(results, message=transcript.stop is Stop.END)
        first, *more = [Span(Author.ENVIRONMENT, text) for text in texts]
        faults = [result.text for result in results if result.fault]
        return Reply(first, feedback="; ".join(faults) or None, more=tuple(more))

    def unfinished(self, transcript: Transcript) -> bool:
        """Returns whether the last stop string is part of an argument of an unfinished call.

        The model then continues without a reply.
        """
        return self._toolbox.format.unclosed(latest(transcript))

    def _result(self, call: Call) -> Result:
        toolbox = self._toolbox
        if self._made >= toolbox.most:
            return self._told(call, f"no call is left: at most {toolbox.most} can be made; answer now")
        self._made += 1
        if call.fault:
            return self._told(call, call.fault)
        tool = toolbox.tools[call.name]
        try:
            return self._told(call, tool.run(self._opened(tool), call.arguments), fault=False)
        except ToolFault as fault:
            return self._told(call, str(fault))

    def _told(self, call: Call, text: str, *, fault: bool = True) -> Result:
        return Result(call, unmarked(shortened(text, self._toolbox.shown), self._toolbox.format.marks), fault)

    def _opened(self, tool: Tool) -> RunningTool:
        if self._closed:
            message = f"the session is closed: the tool {tool.name!r} cannot be called any more"
            raise EnvironmentFailure(message)
        if tool.name not in self._running:
            with failures_of(f"opening the tool {tool.name!r}", passes=(ToolFault,)):
                self._running[tool.name] = tool.open()
        return self._running[tool.name]

    def fork(self) -> "ToolboxSession":
        """Returns a session with a fork of each open tool and the same number of calls left.

        Raises:
            EnvironmentFailure: a tool cannot fork.
        """
        forks: dict[str, RunningTool] = {}
        try:
            for name, running in self._running.items():
                with failures_of(f"forking the tool {name!r}"):
                    forks[name] = running.fork()
        except BaseException:
            ToolboxSession(self._toolbox, forks, 0).close()
            raise
        return ToolboxSession(self._toolbox, forks, self._made)

    def close(self) -> None:
        """Closes every open tool, even if closing another one fails; may be called twice.

        Raises:
            EnvironmentFailure: one could not be closed; the others were.
        """
        self._closed = True
        running, self._running = self._running, {}
        _close_all(running)


def _close_all(tools: Mapping[str, RunningTool | Tool]) -> None:
    """Closes all tools, even if closing one of them fails.

    Raises:
        EnvironmentFailure: some could not be closed; the message has their names.
    """
    failed = []
    for name, tool in tools.items():
        try:
            tool.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 whatever it raises, the others must be closed
            failed.append(f"{name}: {reason_of(error)}")
    if failed:
        message = f"a tool could not be closed: {'; '.join(failed)}"
        raise EnvironmentFailure(message)


def shortened(text: str, most: int) -> str:
    """Returns a text, without its middle if it has more than `most` characters.

    A note in place of the middle gives the number of characters left out; the note is not counted in `most`.
    """
    if len(text) <= most:
        return text
    head = most // 2
    tail = most - head
    return f"{text[:head]}\n[… {len(text) - most:,} characters left out …]\n{text[-tail:]}"
