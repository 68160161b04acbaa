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
    """An environment of several tools (an Environment).

    Args:
        tools: the tools, with different names.
        calls: format of calls: a name of formats.registry.FORMATS, or a format; None: "plain" ("hermes:inside" if plain
            cannot write the calls of a tool), until `suited` selects the format of a model's chat template.
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
        """Stop strings (see Environment); () if a call ends the model's turn."""
        return self.format.stop

    def open(self, problem: Problem) -> "ToolboxSession":
        """Returns a session; every problem gets the same tools, and a tool is opened at its first call."""
        return ToolboxSession(self, {}, 0)

    def suited(self, calls: str) -> "Toolbox":
        """Returns a toolbox of the same tools with another call format; this one if its format was given explicitly."""
        return self if self.chosen else Toolbox([*self.tools.values()], calls, self.most, self.shown)

    @cached_property
    def described(self) -> Tools:
        """The definitions of the tools, for a chat template or a prompt (see Environment)."""
        schemas = tuple(tool.schema for tool in self.tools.values())
        return Tools(schemas, self.format.signs, self.prompt(), tuple(self.examples()))

    def prompt(self) -> str:
        """Returns instructions for a model that was not trained on the format, or whose template describes no tools.

        Weak models need `examples` in addition.
        """
        return self.format.explain(self.tools)

    def examples(self) -> list[Message]:
        """Returns the tools' examples as messages that can be put before a conversation."""
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
        """Closes all tools and releases the resources that sessions share; may be called twice.

        Raises:
            EnvironmentFailure: a tool could not be closed; all others were.
        """
        _close_all(self.tools)


class ToolboxSession:
    """Runs the calls of one exchange (a Session).

    Args:
        toolbox: the tools, their format and limits.
        running: tools that are already open, by name; the session owns them.
        made: number of calls made so far.

    Attributes:
        after_end: whether the session also answers calls in a turn that the model ended itself.
    """

    after_end = True

    def __init__(self, toolbox: Toolbox, running: dict[str, RunningTool], made: int) -> None:
        """Opens no tool; the first call of each tool does."""
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
        """See Session."""
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
    """Closes all tools; raises EnvironmentFailure with the names of those that could not be closed."""
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
    """Returns at most about `most` characters of a text: its beginning, the length of the omitted part, and its end."""
    if len(text) <= most:
        return text
    head = most // 2
    tail = most - head
    return f"{text[:head]}\n[… {len(text) - most:,} characters left out …]\n{text[-tail:]}"
