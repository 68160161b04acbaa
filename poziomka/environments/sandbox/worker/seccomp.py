"""Builds the system call filters of sandboxed processes, as classic BPF for seccomp; `worker` installs them.

In addition to the calls that sandlock refuses by name, they refuse calls by argument: those that reach or count other
processes, and those by which a process can leave state on a file for another process to see. A refused call fails with
the same error (EPERM; for a few calls ENOSYS) whether or not its target exists.
"""

from collections.abc import Sequence

SELF = 0xFFFFFFFE  # placeholder for the process ID, which `worker` fills in
THREAD = 0x10000  # CLONE_THREAD of linux/sched.h
SET_DEATH_SIGNAL = 1  # linux/prctl.h
LOAD, EQUAL, AT_LEAST, MASK, GIVE = 0x20, 0x15, 0x35, 0x54, 0x06  # linux/bpf_common.h
ALLOW, ERROR = 0x7FFF0000, 0x00050000  # linux/seccomp.h
REFUSE, ABSENT = ERROR | 1, ERROR | 38  # EPERM, and ENOSYS for calls that libc can do without
DONE = ERROR | 0  # the call returns 0 and does nothing
WHOLE = 0xFFFFFFFF  # all bits of an argument
CLOCKS = 0xFFFFFFF0  # bits that are clear in the IDs of the system's clocks, and not in those of processes' clocks
# fcntl.h: commands for copies of a descriptor, its flags, and pipe sizes; lock commands; ioctls that set an owner
PLAIN, LOCKS, OWNERS = (0, 1, 2, 3, 4, 1030, 1032), (5, 6, 7, 36, 37, 38), (0x8901, 0x8902)
OPEN_TREE = 428  # the same on every machine
# machine: (AUDIT_ARCH, system call numbers)
CALLS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {"ioctl": 16, "socket": 41, "connect": 42, "bind": 49, "listen": 50, "socketpair": 53, "clone": 56, "fork": 57}
        | {"vfork": 58, "kill": 62, "fcntl": 72, "flock": 73, "setpgid": 109, "setsid": 112, "getpgid": 121}
        | {"getsid": 124, "capget": 125, "rt_sigqueueinfo": 129, "getpriority": 140, "sched_getparam": 143}
        | {"sched_getscheduler": 145, "sched_rr_get_interval": 148, "prctl": 157, "tkill": 200}
        | {"sched_setaffinity": 203, "sched_getaffinity": 204, "timer_create": 222, "clock_gettime": 228}
        | {"clock_getres": 229, "clock_nanosleep": 230, "tgkill": 234, "ioprio_get": 252, "get_robust_list": 274}
        | {"rt_tgsigqueueinfo": 297, "prlimit64": 302, "sched_setattr": 314, "sched_getattr": 315, "clone3": 435}
        | {"process_mrelease": 448},
    ),
    "aarch64": (
        0xC00000B7,
        {"fcntl": 25, "ioctl": 29, "ioprio_get": 31, "flock": 32, "capget": 90, "get_robust_list": 100}
        | {"timer_create": 107, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115}
        | {"sched_getscheduler": 120, "sched_getparam": 121, "sched_setaffinity": 122, "sched_getaffinity": 123}
        | {"sched_rr_get_interval": 127, "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138}
        | {"getpriority": 141, "setpgid": 154, "getpgid": 155, "getsid": 156, "setsid": 157, "prctl": 167}
        | {"socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "connect": 203, "clone": 220}
        | {"rt_tgsigqueueinfo": 240, "prlimit64": 261, "sched_setattr": 274, "sched_getattr": 275, "clone3": 435}
        | {"process_mrelease": 448},
    ),
}
REFUSED = (
    *("socket", "connect", "bind", "listen", "setpgid", "setsid", "sched_setaffinity", "sched_setattr"),
    *("capget", "getpriority", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_getattr"),
    *("ioprio_get", "get_robust_list", "process_mrelease"),
)
Line = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def filter_words(*, processes: bool, threads: bool) -> list[str]:
    """Returns the system call filter for every machine type, as arguments filter.MACHINE=HEX of `worker.py`.

    Args:
        processes: whether the process may start processes.
        threads: whether it may start threads.
    """
    return [f"filter.{machine}={_packed(rules(machine, processes=processes, threads=threads))}" for machine in CALLS]


def _packed(program: Sequence[Line]) -> str:
    lines = (code | true << 16 | false << 24 | value << 32 for code, true, false, value in program)
    return b"".join(line.to_bytes(8, "little") for line in lines).hex()


def rules(machine: str, *, processes: bool, threads: bool) -> list[Line]:
    """Returns the system call filter for one machine type, as BPF instructions.

    It refuses sockets other than connected stream pairs, new sessions and process groups, CPU affinity, and changes of
    the parent-death signal, so that the process cannot outlive its parent. Calls by process ID reveal nothing about
    other processes. If `processes` is false, new processes are refused, and signals reach only the process itself; if
    `threads` is false too, new threads are refused as well. File locks are refused if `processes` is true; otherwise
    they succeed without effect, as there is no other process to lock against.

    Args:
        machine: machine type, a key of CALLS: "x86_64" or "aarch64".
        processes: whether the process may start processes.
        threads: whether it may start threads.
    """
    kind, numbers = CALLS[machine]
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, kind), (GIVE, 0, 0, REFUSE), (LOAD, 0, 0, 0)]
    if machine == "x86_64":
        program += [(AT_LEAST, 0, 1, 0x40000000), (GIVE, 0, 0, REFUSE)]  # x32 call numbers
    forks = () if processes else ("fork", "vfork") if threads else ("fork", "vfork", "clone")
    for number in (OPEN_TREE, *(numbers[name] for name in (*REFUSED, *forks) if name in numbers)):
        program += [(EQUAL, 0, 1, number), (GIVE, 0, 0, REFUSE)]
    if not processes:
        program += [(EQUAL, 0, 1, numbers["clone3"]), (GIVE, 0, 0, ABSENT)]
        program += only(numbers["clone"], 0, (THREAD,), bits=THREAD)
        for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
            program += only(numbers[name], 0, (0, SELF))
    for name in ("getpgid", "getsid"):
        program += only(numbers[name], 0, (0, SELF))
    program += only(numbers["sched_getaffinity"], 0, (0, SELF), otherwise=ABSENT)
    program += only(numbers["prlimit64"], 0, (0, SELF))
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep", "timer_create"):
        program += only(numbers[name], 0, (0,), bits=CLOCKS)
    program += only(numbers["socketpair"], 1, (1,), bits=0xF)  # SOCK_STREAM
    program += never(numbers["prctl"], 0, (SET_DEATH_SIGNAL,))
    program += never(numbers["ioctl"], 1, OWNERS)
    locks = REFUSE if processes else DONE
    program += [(EQUAL, 0, 1, numbers["flock"]), (GIVE, 0, 0, locks)]
    program += never(numbers["fcntl"], 1, LOCKS, otherwise=locks)
    program += only(numbers["fcntl"], 1, PLAIN)
    return [*program, (GIVE, 0, 0, ALLOW)]


def only(call: int, argument: int, values: Sequence[int], *, bits: int = WHOLE, otherwise: int = REFUSE) -> list[Line]:
    """Returns BPF instructions that refuse a system call unless an argument, after masking, has an allowed value.

    Args:
        call: system call number.
        argument: index of the argument.
        values: allowed values.
        bits: mask of the argument.
        otherwise: return value of the filter for any other value.
    """
    tests = [(EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return _where(call, argument, bits, [*tests, (GIVE, 0, 0, otherwise)])


def never(call: int, argument: int, values: Sequence[int], *, otherwise: int = REFUSE) -> list[Line]:
    """Returns BPF instructions that refuse a system call if an argument has one of the given values.

    Args:
        call: system call number.
        argument: index of the argument.
        values: refused values.
        otherwise: return value of the filter for a refused value.
    """
    last = len(values) - 1
    tests = [(EQUAL, last - place, 1 if place == last else 0, value) for place, value in enumerate(values)]
    return _where(call, argument, WHOLE, [*tests, (GIVE, 0, 0, otherwise)])


def _where(call: int, argument: int, bits: int, tests: Sequence[Line]) -> list[Line]:
    """Returns BPF instructions that test the lower 32 bits of an argument, then load the system call number again."""
    body = [(LOAD, 0, 0, 16 + 8 * argument), (MASK, 0, 0, bits), *tests, (LOAD, 0, 0, 0)]
    return [(EQUAL, 0, len(body), call), *body]
