"""Runs CPython in a Docker container; the image needs Python 3.11 or later, for example `docker:python:3.11-slim`.

The container has no network and no capabilities, runs as the user nobody (65534), and its file system is read-only
except for a folder in memory. It runs `worker`, passed as text, so no file of the host is mounted. Images are never
pulled.
"""

import re
import subprocess
from contextlib import suppress
from secrets import token_hex

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox.console_ipc import PipedConsole
from poziomka.environments.sandbox.interpreter import CALL, Isolation, Surface
from poziomka.environments.sandbox.landlock_process import CODE, FILES, ONE_THREAD, asked
from poziomka.environments.sandbox.limits import Limits

PATIENCE = 20.0  # seconds; timeout for commands of docker
NOBODY = "65534:65534"
IMAGE = re.compile(r"[a-zA-Z0-9][\w./:@-]*")
HELD = {
    Surface.FILES: "the container's own, read only; a folder in memory can be written",
    Surface.NETWORK: "the container has none, and seccomp lets no socket be made",
    Surface.PROCESSES: "the container's own only; a limit of their number",
    Surface.VARIABLES: "they are not passed on",
    Surface.MEMORY: "a limit of the container, and of each process",
    Surface.TIME: "by our clock; then the container is killed",
    Surface.DISK: "a limit of its folder, which is in memory",
    Surface.OUTPUT: "cut at the limit; who writes on is killed",
}
NOT_PROTECTED = (
    "Code can read what is in the image, and the clock.",
    "It shares a kernel with us, or with docker's machine: a fault in the kernel can let it out.",
    "Between calls it is not stopped: a thread that it started goes on.",
)


def reason(where: str = "") -> str:
    """Returns the reason why Docker cannot be used on this machine; "" if it can.

    Args:
        where: name of an image that must be present on this machine; with "" only Docker itself is checked.
    """
    why = _asked("docker", "info", "--format", "{{.ServerVersion}}")
    if why or not where:
        return f"docker does not answer: {why}" if why else ""
    if IMAGE.fullmatch(where) is None:
        return f"{where!r} is no name of an image"
    missing = _asked("docker", "image", "inspect", "--format", "{{.Id}}", where)
    return f"there is no image {where!r}: docker pull {where}" if missing else ""


def _asked(*words: str) -> str:
    """Runs a command; returns the last line of its error output, or "" if it succeeded."""
    try:
        ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603 our own arguments
    except FileNotFoundError:
        return f"{words[0]} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = ran.stderr.strip() or f"it ended with status {ran.returncode}"
    return said.splitlines()[-1][:300] if ran.returncode else ""


def interpreter(where: str = "", limits: Limits = CALL, seed: int = 0) -> "Docker":
    """Returns an interpreter that runs Python code in containers of a Docker image.

    Args:
        where: name of the image, for example "python:3.11-slim".
        limits: limits of each call.
        seed: seed of Python's random numbers and of string hashing.

    Raises:
        SettingsError: `where` is "".
    """
    if not where:
        message = "docker needs the name of an image with Python: docker:python:3.11-slim"
        raise SettingsError(message)
    return Docker(where, limits, seed)


def command(image: str, name: str, limits: Limits, seed: int) -> list[str]:
    """Returns the `docker run` command line that starts a Python console in a container.

    Args:
        image: name of the image.
        name: name of the container.
        limits: limits of each call; the whole container gets twice `memory`, and `processes` processes.
        seed: seed of Python's random numbers and of string hashing.
    """
    folder = f"/code:rw,noexec,nosuid,nodev,size={max(FILES * limits.file, 4096)},nr_inodes=2000,mode=1777"
    bounds = [f"nofile={limits.files}:{limits.files}", f"fsize={limits.file}:{limits.file}", "core=0:0"]
    variables = {"PYTHONHASHSEED": str(seed), **ONE_THREAD}
    return [
        *("docker", "run", "--rm", "--interactive", "--pull", "never", "--name", name),
        *("--network", "none", "--ipc", "none", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--user", NOBODY),
        *("--pids-limit", str(limits.processes), "--memory", str(2 * limits.memory)),
        *("--memory-swap", str(2 * limits.memory), "--tmpfs", folder, "--workdir", "/code"),
        *(word for bound in bounds for word in ("--ulimit", bound)),
        *(word for key, value in variables.items() for word in ("--env", f"{key}={value}")),
        *(image, "python3", "-P", "-B", "-X", "utf8", "-c", CODE, *asked(limits, seed, {}), "role=console"),
    ]


class Docker:
    """An Interpreter that runs Python code in Docker containers, one container for each console.

    Args:
        image: name of an image that has Python 3.11 or later.
        limits: limits of each call; those of memory, files and processes are set once, when a container starts.
        seed: seed of Python's random numbers and of string hashing.
    """

    name = "docker"

    def __init__(self, image: str, limits: Limits = CALL, seed: int = 0) -> None:
        """Stores the settings; the first call of a console starts its container."""
        self.image = image
        self.limits = limits
        self.seed = seed

    def isolation(self) -> Isolation:
        """Returns a description of the protection of each resource (files, network, memory, …) from the code."""
        return Isolation(self.name, HELD, NOT_PROTECTED)

    def open(self) -> PipedConsole:
        """Returns a new console without variables; its container starts at its first call."""
        return PipedConsole(lambda: Container(self.image, self.limits, self.seed), self.limits)

    def close(self) -> None:
        """Does nothing: closing a console ends its container."""


class Container:
    """Starts a Python console in a Docker container and communicates with it over pipes (implements Held).

    Args:
        image: name of the image.
        limits: limits of the container.
        seed: seed of Python's random numbers and of string hashing.

    Raises:
        EnvironmentFailure: docker cannot be started.
    """

    def __init__(self, image: str, limits: Limits, seed: int) -> None:
        """Starts the container, without waiting until it is set up."""
        self.name = f"poziomka-{token_hex(8)}"
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(  # noqa: S603 our own arguments
                command(image, self.name, limits, seed), bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            message = f"docker cannot be started: {error}"
            raise EnvironmentFailure(message) from error
        pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        self.asking, self.answering, self.writing = (pipe.fileno() for pipe in pipes if pipe is not None)
        self._ended: str | None = None

    def resume(self) -> None:
        """Does nothing: a container is not paused between calls, since pausing takes longer than a call."""

    def pause(self) -> None:
        """Does nothing: pausing a container would take longer than a call."""

    def excess(self) -> str:
        """Returns "" (no limit is exceeded): Docker itself enforces the limits of the container."""
        return ""

    def starved(self, seconds: float) -> str:
        """Returns "" (not starved): the time that a container waits for a processor is not measured."""
        return ""

    def end(self, patience: float = 0.0) -> str:
        """Kills the container and returns its exit status in words ("the process ended with status 1").

        May be called twice. Output that the container has written can still be read until `free`.

        Args:
            patience: seconds to wait first for the container to exit by itself.
        """
        if self._ended is None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
            status = self.process.poll()
            self._ended = "the process was killed" if status is None else f"the process ended with status {status}"
            _asked("docker", "kill", self.name)  # fails harmlessly if the container has already ended
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self._ended

    def free(self) -> None:
        """Closes the pipes of the container; to be called after `end`."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
