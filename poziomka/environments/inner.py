"""What runs inside a process that is held: it bounds itself, gives up every right, and answers what it is asked.

It is passed as text to an interpreter, so it needs no file of ours and imports few modules, all of them Python's own:
each file that is opened on the way costs us a decision. Its arguments are words NAME=VALUE:

    role                         "console", the only one of this file; others are added to it
    seed                         of Python's random numbers
    package.NAME                 the folder of a package that may be imported
    cpu memory file files        seconds and bytes of the process, bytes of a file, open files; absent: not bounded here
    processes                    1: it can start neither processes nor threads

Once it is set up it sends the frame b"ready" to standard output, or else why it is not; nothing that is asked has run
before. Then it reads from standard input and answers on standard output. Both are moved out of the way first: what code
reads is empty, and what it writes, by any means, goes to standard error. A frame is its length in four bytes and so
many bytes.

    asked        a mark of MARK bytes, then code as UTF-8
    written      the mark, to standard error, after everything that the code wrote
    answered     "k" where the variables are kept, "l" where they are lost, then the fault, "" where there is none
"""

import _ast
import builtins
import ctypes
import fcntl
import gc
import io
import os
import random
import resource
import sys
import types
from importlib.machinery import ModuleSpec, SourceFileLoader

FIRST = 10  # the least number of a descriptor that is moved out of the way
LARGEST = 2_000_000  # bytes of a frame
MARK = 16  # bytes
SHOWN = 300  # characters of a fault
FILE = "<code>"
ONLY_TREE = 0x400  # PyCF_ONLY_AST; the module ast takes as long to load as all the others
SET_SECCOMP, FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
DROP_BOUND, AMBIENT, CLEAR_AMBIENT, SET_NO_NEW_RIGHTS = 24, 47, 4, 38  # linux/prctl.h
CAPABILITIES = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # EPERM, and ENOSYS for what libc can do without
# machine: (AUDIT_ARCH, the numbers of system calls)
CALLS = {
    "x86_64": (
        0xC000003E,
        {"socket": 41, "connect": 42, "bind": 49, "listen": 50, "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58}
        | {"setpgid": 109, "setsid": 112, "sched_setaffinity": 203, "prlimit64": 302, "sched_setattr": 314}
        | {"clone3": 435},
    ),
    "aarch64": (
        0xC00000B7,
        {"sched_setaffinity": 122, "setpgid": 154, "setsid": 157, "socket": 198, "socketpair": 199, "bind": 200}
        | {"listen": 201, "connect": 203, "clone": 220, "prlimit64": 261, "sched_setattr": 274, "clone3": 435},
    ),
}


# --------------------------------------------------------------------------------------------------------- the set-up
class Packages:
    """Finds the packages that may be imported, without a look at the folder that they lie in."""

    def __init__(self, folders: "dict[str, str]") -> None:
        """Remembers where they are."""
        self.folders = folders

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """Returns the specification of a package; None for any other name."""
        folder = self.folders.get(name)
        if folder is None:
            return None
        path = f"{folder}/__init__.py"
        spec = ModuleSpec(name, SourceFileLoader(name, path), origin=path, is_package=True)
        spec.submodule_search_locations = [folder]
        spec.has_location = True
        return spec


def bound(asked: "dict[str, int]") -> None:
    """Bounds this process, for good: a hard limit can only be lowered."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, asked.get("cpu")),
        (resource.RLIMIT_FSIZE, asked.get("file")),
        (resource.RLIMIT_NOFILE, asked.get("files")),
        (resource.RLIMIT_AS, asked.get("memory")),
        (getattr(resource, "RLIMIT_MEMLOCK", None), 0),
        (getattr(resource, "RLIMIT_MSGQUEUE", None), 0),
    ):
        if what is not None and most is not None:
            hard = resource.getrlimit(what)[1]
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(what, (least, least))


def give_up(processes: int) -> None:
    """Gives up every capability, and installs a filter of system calls beside the one that is in force.

    Args:
        processes: 1: neither a process nor a thread can be started.

    Raises:
        OSError: the kernel refuses, or this processor's system calls are not known.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    number = 0
    while libc.prctl(DROP_BOUND, number, 0, 0, 0) == 0 and number < 64:
        number += 1
    libc.prctl(AMBIENT, CLEAR_AMBIENT, 0, 0, 0)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none) or libc.prctl(SET_NO_NEW_RIGHTS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot give up capabilities")
    program = rules(processes)
    lines = (ctypes.c_uint64 * len(program))(
        *(code | true << 16 | false << 24 | value << 32 for code, true, false, value in program)
    )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_void_p))

    held = Program(len(program), ctypes.cast(lines, ctypes.c_void_p))
    if libc.prctl(SET_SECCOMP, FILTER, ctypes.byref(held), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot install a filter of system calls")


def rules(processes: int) -> "list[tuple[int, int, int, int]]":
    """Returns the filter as instructions (code, jump if true, jump if false, value) of classic BPF.

    No sockets but pairs of connected streams, no session or group of its own, no limits of another process, no
    processor of its choice; and no processes and threads where only one is allowed.
    """
    machine = os.uname().machine
    if machine not in CALLS:
        message = f"the system calls of a {machine} are not known"
        raise OSError(message)
    load, equal, mask, give = 0x20, 0x15, 0x54, 0x06
    kind, numbers = CALLS[machine]
    program = [(load, 0, 0, 4), (equal, 1, 0, kind), (give, 0, 0, REFUSE), (load, 0, 0, 0)]
    if machine == "x86_64":
        program += [(0x35, 0, 1, 0x40000000), (give, 0, 0, REFUSE)]  # the numbers of x32
    refused = ["socket", "connect", "bind", "listen", "setpgid", "setsid", "sched_setaffinity", "sched_setattr"]
    refused += ["clone", "fork", "vfork"] if processes == 1 else []
    for name in refused:
        if name in numbers:
            program += [(equal, 0, 1, numbers[name]), (give, 0, 0, REFUSE)]
    if processes == 1:
        program += [(equal, 0, 1, numbers["clone3"]), (give, 0, 0, ABSENT)]
    # arguments begin at byte 16, the lower half of each first: of prlimit64 a process that is not 0, this one, and of
    # socketpair a type that is not 1, a stream, but for the flags
    program += [(equal, 0, 3, numbers["prlimit64"]), (load, 0, 0, 16), (equal, 1, 0, 0), (give, 0, 0, REFUSE)]
    program += [(load, 0, 0, 0), (equal, 0, 4, numbers["socketpair"]), (load, 0, 0, 24), (mask, 0, 0, 0xF)]
    return [*program, (equal, 1, 0, 1), (give, 0, 0, REFUSE), (give, 0, 0, ALLOW)]


def set_up(asked: "dict[str, str]") -> None:
    """Bounds this process and takes from it what it does not need."""
    numbers = {name: int(value) for name, value in asked.items() if value.isdigit()}
    folders = {name.partition(".")[2]: folder for name, folder in asked.items() if name.startswith("package.")}
    sys.meta_path.append(Packages(folders))
    os.environ.clear()
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", LANG="C.UTF-8")
    os.umask(0o077)
    give_up(numbers["processes"])
    bound(numbers)
    random.seed(numbers["seed"])
    drawn = random.Random(numbers["seed"]).randbytes  # nobody's secret: a fork must draw the same
    for module, name in ((os, "urandom"), (random, "_urandom")):
        setattr(module, name, drawn)
    sys.argv[:] = [""]
    builtins.__dict__.update(exit=sys.exit, quit=sys.exit)  # site gives them, and there may be none


# --------------------------------------------------------------------------------------------------------- the frames
def read(source: int, count: int) -> bytes:
    """Returns so many bytes; ends this process where nobody asks any more."""
    parts = []
    while count:
        part = os.read(source, min(count, 65536))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def frame(source: int) -> bytes:
    """Returns the next frame."""
    return read(source, int.from_bytes(read(source, 4), "big"))


def write(target: int, data: bytes) -> None:
    """Writes all of it."""
    while data:
        data = data[os.write(target, data) :]


def tell(target: int, data: bytes) -> None:
    """Sends a frame."""
    write(target, len(data).to_bytes(4, "big") + data)


# -------------------------------------------------------------------------------------------------------- the console
def console(asking: int, answering: int, writing: int) -> None:
    """Runs code in one space of names, as a notebook does, until nobody asks any more."""
    first = sys.modules["__main__"]
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    here = os.getpid()
    gc.collect()
    gc.freeze()
    tell(answering, b"ready")
    while first is not main:
        asked = frame(asking)
        kept, fault = run(asked[MARK:].decode("utf-8", "surrogatepass"), main.__dict__)
        if os.getpid() != here:  # a process that the code forked, and that came back
            os._exit(0)
        write(writing, asked[:MARK])
        tell(answering, (b"k" if kept else b"l") + fault.encode("utf-8", "backslashreplace"))


def run(code: str, space: "dict[str, object]") -> "tuple[bool, str]":
    """Returns whether the variables are kept, and the fault."""
    kept, fault = True, ""
    try:
        parsed = compile(code, FILE, "exec", ONLY_TREE, dont_inherit=True)
        assert isinstance(parsed, _ast.Module)
        last = parsed.body[-1] if parsed.body else None
        end = None
        if isinstance(last, _ast.Expr):
            end = compile(_ast.Expression(last.value), FILE, "eval", dont_inherit=True)
            parsed.body.pop()
        begin = compile(parsed, FILE, "exec", dont_inherit=True)
        exec(begin, space)  # noqa: S102 this is what it is for
        value = eval(end, space) if end is not None else None  # noqa: S307 as above
        if value is not None:
            print(repr(value))  # noqa: T201 as above
        del value
    except SystemExit as error:
        kept, fault = False, words(error)
    except BaseException as error:  # noqa: BLE001 whatever the code raises is its fault
        fault = words(error)
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except BaseException as error:  # noqa: BLE001 the code may have put anything there
            fault = fault or words(error)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return kept, fault


def words(error: BaseException) -> str:
    """Returns an error as "ValueError: what was wrong (line 3)", whatever its own methods do."""
    name = type(error).__name__[:60]
    try:
        said = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())[:SHOWN]
    except BaseException:  # noqa: BLE001 an exception of the code: its text is code
        said = ""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == FILE else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return name + (f": {said}" if said else "") + (f" (line {line})" if isinstance(line, int) else "")


ROLES = {"console": console}


def begin(asked: "dict[str, str]") -> None:
    """Moves the streams out of the way, sets this process up and takes its role."""
    moved = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST) for number in range(3)]
    os.dup2(2, 1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True)
    try:
        set_up(asked)
    except BaseException as error:  # noqa: BLE001 whatever it is, nothing may run
        tell(moved[1], f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    ROLES[asked["role"]](*moved)


if __name__ == "__main__":
    begin({name: value for name, _, value in (word.partition("=") for word in sys.argv[1:])})
