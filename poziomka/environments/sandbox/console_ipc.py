"""Runs code in a console process over three pipes; `worker` is the program at the other end.

Every wait has a timeout and every answer a size limit. Received data is only ever bytes, decoded to text: whatever the
code sends can become its own output and nothing else.
"""

import os
import re
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Protocol

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.interpreter import Output
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.worker.wire_format import is_readable
from poziomka.environments.sandbox.worker.worker import LARGEST, MARK

PATIENCE = 20.0  # seconds; timeout for the set-up of a process, which can take one second on a busy machine
BUSY = 20.0  # seconds beyond its time limit that a call may take if it gets no processor time
TICK = 0.02  # seconds between two checks of resource use
FLOOD = 2**24  # bytes of output beyond which a process is killed; output past the limit of a call is read and dropped
CLEAR = 0.5  # seconds; timeout for the remaining output of an answered call, or for the exit of a process
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")  # an object's address in `repr` output, which differs between processes


class Held(Protocol):
    """Interface of a sandboxed process that runs code and communicates over pipes.

    Attributes:
        asking: file descriptor for requests to the process.
        answering: file descriptor for answer frames from the process.
        writing: file descriptor for the output of the code.
    """

    asking: int
    answering: int
    writing: int

    def resume(self) -> None:
        """Resumes the process after `pause`."""

    def pause(self) -> None:
        """Stops the process until `resume`, if the implementation supports it."""

    def excess(self) -> str:
        """Returns an error message if the process exceeds a resource limit; "" if it exceeds none."""

    def starved(self, seconds: float) -> str:
        """Returns an error message if lack of processor time explains that a call took `seconds`; "" otherwise."""

    def end(self, patience: float = 0.0) -> str:
        """Kills the process and everything it started; returns its exit status in words. May be called twice.

        Args:
            patience: seconds to wait first for the process to exit by itself.
        """

    def free(self) -> None:
        """Closes the pipes of the process; to be called after `end`."""


@dataclass(slots=True)
class Written:
    """Collects the output of one call: its beginning, which is kept, and its end, which shows whether it is complete.

    Output is complete if it ends with the call's mark: 16 random bytes (MARK) that the process writes after the output.

    Attributes:
        most: maximum number of bytes to keep.
        kept: the first bytes of the output.
        end: the last 32 bytes (2 * MARK).
        count: number of bytes received so far.
    """

    most: int
    kept: bytes = b""
    end: bytes = b""
    count: int = 0

    def take(self, part: bytes) -> None:
        """Appends received bytes."""
        self.count += len(part)
        if len(self.kept) < self.most:
            self.kept += part
        self.end = (self.end + part)[-2 * MARK :]

    def text(self, mark: bytes) -> str:
        """Returns the kept output as text, without the mark at its end.

        Args:
            mark: the mark of the call.
        """
        kept = self.kept
        if self.end.endswith(mark) and self.count - len(mark) < len(kept):
            kept = kept[: self.count - len(mark)]
        return kept.decode("utf-8", "replace")


def started(held: Held) -> None:
    """Waits until a sandboxed process is set up, at most 20 seconds (PATIENCE).

    Raises:
        EnvironmentFailure: the set-up failed or timed out; the message has the reason, and the process is ended.
    """
    said = hear(held.answering, time.monotonic() + PATIENCE)
    if said == b"ready":
        return
    words = said.decode("utf-8", "replace") or _last(held.writing)
    how = held.end()
    held.free()
    message = f"a process for code cannot be set up: {words or how or f'it said nothing within {PATIENCE:g} s'}"
    raise EnvironmentFailure(message)


def hear(descriptor: int, until: float) -> bytes:
    """Returns the bytes of the next frame from a pipe; b"" if the pipe was closed, or no valid frame came in time.

    Args:
        descriptor: the file descriptor to read from.
        until: the deadline, by `time.monotonic`.
    """
    said = _Answer()
    while not said.whole and (left := until - time.monotonic()) > 0:
        if is_readable(descriptor, left) and not said.take(os.read(descriptor, said.missing)):
            break
    return said.frame


def _last(descriptor: int) -> str:
    if not is_readable(descriptor, 0):
        return ""
    lines = os.read(descriptor, 65536).decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


class _Answer:
    """A frame (length in four bytes, then data) that is received in parts."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, part: bytes) -> bool:
        """Appends received bytes; returns whether there were any and the frame is still valid."""
        self._data += part
        return bool(part) and self._length <= LARGEST and len(self._data) <= self._length + 4

    @property
    def _length(self) -> int:
        return int.from_bytes(self._data[:4], "big") if len(self._data) >= 4 else 0

    @property
    def missing(self) -> int:
        """Bytes that can be read without reading past the frame."""
        return self._length + 4 - len(self._data) if len(self._data) >= 4 else 4 - len(self._data)

    @property
    def whole(self) -> bool:
        return len(self._data) >= 4 and len(self._data) == self._length + 4

    @property
    def frame(self) -> bytes:
        return self._data[4:] if self.whole else b""


def ask(held: Held, code: str, limits: Limits) -> Output:
    """Runs code in a console process and returns its output; ends the process if the variables are lost.

    Args:
        held: the process, set up by `started`.
        code: Python source.
        limits: limits of the call, of which `seconds` and `output` are used.

    Raises:
        EnvironmentFailure: the machine was too busy to run the code.
    """
    mark = token_hex(MARK // 2).encode()
    request = mark + code.encode("utf-8", "surrogatepass")
    if len(request) > LARGEST:
        return Output("", f"code has at most {LARGEST} bytes: received {len(request)}")
    began = time.monotonic()
    written, answer = Written(4 * limits.output + MARK), _Answer()
    if is_readable(held.answering, 0):
        fault = held.end() or "the process answered what was not asked"
        return Output("", fault, lost=True)
    held.resume()
    fault = _exchange(held, len(request).to_bytes(4, "big") + request, (written, answer), limits.seconds)
    seconds = time.monotonic() - began
    if fault == LATE:
        fault = f"ran longer than {limits.seconds:g} s"
        why = held.starved(seconds)
        if why:
            held.end()
            raise EnvironmentFailure(why)
    kept = not fault
    if kept:
        held.pause()
        kept = answer.frame[:1] == b"k"
        fault = answer.frame[1:].decode("utf-8", "replace")[:1000]
        _clear(held, written, mark)
        excess = held.excess()
        if excess:
            kept, fault = False, excess
    if not kept:
        how = held.end(CLEAR if fault == ENDED else 0.0)
        fault = how if fault == ENDED else fault
        _drain(held, written)
    text = written.text(mark)
    if len(text) > limits.output:
        text, fault = text[: limits.output], fault or f"wrote more than {limits.output} characters"
    return Output(text, fault, lost=not kept, seconds=seconds)


LATE, ENDED = "late", "ended"


def _exchange(held: Held, request: bytes, taken: tuple[Written, _Answer], seconds: float) -> str:
    """Sends a request and reads until the answer is complete; returns "" then, otherwise the error message.

    The message is LATE after the time limit, and ENDED if the process has ended. A process that gets no processor time
    has BUSY (20) more seconds.
    """
    written, answer = taken
    poll = select.poll()
    poll.register(held.answering, select.POLLIN)
    poll.register(held.writing, select.POLLIN)
    poll.register(held.asking, select.POLLOUT)
    began = looked = time.monotonic()
    until = began + seconds
    while True:
        now = time.monotonic()
        if now >= until:
            if now - began >= seconds + BUSY or not held.starved(now - began):
                return LATE
            until = now + seconds
        for descriptor, _ in poll.poll(max(min(until - now, TICK) * 1000, 1)):
            if descriptor == held.asking:
                try:
                    request = request[os.write(held.asking, request[:65536]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    return ENDED
                if not request:
                    poll.unregister(held.asking)
            elif descriptor == held.writing:
                part = os.read(held.writing, 65536)
                if not part:
                    poll.unregister(held.writing)
                written.take(part)
            else:
                part = os.read(held.answering, 65536)
                if not answer.take(part):
                    return "the process answered what is no answer" if part else ENDED
        if answer.whole:
            return ""
        if written.count > FLOOD:
            return f"wrote more than {FLOOD} bytes"
        if now - looked > TICK:
            looked = now
            excess = held.excess()
            if excess:
                return excess


def _clear(held: Held, written: Written, mark: bytes) -> None:
    """Reads the remaining output of an answered call, up to its mark."""
    until = time.monotonic() + CLEAR
    while not written.end.endswith(mark) and time.monotonic() < until:
        if is_readable(held.writing, TICK):
            part = os.read(held.writing, 65536)
            if not part:
                return
            written.take(part)


def _drain(held: Held, written: Written) -> None:
    """Reads the buffered output of a process that has ended."""
    while written.count <= FLOOD and is_readable(held.writing, 0):
        part = os.read(held.writing, 65536)
        if not part:
            return
        written.take(part)


class PipedConsole:
    """A Console that runs code in a sandboxed process over pipes.

    A fork starts its process at its first call and replays the earlier calls in it, which takes as long as they took.
    The fork fails if the output of a replayed call differs: code that reads the clock or the system's randomness cannot
    be replayed.

    Args:
        begin: function that starts a process; its set-up may still be in progress.
        limits: limits of each call.
        past: calls to replay before the first one, each as (code, original output).
    """

    def __init__(self, begin: Callable[[], Held], limits: Limits, past: Sequence[tuple[str, Output]] = ()) -> None:
        """Stores the arguments; the first call starts the process."""
        self._begin = begin
        self._limits = limits
        self._past = list(past)
        self._held: Held | None = None
        self._owner = os.getpid()

    def run(self, code: str) -> Output:
        """Runs code within the limits and returns its output; an error of the code is in `Output.fault`.

        Args:
            code: Python source.

        Raises:
            EnvironmentFailure: no process can be set up, the machine is too busy, or the output of a replay differs.
        """
        held = self._ready()
        try:
            output = ask(held, code, self._limits)
        except BaseException:
            self.close()
            raise
        self._past.append((code, output))
        if output.lost:
            self.close()
        return output

    def fork(self) -> "PipedConsole":
        """Returns a console with a copy of the variables.

        It makes the copy at its first call, by replaying the calls so far in a new process.
        """
        return PipedConsole(self._begin, self._limits, self._past)

    def close(self) -> None:
        """Ends the process; the variables are lost. May be called twice."""
        held, self._held = self._held, None
        self._past = []
        if held is not None and self._owner == os.getpid():
            held.end()
            held.free()

    def __del__(self) -> None:
        """Ends the process of a console that was not closed."""
        with suppress(Exception):
            self.close()

    def _ready(self) -> Held:
        """Returns the process; starts it and replays the past calls if there is none."""
        if self._owner != os.getpid():  # after a fork of this process: it belongs to the parent
            self._held, self._owner = None, os.getpid()
        if self._held is None:
            held = self._begin()
            try:
                started(held)
                os.set_blocking(held.asking, False)
                for number, (code, before) in enumerate(self._past, 1):
                    _repeated(ask(held, code, self._limits), before, f"call {number} of {len(self._past)}")
            except BaseException:
                held.end()
                held.free()
                raise
            self._held = held
        return self._held


def _repeated(again: Output, before: Output, where: str) -> None:
    """Checks that a replayed call gave the same output as before.

    Raises:
        EnvironmentFailure: the outputs differ.
    """
    if _said(again) != _said(before):
        words, earlier = (" ".join(_said(output))[:60] for output in (again, before))
        message = f"a console cannot be forked: {where} said {words!r} when it was run again, and {earlier!r} before"
        raise EnvironmentFailure(message)


def _said(output: Output) -> tuple[str, str]:
    """Returns the text and the fault of an output, with object addresses removed."""
    return ADDRESS.sub("0x", output.text), ADDRESS.sub("0x", output.fault)
