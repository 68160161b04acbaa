"""Limits of a program that runs in another process, and checks whether a busy machine made it exceed them."""

from dataclasses import dataclass

from poziomka.core.errors import EnvironmentFailure, SettingsError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run of a program.

    Attributes:
        seconds: wall-clock time, of all calls or all inputs of one check together.
        memory: bytes of address space of a process.
        output: bytes on standard output and standard error together.
        file: bytes of a file; 0: no file can be written, and the program's folder is closed to it.
        files: open files of a process.
        processes: number of processes and threads.

    Raises:
        SettingsError: a limit is not positive, or `file` is negative.
    """

    seconds: float = 3.0
    memory: int = 512 * 2**20
    output: int = 1_000_000
    file: int = 0
    files: int = 32
    processes: int = 16

    def __post_init__(self) -> None:
        """Checks that the limits are positive."""
        if min(self.seconds, self.memory, self.output, self.files, self.processes) <= 0 or self.file < 0:
            message = f"a program's limits are positive, and the bytes of a file 0 or more: received {self}"
            raise SettingsError(message)

    def of_process(self) -> dict[str, int]:
        """Returns the limits that the kernel enforces on the process itself, by name."""
        cpu = int(self.seconds) + 2  # a backstop: the caller's timeout comes first, unless the caller is late
        return {
            "cpu": cpu,
            "memory": self.memory,
            "file": self.file,
            "files": self.files,
            "processes": self.processes,
        }


@dataclass(frozen=True, slots=True)
class Ended:
    """Exit status and resource use of a process.

    Attributes:
        status: exit status, negative for a signal; None if the caller killed it.
        memory: peak bytes; 0 if the caller killed it.
        used: CPU seconds of all its threads.
        waited: seconds in which its first thread was runnable but had no processor.
    """

    status: int | None = None
    memory: int = 0
    used: float = 0.0
    waited: float = 0.0

    def starved(self, seconds: float) -> bool:
        """Whether the process waited for a processor over half of `seconds` and ran under a tenth of them."""
        return self.waited > seconds / 2 and self.used < seconds / 10


def busy(ended: Ended, seconds: float) -> None:
    """Checks that a program that exceeded its time limit was not starved of processor time.

    Args:
        ended: resource use of the program.
        seconds: its time limit.

    Raises:
        EnvironmentFailure: it waited for a processor most of the time, so the machine is at fault and not the program.
    """
    if ended.starved(seconds):
        message = (
            f"the machine is too busy to judge a program: in {seconds:g} s it was given {ended.used:.1f} s of a "
            f"processor and waited {ended.waited:.1f} s for one; run less beside it"
        )
        raise EnvironmentFailure(message)
