"""Limits of a program that runs in another process, and checks whether a busy machine made it exceed them."""

from dataclasses import dataclass

from poziomka.core.errors import EnvironmentFailure, SettingsError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one run of a program, or of one call of a console.

    Attributes:
        seconds: wall-clock seconds of the run; if a scorer tests a program, of all its tests together.
        memory: bytes of address space of each process.
        output: bytes on standard output and standard error together.
        file: bytes of each written file; 0: no file can be written, and the program's folder is closed to it.
        files: open files of each process.
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
        """Returns the limits that the kernel enforces on the process itself, by name.

        "cpu" is in seconds, "memory" and "file" are in bytes, "files" and "processes" are numbers of them.
        """
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
    """Exit status and resource use of a process that has ended.

    Attributes:
        status: exit status; negative: the number of the signal that ended the process; None: the caller killed it.
        memory: peak memory in bytes; 0 if the caller killed the process.
        used: CPU seconds of all its threads.
        waited: seconds in which its first thread was runnable but had no processor.
    """

    status: int | None = None
    memory: int = 0
    used: float = 0.0
    waited: float = 0.0

    def starved(self, seconds: float) -> bool:
        """Returns whether the process got too little processor time for a run of `seconds` to be judged.

        That is so if it waited for a processor over half of `seconds` and ran under a tenth of them.
        """
        return self.waited > seconds / 2 and self.used < seconds / 10


def busy(ended: Ended, seconds: float) -> None:
    """Raises an error if a program exceeded its time limit because the machine was too busy to run it.

    Args:
        ended: resource use of the program.
        seconds: its time limit in seconds.

    Raises:
        EnvironmentFailure: the program waited for a processor over half of `seconds` and ran under a tenth of them.
    """
    if ended.starved(seconds):
        message = (
            f"the machine is too busy to judge a program: in {seconds:g} s it was given {ended.used:.1f} s of a "
            f"processor and waited {ended.waited:.1f} s for one; run less beside it"
        )
        raise EnvironmentFailure(message)
