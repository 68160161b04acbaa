"""Renders chat templates in a process of its own, within bounds of time, memory and length.

A template comes with a checkpoint and is a program: it may loop without end, or print gigabytes. The process is started
at the first template and serves all; one that was ended at a bound is started again for the next.
"""

import atexit
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import Any, BinaryIO, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from poziomka.core.errors import ModelError

CLOCK = "strftime_now"  # by which templates ask for the time, as transformers has it
SECONDS = 10  # of a processor's time, for one conversation
MEMORY = 1 << 30  # bytes of address space
LENGTH = 4_000_000  # characters of a rendered conversation
COMMAND = "from poziomka.models.text.renderer import serve; serve()"


class Refused(Exception):
    """What a template raised, in words."""


class Renderer:
    """The process, as this one sees it."""

    def __init__(self) -> None:
        """Starts it."""
        inherited = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
        self.owner = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603 our own code
            [sys.executable, "-P", "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=inherited,
            start_new_session=True,  # Ctrl-C is for us
        )

    def ask(self, request: bytes) -> bytes:
        """Returns the line that answers a request; b"" where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            return b""
        return answer if answer.endswith(b"\n") else b""

    def close(self) -> None:
        """Ends it; may be called twice."""
        if self.owner != os.getpid():
            return  # a copy of this process must not end what the original talks to
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()


_lock = Lock()
_running: list[Renderer] = []


def render(source: str, values: Mapping[str, Any], moment: datetime) -> str:
    """Returns what a template makes of values.

    Args:
        source: the template.
        values: what it may name; plain values.
        moment: what it reads from the clock.

    Raises:
        Refused: the template raised.
        ModelError: it took too long, or too much memory, or wrote too much.
    """
    request = json.dumps({"source": source, "values": values, "moment": moment.isoformat()}, default=str).encode()
    with _lock:
        if _running and _running[0].owner != os.getpid():
            _running.clear()
        if not _running:
            _running.append(Renderer())
            atexit.register(_end)
        try:
            answer = _running[0].ask(request)
        except BaseException:  # Ctrl-C: its answer is still to come, and would be taken for that of the next request
            _end()
            raise
        if not answer:
            _end()
            message = (
                f"the checkpoint's chat template takes more than {SECONDS} s or {MEMORY >> 20} MiB for one "
                "conversation: give another template"
            )
            raise ModelError(message)
    found = json.loads(answer)
    if "text" not in found:
        raise Refused(found["refused"])
    text: str = found["text"]
    return text


def _end() -> None:
    while _running:
        _running.pop().close()


# --------------------------------------------------------------------------------------------------- in that process
def serve() -> None:
    """The process's life: reads requests a line, and answers each with a line."""
    _bound()
    for line in sys.stdin.buffer:
        _allow_seconds()
        _answer(json.loads(line), sys.stdout.buffer)


def _answer(request: dict[str, Any], out: BinaryIO) -> None:
    try:
        told: dict[str, str] = {"text": _rendered(request)}
    except MemoryError:
        os._exit(1)  # there is no memory left to say so
    except Exception as error:  # noqa: BLE001 a template is a program, and raises what it likes
        told = {"refused": str(error)[:1000]}
    out.write(json.dumps(told).encode() + b"\n")
    out.flush()


def _rendered(request: dict[str, Any]) -> str:
    moment = datetime.fromisoformat(request["moment"])
    pieces: list[str] = []
    length = 0
    for piece in _compiled(request["source"]).generate({CLOCK: moment.strftime} | request["values"]):
        pieces.append(piece)
        length += len(piece)
        if length > LENGTH:
            message = f"it writes more than {LENGTH:,} characters"
            raise jinja2.TemplateError(message)
    return "".join(pieces)


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    return environment().from_string(source)


def _bound() -> None:
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # a lower bound is set already, or the system knows none
            resource.setrlimit(what, (most, most))


def _allow_seconds() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + SECONDS
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


# ------------------------------------------------------------------------------------------------------------- Jinja
@lru_cache(maxsize=1)
def environment() -> ImmutableSandboxedEnvironment:
    """Returns Jinja as transformers sets it up for chat templates; what differs from call to call is left out."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise
    del made.filters["random"], made.globals["lipsum"]  # a prompt must repeat
    return made


class Generation(jinja2.ext.Extension):
    """{% generation %} … {% endgeneration %}: marks a reply for trainers; here it is what stands inside."""

    tags = {"generation"}  # noqa: RUF012 as Jinja declares it

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Returns the statements inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """As `json.dumps`: Jinja's own filter escapes what HTML would misread."""
    return json.dumps(value, indent=indent, **({"ensure_ascii": False} | options))


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
