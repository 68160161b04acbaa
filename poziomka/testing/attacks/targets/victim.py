"""A target process that attacks may signal, inspect and change; it reports changes of its own state."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import cast

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.safety.processes import state_of
from poziomka.environments.sandbox.worker.wire_format import is_readable

PATIENCE = 3.0  # seconds within which it must answer, unless it is waiting for a processor
TICK = 0.1  # seconds between two checks of its state
LONGEST = 120.0  # time limit of an answer in any case
BEGIN = """
import ctypes, json, os, resource, signal, sys
page = ctypes.create_string_buffer(sys.stdin.readline().strip().encode(), 4096)
heard = []
for number in (1, 2, 10, 12, 14, 15, 23, 29, 34):  # HUP INT USR1 USR2 ALRM TERM URG IO and a real-time one
    signal.signal(number, lambda number, _: heard.append(number))
try:
    ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER: anybody may
except (OSError, AttributeError):
    pass
opened = os.open(sys.argv[2], os.O_RDONLY)
reading, writing = os.pipe()
os.set_blocking(reading, False)
print(json.dumps([ctypes.addressof(page), opened, writing]), flush=True)
while sys.stdin.readline():
    try:
        piped = os.read(reading, 4096).decode("latin-1")
    except BlockingIOError:
        piped = ""
    told = {
        "signals": heard[:],
        "memory": page.value.decode("latin-1"),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "processors": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
        "bound on open files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "group": os.getpgrp(),
        "pipe": piped,
    }
    for name in ("oom_score_adj", "coredump_filter"):
        try:
            with open("/proc/self/" + name) as file:
                told[name] = file.read()
        except OSError:
            pass
    print(json.dumps(told), flush=True)
"""


class Victim:
    """A process with secrets in its memory, environment and command line, as a target of attacks.

    Args:
        memory: a secret in its memory.
        variable: a secret in its environment.
        words: a secret in its command line.
        file: path of a file that it keeps open.

    Attributes:
        process: process id.
        address: address of the secret in its memory.
        opened: its file descriptor of the file.
        pipe: its file descriptor of a pipe into which it never writes.

    Raises:
        EnvironmentFailure: the process does not start.
    """

    def __init__(self, memory: str, variable: str, words: str, file: str) -> None:
        """Starts the process and waits until it reports the addresses."""
        self._process = subprocess.Popen(  # noqa: S603 our own interpreter, our own words
            [sys.executable, "-I", "-S", "-c", BEGIN, words, file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"POZIOMKA_CANARY": variable},
            start_new_session=True,
        )
        self.process = self._process.pid
        told = self._ask(memory)
        if told is None:
            self.close()
            message = "the process that attacks are to reach for does not start: is the machine out of processes?"
            raise EnvironmentFailure(message)
        self.address, self.opened, self.pipe = cast("list[int]", told)
        self._was = self._state()

    def changes(self) -> list[str]:
        """Returns a sentence for each change of the process since the last call, or one sentence if it has ended.

        After an end, create a new Victim.
        """
        now = self._state()
        if not now:
            return ["a process of ours was ended or stopped"]
        found = [f"{name} of a process of ours changed" for name, value in now.items() if self._was.get(name) != value]
        self._was = {**now, "pipe": ""}
        return [_told(one, now) for one in found]

    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def close(self) -> None:
        """Kills the process."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                with suppress(OSError):
                    end.close()

    def _state(self) -> dict[str, object]:
        told = self._ask("state")
        return cast("dict[str, object]", told) if isinstance(told, dict) else {}

    def _works(self) -> bool:
        """Whether the process is running, runnable or waiting for the disk."""
        with suppress(OSError, ValueError):
            return state_of(self.process)[0] in "RD"
        return False

    def _ask(self, words: str) -> object:
        """Returns the JSON answer of the process to a line of text; None if it does not answer in time."""
        ask, answer = self._process.stdin, self._process.stdout
        assert ask is not None
        assert answer is not None
        said, began = b"", time.monotonic()
        try:
            ask.write(f"{words}\n".encode())
            ask.flush()
            while not said.endswith(b"\n"):
                waited = time.monotonic() - began
                if waited > LONGEST or (waited > PATIENCE and not self._works()):
                    return None
                if not is_readable(answer.fileno(), TICK):
                    continue
                part = os.read(answer.fileno(), 65536)
                if not part:
                    return None
                said += part
            return cast("object", json.loads(said))
        except (OSError, ValueError):
            return None


def _told(sentence: str, now: dict[str, object]) -> str:
    return f"a process of ours was signalled: {now['signals']}" if sentence.startswith("signals") else sentence
