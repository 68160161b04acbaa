"""Program of a sandboxed process: limits the process, drops its privileges and answers requests over pipes.

It is passed to an interpreter as text or code object, so it needs no file of this package. It imports few modules, all
from the standard library, since the supervisor decides on each file that is opened. Its arguments are NAME=VALUE:

    role                         "console", or "nest", a function of the last module
    seed                         seed of Python's random numbers
    package.NAME                 folder of a package that may be imported
    cpu memory file files        limits: CPU seconds, bytes of memory, bytes of a file, open files; absent: not set here
    processes                    1: neither processes nor threads can be started
    filter.MACHINE               system call filter, in hex, for each machine type that it may run on
    read.KIND                    readable paths, one a line (folders, files, folders only listed); absent: no rules set
    module.NAME                  code object of a module of this package, marshalled, in hex

After the set-up it sends the frame b"ready" to standard output, or otherwise the error; no requested code runs before.
Then it reads requests from standard input and answers on standard output. Both are moved to other descriptors first:
the code's own standard input is empty, and all that it writes, by any means, goes to standard error. A frame is its
length, four bytes, big-endian, and that many bytes.

    request      a mark of MARK bytes, then code as UTF-8
    output       the mark, on standard error, after everything that the code wrote
    answer       "k" if the variables are kept, "l" if they are lost, then the fault, "" if there is none
"""

import _ast
import builtins
import ctypes
import fcntl
import gc
import io
import marshal
import os
import random
import resource
import sys
import types
from importlib.machinery import ModuleSpec, SourceFileLoader

FIRST = 10  # lowest number of the descriptors to which the standard streams are moved
LARGEST = 2_000_000  # maximum bytes of a frame
MARK = 16  # bytes
SHOWN = 300  # maximum characters of a fault
FILE = "<code>"
ONLY_TREE = 0x400  # PyCF_ONLY_AST; importing the module ast takes as long as importing all the others
SET_SECCOMP, FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
DROP_BOUND, AMBIENT, CLEAR_AMBIENT, SET_NO_NEW_RIGHTS, SET_DEATH_SIGNAL = 24, 47, 4, 38, 1  # linux/prctl.h
CREATE_RULES, ADD_RULE, RESTRICT, BENEATH = 444, 445, 446, 1  # landlock_create_ruleset …: the same on every machine
OPEN_TREE, HERE = 428, -100  # the same on every machine
# linux/landlock.h: all rights on files; execute and read a file; the same and list a folder; list a folder; in a folder
# of its own, all but execute and make devices, sockets and named pipes; and the scopes: signals, sockets without a path
RIGHTS, FILES, FOLDERS, LIST, OWN, SCOPES = 0x7FFF, 0x5, 0xD, 0x8, 0x71BE, 3
CAPABILITIES = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
SELF = 0xFFFFFFFE  # placeholder for the process ID in filters of `seccomp`


# --------------------------------------------------------------------------------------------------------- the set-up
class Packages:
    """Import finder of the packages that code may import; it does not list the folders that contain them.

    Args:
        folders: folder of each package, by its name.
    """

    def __init__(self, folders: "dict[str, str]") -> None:
        self.folders = folders

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """Returns the module spec of a package that may be imported; None for any other name."""
        folder = self.folders.get(name)
        if folder is None:
            return None
        path = f"{folder}/__init__.py"
        spec = ModuleSpec(name, SourceFileLoader(name, path), origin=path, is_package=True)
        spec.submodule_search_locations = [folder]
        spec.has_location = True
        return spec


def bound(asked: "dict[str, int]") -> None:
    """Sets resource limits of this process, permanently: a hard limit can only be lowered.

    Args:
        asked: limits by name: cpu (seconds), memory (bytes of address space), file (bytes of each file), files (number
            of open files); a missing one is not set.
    """
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


LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    """Returns the result of a system call.

    Args:
        result: the result; negative for an error, with the reason in errno.
        what: description of the call ("open /tmp"), for the error message.

    Raises:
        OSError: the result is an error.
    """
    if result < 0:
        raise OSError(ctypes.get_errno(), f"cannot {what}")
    return result


def give_up() -> None:
    """Drops every Linux capability of this process, and the right to gain new ones, permanently.

    Raises:
        OSError: the kernel refuses.
    """
    number = 0
    while LIBC.prctl(DROP_BOUND, number, 0, 0, 0) == 0 and number < 64:
        number += 1
    LIBC.prctl(AMBIENT, CLEAR_AMBIENT, 0, 0, 0)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITIES, 0), (ctypes.c_uint32 * 6)()
    _check(LIBC.capset(header, none), "give up capabilities")
    _check(LIBC.prctl(SET_NO_NEW_RIGHTS, 1, 0, 0, 0), "give up new rights")


def sieve(asked: "dict[str, str]") -> None:
    """Installs a system call filter in this process, in addition to the one in force.

    Args:
        asked: arguments of this program, by name; "filter.MACHINE" is the filter for a machine type, in hex.

    Raises:
        OSError: the kernel refuses, or there is no filter for this machine type.
    """
    machine = os.uname().machine
    if f"filter.{machine}" not in asked:
        message = f"the system calls of a {machine} are not known"
        raise OSError(message)
    code = bytes.fromhex(asked[f"filter.{machine}"])
    words = [code[place : place + 8] for place in range(0, len(code), 8)]
    here, own = SELF.to_bytes(4, "little"), os.getpid().to_bytes(4, "little")
    words = [word[:4] + own if word[4:] == here else word for word in words]
    lines = (ctypes.c_uint64 * len(words))(*(int.from_bytes(word, "little") for word in words))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_void_p))

    held = Program(len(lines), ctypes.cast(lines, ctypes.c_void_p))
    _check(LIBC.prctl(SET_SECCOMP, FILTER, ctypes.byref(held), 0, 0), "install a filter of system calls")


def fence(asked: "dict[str, str]") -> int:
    """Makes a Landlock ruleset for the paths that a process can use; returns its file descriptor.

    Args:
        asked: arguments of this program, by name. Four have paths, one a line: those in "read.folders" and "read.files"
            can be read, those in "read.listed" listed, and those in "read.own" written.

    Raises:
        OSError: the kernel refuses.
    """
    handled = (ctypes.c_uint64 * 3)(RIGHTS, 0, SCOPES)
    made = _check(LIBC.syscall(CREATE_RULES, handled, ctypes.c_size_t(ctypes.sizeof(handled)), 0), "make rules")
    for right, name in ((FOLDERS, "read.folders"), (FILES, "read.files"), (LIST, "read.listed"), (OWN, "read.own")):
        for path in asked.get(name, "").split("\n") if asked.get(name) else ():
            # like open() with O_PATH, which would need a decision of the supervisor
            place = _check(LIBC.syscall(OPEN_TREE, HERE, path.encode(), os.O_CLOEXEC), f"open {path}")
            rule = right.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
            _check(LIBC.syscall(ADD_RULE, made, BENEATH, rule, 0), "add a rule")
            os.close(place)
    return made


def enclose(fence: int) -> None:
    """Restricts this process by a Landlock ruleset, in addition to those in force, permanently.

    Afterwards the process can neither use other paths nor send signals to processes outside its sandbox.

    Args:
        fence: file descriptor of the ruleset, which is closed.

    Raises:
        OSError: the kernel refuses.
    """
    _check(LIBC.syscall(RESTRICT, fence, 0), "follow rules")
    os.close(fence)


def set_up(asked: "dict[str, str]") -> "dict[str, int]":
    """Drops privileges of this process, seeds its random numbers and, for the role "console", sandboxes it.

    Args:
        asked: arguments of this program, by name.

    Returns:
        the numeric arguments, by name.

    Raises:
        OSError: the kernel refuses.
    """
    numbers = {name: int(value) for name, value in asked.items() if value.isdigit() and not name.startswith("filter.")}
    folders = {name.partition(".")[2]: folder for name, folder in asked.items() if name.startswith("package.")}
    sys.meta_path.append(Packages(folders))
    os.environ.clear()
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", LANG="C.UTF-8")
    os.umask(0o077)
    give_up()
    if asked["role"] == "console":
        if "read.folders" in asked:
            enclose(fence({**asked, "read.own": "."}))
        sieve(asked)
        bound(numbers)
    random.seed(numbers["seed"])
    drawn = random.Random(numbers["seed"]).randbytes  # not for secrets: a fork must draw the same bytes
    for module, name in ((os, "urandom"), (random, "_urandom")):
        setattr(module, name, drawn)
    sys.argv[:] = [""]
    builtins.__dict__.update(exit=sys.exit, quit=sys.exit)  # normally set by `site`, which may be missing
    return numbers


def load(name: str, code: bytes) -> types.ModuleType:
    """Makes a module from marshalled code, enters it into `sys.modules` and returns it.

    Its parent packages become empty modules.
    """
    parts = name.split(".")
    for length in range(1, len(parts)):
        above = ".".join(parts[:length])
        if above not in sys.modules:
            sys.modules[above] = types.ModuleType(above)
            sys.modules[above].__path__ = []
    sys.modules[name] = module = types.ModuleType(name)
    exec(marshal.loads(code), module.__dict__)  # noqa: S102, S302 our own code, passed by the parent process
    return module


# --------------------------------------------------------------------------------------------------------- the frames
def read(source: int, count: int) -> bytes:
    """Reads exactly `count` bytes from a file descriptor; ends this process if the other side has closed the pipe."""
    parts = []
    while count:
        part = os.read(source, min(count, 65536))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def frame(source: int) -> bytes:
    """Reads the next frame from a file descriptor and returns its data; ends this process if the pipe is closed.

    A frame is the length of the data (four bytes, big-endian), then the data.
    """
    return read(source, int.from_bytes(read(source, 4), "big"))


def write(target: int, data: bytes) -> None:
    """Writes all bytes to a file descriptor."""
    while data:
        data = data[os.write(target, data) :]


def tell(target: int, data: bytes) -> None:
    """Writes a frame to a file descriptor: the length of the data (four bytes, big-endian), then the data."""
    write(target, len(data).to_bytes(4, "big") + data)


# -------------------------------------------------------------------------------------------------------- the console
def console(asking: int, answering: int, writing: int) -> None:
    """Runs requested code in one namespace, as a notebook does, until the other side closes the pipe.

    Args:
        asking: file descriptor for requests: a mark of 16 bytes (MARK), then code.
        answering: file descriptor for answers: "k" if the variables are kept, "l" if not, then the error or "".
        writing: file descriptor for the output of the code, after which the mark is written.
    """
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
        if os.getpid() != here:  # a child that the code forked has returned here
            os._exit(0)
        write(writing, asked[:MARK])
        tell(answering, (b"k" if kept else b"l") + fault.encode("utf-8", "backslashreplace"))


def run(code: str, space: "dict[str, object]") -> "tuple[bool, str]":
    """Runs code in a namespace, as a notebook runs a cell; prints the value of an expression at its end.

    Args:
        code: Python source.
        space: the namespace.

    Returns:
        whether the variables are kept (not if the code exits), and the error in one line, "" if there is none.
    """
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
        exec(begin, space)  # noqa: S102 running code is its purpose
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
    """Formats an error as "ValueError: message (line 3)", even if its own methods raise.

    The line is that of the code; it is left out if no line of the code raised the error.
    """
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


def begin(asked: "dict[str, str]") -> None:
    """Moves the standard streams to other descriptors, sets up this process and runs its role.

    Args:
        asked: arguments of this program, by name.
    """
    asking, answering, writing = (fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST) for number in range(3))
    os.dup2(2, 1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(line_buffering=True)
    last = sys.modules["poziomka.environments.sandbox.worker.worker"] = sys.modules[__name__]
    try:
        for name, code in asked.items():
            if name.startswith("module."):
                last = load(name.partition(".")[2], bytes.fromhex(code))
        numbers = set_up({name: value for name, value in asked.items() if not name.startswith("module.")})
    except BaseException as error:  # noqa: BLE001 after any error, no code may run
        tell(answering, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    if asked["role"] == "console":
        console(asking, answering, writing)
    else:
        last.__dict__["nest"](asked, numbers, fence(asked), (asking, answering, writing))


if __name__ == "__main__":
    begin({name: value for name, _, value in (word.partition("=") for word in sys.argv[1:])})
