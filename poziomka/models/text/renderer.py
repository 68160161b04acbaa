"""Renders chat templates in a subprocess, with limits on CPU time, memory and output length.

A template comes with a checkpoint and is a program: it may loop forever or print gigabytes. One subprocess, started for
the first template, renders all of them; after a limit ended it, the next request starts a new one.
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

CLOCK = "strftime_now"  # the function through which templates read the time, as in transformers
SECONDS = 10  # CPU time limit for one conversation
MEMORY = 1 << 30  # address space limit in bytes
LENGTH = 4_000_000  # maximum characters of a rendered conversation
COMMAND = "from poziomka.models.text.renderer import serve; serve()"


class Refused(Exception):
    """Error of a chat template that raises an error itself; has the message of the template's error."""


class Renderer:
    """A subprocess that renders chat templates; requests and answers are one line of JSON each."""

    def __init__(self) -> None:
        """Starts the subprocess."""
        inherited = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
        self.owner = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603 our own code
            [sys.executable, "-P", "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=inherited,
            start_new_session=True,  # Ctrl-C must reach the parent only
        )

    def ask(self, request: bytes) -> bytes:
        """Sends a request to the subprocess and returns its answer; b"" if the subprocess has ended.

        Args:
            request: one line of JSON, without the line's end.
        """
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
        """Kills the subprocess; may be called twice."""
        if self.owner != os.getpid():
            return  # a forked child must not kill its parent's subprocess
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.kill()
        self._process.wait()


_lock = Lock()
_running: list[Renderer] = []


def render(source: str, values: Mapping[str, Any], moment: datetime) -> str:
    """Renders a chat template in the subprocess and returns the text.

    Args:
        source: the Jinja source.
        values: the template's variables; values that JSON cannot represent become strings.
        moment: the time that the template's function `strftime_now` returns.

    Raises:
        Refused: the template raised an error, or wrote more than 4,000,000 characters.
        ModelError: the template took more than 10 s of CPU time or 1 GiB of memory.
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
        except BaseException:  # Ctrl-C: the pending answer would be read as that of the next request
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


# ------------------------------------------------------------------------------------------------ in the subprocess
def serve() -> None:
    """Runs the rendering subprocess: reads a request from each line of stdin and writes its answer to stdout."""
    _bound()
    for line in sys.stdin.buffer:
        _allow_seconds()
        _answer(json.loads(line), sys.stdout.buffer)


def _answer(request: dict[str, Any], out: BinaryIO) -> None:
    try:
        told: dict[str, str] = {"text": _rendered(request)}
    except MemoryError:
        os._exit(1)  # no memory is left to write an answer
    except Exception as error:  # noqa: BLE001 a template is a program, and may raise any error
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
        with suppress(ValueError, OSError):  # a lower limit is set already, or the system has none
            resource.setrlimit(what, (most, most))


def _allow_seconds() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + SECONDS
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


# ------------------------------------------------------------------------------------------------------------- Jinja
@lru_cache(maxsize=1)
def environment() -> ImmutableSandboxedEnvironment:
    """Returns the Jinja environment of transformers' chat templates, without its nondeterministic functions.

    Templates run in it only inside the subprocess; the parent process uses it to parse them.
    """
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise
    del made.filters["random"], made.globals["lipsum"]  # prompts must be reproducible
    return made


class Generation(jinja2.ext.Extension):
    """Jinja tag {% generation %} … {% endgeneration %}, which marks replies for trainers; only its body is rendered."""

    tags = {"generation"}  # noqa: RUF012 as Jinja declares it

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Returns the parsed statements between {% generation %} and {% endgeneration %}."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    """Returns a value as JSON, for the filter `tojson`; Jinja's own filter would escape HTML characters."""
    return json.dumps(value, indent=indent, **({"ensure_ascii": False} | options))


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
