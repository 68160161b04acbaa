"""The filters of system calls, run as the kernel runs them, decide alike on every machine."""

import pytest

from poziomka.environments.sandbox.worker.seccomp import ABSENT, ALLOW, CALLS, DONE, REFUSE, SELF, rules

ARGUMENTS = 16  # where they begin in what a filter sees: number, machine, address, arguments of eight bytes
OTHER = 4321
F_SETLK, F_DUPFD_CLOEXEC, F_SETLEASE, F_SETOWN = 6, 1030, 1024, 8


def decided(machine, name, *arguments, kind=None, processes=False, threads=True):
    """Returns what the filter decides about a call."""
    own, numbers = CALLS[machine]
    seen = {0: numbers[name], 4: kind or own}
    seen |= {ARGUMENTS + 8 * place: value & 0xFFFFFFFF for place, value in enumerate((*arguments, 0, 0, 0))}
    place, held = 0, 0
    program = rules(machine, processes=processes, threads=threads)
    while True:
        code, true, false, value = program[place]
        place += 1
        match code:
            case 0x20:
                held = seen[value]
            case 0x15:
                place += true if held == value else false
            case 0x35:
                place += true if held >= value else false
            case 0x54:
                held &= value
            case 0x06:
                return value


@pytest.mark.fault("E10")
@pytest.mark.parametrize("machine", CALLS)
@pytest.mark.parametrize(
    ("name", "arguments", "decision"),
    [
        ("kill", (SELF, 9), ALLOW),
        ("kill", (0, 9), ALLOW),
        ("kill", (OTHER, 0), REFUSE),
        ("kill", (-1, 9), REFUSE),
        ("tgkill", (OTHER, OTHER, 0), REFUSE),
        ("sched_getaffinity", (0,), ALLOW),
        ("sched_getaffinity", (OTHER,), ABSENT),
        ("getpgid", (OTHER,), REFUSE),
        ("clock_gettime", (3,), ALLOW),
        ("clock_gettime", (~OTHER << 3 | 2,), REFUSE),
        ("timer_create", (~OTHER << 3 | 2,), REFUSE),
        ("prlimit64", (OTHER,), REFUSE),
        ("fcntl", (3, F_DUPFD_CLOEXEC), ALLOW),
        ("fcntl", (3, F_SETLK), DONE),
        ("fcntl", (3, F_SETLEASE), REFUSE),
        ("fcntl", (3, F_SETOWN, OTHER), REFUSE),
        ("flock", (3, 2), DONE),
        ("ioctl", (3, 0x8901), REFUSE),
        ("ioctl", (3, 0x5421), ALLOW),
        ("socket", (1, 1), REFUSE),
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (1, 2), REFUSE),
        ("prctl", (1, 0), REFUSE),
        ("prctl", (15, 0), ALLOW),
        ("clone", (0x10000 | 0x100,), ALLOW),
        ("clone", (17,), REFUSE),
        ("clone3", (), ABSENT),
    ],
)
def test_a_call_is_decided_by_its_arguments(machine, name, arguments, decision):
    assert decided(machine, name, *arguments) == decision


@pytest.mark.parametrize("machine", CALLS)
def test_where_processes_may_be_started_locks_are_refused_and_signals_are_not_filtered(machine):
    assert decided(machine, "flock", 3, 2, processes=True) == REFUSE
    assert decided(machine, "fcntl", 3, F_SETLK, processes=True) == REFUSE
    assert decided(machine, "kill", OTHER, 9, processes=True) == ALLOW
    assert decided(machine, "clone", 17, processes=True) == ALLOW


@pytest.mark.parametrize("machine", CALLS)
def test_without_threads_no_clone_is_allowed_and_another_kind_of_call_is_refused(machine):
    assert decided(machine, "clone", 0x10000, threads=False) == REFUSE
    assert decided(machine, "kill", SELF, kind=0x40000003) == REFUSE
