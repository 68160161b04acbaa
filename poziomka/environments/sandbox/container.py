"""CPython in a container of docker, by the name of an image that has Python 3.11 or later: `docker:python:3.11-slim`.

The container has no network, a file system that cannot be written but for a folder in memory, no capabilities and no
user of ours. What runs in it is `worker`, passed as text, so nothing of ours is mounted. An image is never fetched.
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

PATIENCE = 20.0  # seconds within which docker must answer
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
    """Returns why docker, or an image of it, cannot be had; "" where it can."""
    why = _asked("docker", "info", "--format", "{{.ServerVersion}}")
    if why or not where:
        return f"docker does not answer: {why}" if why else ""
    if IMAGE.fullmatch(where) is None:
        return f"{where!r} is no name of an image"
    missing = _asked("docker", "image", "inspect", "--format", "{{.Id}}", where)
    return f"there is no image {where!r}: docker pull {where}" if missing else ""


def _asked(*words: str) -> str:
    """Returns why a command fails, in its own last words; "" where it does not."""
    try:
        ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603 our words
    except FileNotFoundError:
        return f"{words[0]} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = ran.stderr.strip() or f"it ended with status {ran.returncode}"
    return said.splitlines()[-1][:300] if ran.returncode else ""


def interpreter(where: str = "", limits: Limits = CALL, seed: int = 0) -> "Docker":
    """Returns the interpreter; see interpreters.interpreter_named.

    Raises:
        SettingsError: no image is named.
    """
    if not where:
        message = "docker needs the name of an image with Python: docker:python:3.11-slim"
        raise SettingsError(message)
    return Docker(where, limits, seed)


def command(image: str, name: str, limits: Limits, seed: int) -> list[str]:
    """Returns the words that start a container.

    Args:
        image: its image.
        name: of the container.
        limits: of every call; of memory, files and processes, of the container.
        seed: of Python's random numbers and of the order of sets of texts.
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
    """Opens consoles, each a container (an Interpreter).

    Args:
        image: that has Python.
        limits: of every call; of memory, files and processes, of a container.
        seed: of Python's random numbers and of the order of sets of texts.
    """

    name = "docker"

    def __init__(self, image: str, limits: Limits = CALL, seed: int = 0) -> None:
        """Starts nothing until the first call."""
        self.image = image
        self.limits = limits
        self.seed = seed

    def isolation(self) -> Isolation:
        """Returns what holds the code."""
        return Isolation(self.name, HELD, NOT_PROTECTED)

    def open(self) -> PipedConsole:
        """Returns a fresh console; its container starts at its first call."""
        return PipedConsole(lambda: Container(self.image, self.limits, self.seed), self.limits)

    def close(self) -> None:
        """Ends nothing: a console's container ends with it."""


class Container:
    """A container that answers over pipes (a Held of `console_ipc`).

    Raises:
        EnvironmentFailure: it cannot be started.
    """

    def __init__(self, image: str, limits: Limits, seed: int) -> None:
        """Starts it."""
        self.name = f"poziomka-{token_hex(8)}"
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(  # noqa: S603 our words
                command(image, self.name, limits, seed), bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            message = f"docker cannot be started: {error}"
            raise EnvironmentFailure(message) from error
        pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        self.asking, self.answering, self.writing = (pipe.fileno() for pipe in pipes if pipe is not None)
        self._ended: str | None = None

    def resume(self) -> None:
        """Does nothing: a container is not stopped between calls, which would take longer than they do."""

    def pause(self) -> None:
        """Does nothing, as `resume`."""

    def excess(self) -> str:
        """Returns nothing: the container's limits hold."""
        return ""

    def starved(self, seconds: float) -> str:
        """Returns nothing: how long it waited for a processor is not known."""
        return ""

    def end(self, patience: float = 0.0) -> str:
        """Kills the container; returns how it had ended, as a fault."""
        if self._ended is None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
            status = self.process.poll()
            self._ended = "the process was killed" if status is None else f"the process ended with status {status}"
            _asked("docker", "kill", self.name)  # where it has ended already, there is none
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self._ended

    def free(self) -> None:
        """Closes the pipes."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
