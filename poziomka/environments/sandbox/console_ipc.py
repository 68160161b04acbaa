"""A console at the other end of three pipes, whatever holds the process there; `worker` is what answers.

Every wait has a deadline, every answer a bound, and what arrives is bytes until it is text: nothing that the code
sends can be anything but its own output.
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

PATIENCE = 20.0  # seconds within which a process must be set up; a busy machine may take one
BUSY = 20.0  # seconds beyond its limit for which a call may go on that the machine gives no processor
TICK = 0.02  # seconds between two looks at what a process takes
FLOOD = 2**24  # bytes of output at which whoever writes on is ended; up to them they are read and dropped
CLEAR = 0.5  # seconds within which the rest of an answered call's output must arrive, or one that ends must be gone
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")  # of an object, as `repr` writes it: never the same twice


class Held(Protocol):
    """A process that answers over pipes."""

    asking: int  # descriptors: requests go out,
    answering: int  # frames come in,
    writing: int  # and so does what the code writes

    def resume(self) -> None:
        """Lets it run."""

    def pause(self) -> None:
        """Lets it run no further, where that can be."""

    def excess(self) -> str:
        """Returns what it took more of than it may, as a fault; "" where nothing."""

    def starved(self, seconds: float) -> str:
        """Returns why it is the machine's fault that it took so long; "" where it is not."""

    def end(self, patience: float = 0.0) -> str:
        """Ends it with all that it left behind; returns how it had ended, as a fault. May be called twice.

        Args:
            patience: seconds in which it may end by itself.
        """

    def free(self) -> None:
        """Closes the pipes, once it has ended."""


@dataclass(slots=True)
class Written:
    """What code writes: the beginning is kept, and the end, in which the mark must stand."""

    most: int
    kept: bytes = b""
    end: bytes = b""
    count: int = 0

    def take(self, part: bytes) -> None:
        """Takes more of it."""
        self.count += len(part)
        if len(self.kept) < self.most:
            self.kept += part
        self.end = (self.end + part)[-2 * MARK :]

    def text(self, mark: bytes) -> str:
        """Returns what was kept, without the mark."""
        kept = self.kept
        if self.end.endswith(mark) and self.count - len(mark) < len(kept):
            kept = kept[: self.count - len(mark)]
        return kept.decode("utf-8", "replace")


def started(held: Held) -> None:
    """Waits until a process is set up.

    Raises:
        EnvironmentFailure: it is not, and why; it is ended.
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
    """Returns the next frame; b"" where the other side ended, sends no frame, or is late."""
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
    """A frame that arrives in parts."""

    def __init__(self) -> None:
        """Has nothing yet."""
        self._data = b""

    def take(self, part: bytes) -> bool:
        """Takes a part; returns whether it was one, and the frame can still be one."""
        self._data += part
        return bool(part) and self._length <= LARGEST and len(self._data) <= self._length + 4

    @property
    def _length(self) -> int:
        return int.from_bytes(self._data[:4], "big") if len(self._data) >= 4 else 0

    @property
    def missing(self) -> int:
        """How many bytes may be read without a byte of what follows it."""
        return self._length + 4 - len(self._data) if len(self._data) >= 4 else 4 - len(self._data)

    @property
    def whole(self) -> bool:
        return len(self._data) >= 4 and len(self._data) == self._length + 4

    @property
    def frame(self) -> bytes:
        return self._data[4:] if self.whole else b""


def ask(held: Held, code: str, limits: Limits) -> Output:
    """Runs code in a process; where the output says that the variables are lost, the process is ended.

    Raises:
        EnvironmentFailure: the machine was too busy to run it.
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
    """Sends a request and reads until it is answered; returns why it is not, "" where it is.

    A process to which the machine gives no processor has BUSY more seconds.
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
    """Reads what an answered call wrote, as far as its mark."""
    until = time.monotonic() + CLEAR
    while not written.end.endswith(mark) and time.monotonic() < until:
        if is_readable(held.writing, TICK):
            part = os.read(held.writing, 65536)
            if not part:
                return
            written.take(part)


def _drain(held: Held, written: Written) -> None:
    """Reads what is there of the output of a process that has ended."""
    while written.count <= FLOOD and is_readable(held.writing, 0):
        part = os.read(held.writing, 65536)
        if not part:
            return
        written.take(part)


class PipedConsole:
    """A console in a process (a Console).

    A fork has no process until it is used. Then the calls so far are run again in a fresh one, which takes as long as
    they took, and where one of them says anything else than it said, the fork fails: code that reads the clock or
    draws from the machine's randomness cannot be run again.

    Args:
        begin: starts a process, ready or not.
        limits: of every call.
        past: calls to run again before the first, and what each said.
    """

    def __init__(self, begin: Callable[[], Held], limits: Limits, past: Sequence[tuple[str, Output]] = ()) -> None:
        """Starts nothing."""
        self._begin = begin
        self._limits = limits
        self._past = list(past)
        self._held: Held | None = None
        self._owner = os.getpid()

    def run(self, code: str) -> Output:
        """Runs code; see Console.

        Raises:
            EnvironmentFailure: no process can be set up, the machine is too busy, or a fork's past does not repeat.
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
        """Returns a console that begins with the calls so far; see the class."""
        return PipedConsole(self._begin, self._limits, self._past)

    def close(self) -> None:
        """Ends the process."""
        held, self._held = self._held, None
        self._past = []
        if held is not None and self._owner == os.getpid():
            held.end()
            held.free()

    def __del__(self) -> None:
        """Ends the process of a console that nobody closed."""
        with suppress(Exception):
            self.close()

    def _ready(self) -> Held:
        """Returns the process, in which the past has happened."""
        if self._owner != os.getpid():  # of the process that we were forked from
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
    """Checks that a call said what it had said.

    Raises:
        EnvironmentFailure: it did not.
    """
    if _said(again) != _said(before):
        words, earlier = (" ".join(_said(output))[:60] for output in (again, before))
        message = f"a console cannot be forked: {where} said {words!r} when it was run again, and {earlier!r} before"
        raise EnvironmentFailure(message)


def _said(output: Output) -> tuple[str, str]:
    """Returns what an output says, but for addresses."""
    return ADDRESS.sub("0x", output.text), ADDRESS.sub("0x", output.fault)
