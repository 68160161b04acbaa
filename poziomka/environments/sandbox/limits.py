"""Limits of a program that runs in another process, and whose fault it is when one is exceeded."""

from dataclasses import dataclass

from poziomka.core.errors import EnvironmentFailure, SettingsError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run of a program.

    Attributes:
        seconds: by the clock, all calls or all inputs of one check together.
        memory: bytes of address space of a process.
        output: bytes on standard output and standard error together.
        file: bytes of a file; 0: it can write none, and its folder is closed to it.
        files: open files of a process.
        processes: processes and threads.

    Raises:
        SettingsError: a limit is not positive.
    """

    seconds: float = 3.0
    memory: int = 512 * 2**20
    output: int = 1_000_000
    file: int = 0
    files: int = 32
    processes: int = 16

    def __post_init__(self) -> None:
        """Refuses limits under which nothing runs."""
        if min(self.seconds, self.memory, self.output, self.files, self.processes) <= 0 or self.file < 0:
            message = f"a program's limits are positive, and the bytes of a file 0 or more: received {self}"
            raise SettingsError(message)

    def of_process(self) -> dict[str, int]:
        """Returns the limits that the kernel enforces in the process itself."""
        cpu = int(self.seconds) + 2  # the caller's clock ends it first, unless the caller is late
        return {
            "cpu": cpu,
            "memory": self.memory,
            "file": self.file,
            "files": self.files,
            "processes": self.processes,
        }


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        status: exit status, negative for a signal; None where it was killed by its caller.
        memory: bytes at its largest; 0 where it was killed by its caller.
        used: CPU seconds of all its threads.
        waited: seconds in which its first thread could run and had no processor.
    """

    status: int | None = None
    memory: int = 0
    used: float = 0.0
    waited: float = 0.0

    def starved(self, seconds: float) -> bool:
        """Whether the process waited for over half of so many seconds and ran for under a tenth of them."""
        return self.waited > seconds / 2 and self.used < seconds / 10


def busy(ended: Ended, seconds: float) -> None:
    """Checks that a program that exceeded its time limit had a processor.

    Raises:
        EnvironmentFailure: it had none for most of the time, so the machine is at fault and not the program.
    """
    if ended.starved(seconds):
        message = (
            f"the machine is too busy to judge a program: in {seconds:g} s it was given {ended.used:.1f} s of a "
            f"processor and waited {ended.waited:.1f} s for one; run less beside it"
        )
        raise EnvironmentFailure(message)
