"""Attacks on processes: signalling, inspecting or changing ours, starting too many, leaving some behind."""

from poziomka.environments.sandbox.interpreter import Surface
from poziomka.testing.attacks.attack import Attack

PROCESSES = Surface.PROCESSES
LIVE = "time.sleep(SECONDS + 20)\n        os._exit(0)"  # end of a process that should be left behind

PROCESSING = (
    Attack("signals a process of ours", PROCESSES, "import os, signal\nos.kill(VICTIM, signal.SIGUSR1)", quick=True),
    Attack("signals a process of ours by system calls", PROCESSES, "assert syscall(62, VICTIM, 10) == 0",
        needs=("linux", "x86")),
    Attack("signals a thread of ours", PROCESSES, "assert syscall(234, VICTIM, VICTIM, 10) == 0",
        needs=("linux", "x86")),
    Attack("signals a group of ours", PROCESSES, "import os, signal\nos.killpg(VICTIM, signal.SIGUSR1)"),
    Attack("signals by way of a process's descriptor", PROCESSES,
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(VICTIM), signal.SIGUSR1)"),
    Attack("sends a signal with a value", PROCESSES, """
about = (ctypes.c_int32 * 32)(12, 0, -1)
assert syscall(129, VICTIM, 12, about) == 0
""", needs=("linux", "x86")),
    Attack("has the kernel signal for it", PROCESSES, """
import fcntl, os, signal, socket
one, other = socket.socketpair()
fcntl.fcntl(one, fcntl.F_SETOWN, VICTIM)
fcntl.fcntl(one, 10, signal.SIGUSR1)
fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
other.send(b"x")
""", needs=("linux",)),
    Attack("finds out whether we are there", PROCESSES, "import os\nos.kill(HOST, 0)\nproof()", quick=True),
    Attack("finds out whether process 1 is there", PROCESSES, """
import os
os.getpgid(VICTIM)  # else it sees processes of its own only, and its process 1 is another
os.kill(1, 0)
proof()
""", needs=("linux", "root")),
    Attack("finds out which processors a process of ours has", PROCESSES,
        "import os\nos.sched_getaffinity(VICTIM)\nproof()", needs=("linux",), quick=True),
    Attack("finds out how long a process of ours has run", PROCESSES,
        "import time\ntime.clock_gettime(~VICTIM << 3 | 2)\nproof()", needs=("linux",)),
    Attack("finds out which numbers of processes are free", PROCESSES, """
import errno, os
def found(number):
    try:
        os.kill(number, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
assert found(VICTIM) and not found(2 ** 22 + 1)
proof()
""", needs=("linux",)),
    Attack("ends whoever watches it", PROCESSES, """
import os, signal
parent = os.getppid()
if parent == HOST:
    os.kill(HOST, 0)
    proof()
elif parent > 1:
    os.kill(parent, signal.SIGKILL)
    proof()
"""),
    Attack("makes a process of ours nicer", PROCESSES, "import os\nos.setpriority(os.PRIO_PROCESS, VICTIM, 5)"),
    Attack("takes processors from a process of ours", PROCESSES, """
import os
left = sorted(os.sched_getaffinity(VICTIM))
os.sched_setaffinity(VICTIM, left[:-1])
""", needs=("linux", "processors")),
    Attack("bounds a process of ours", PROCESSES,
        "import resource\nresource.prlimit(VICTIM, resource.RLIMIT_NOFILE, (99, 99))", needs=("linux",)),
    Attack("offers a process of ours to be killed first", PROCESSES,
        "open(f'/proc/{VICTIM}/oom_score_adj', 'w').write('7')", needs=("linux",)),
    Attack("reads a process's command line", PROCESSES, "print(open(f'/proc/{VICTIM}/cmdline').read())", quick=True),
    Attack("lists all processes", PROCESSES, """
import os
for entry in os.listdir("/proc"):
    if entry.isdigit():
        try:
            print(open(f"/proc/{entry}/cmdline").read()[:2000] if int(entry) == VICTIM else "")
        except OSError:
            pass
"""),
    Attack("asks another program for all processes", PROCESSES,
        "import subprocess\n"
        "print(subprocess.run(['ps', '-ww', '-o', 'args', str(VICTIM)], capture_output=True).stdout)",
        needs=("linux", "ps")),
    Attack("reads where a process's memory lies", PROCESSES,
        "if 'heap' in open(f'/proc/{VICTIM}/maps').read():\n    proof()", needs=("linux",)),
    Attack("reads a process's memory in /proc", PROCESSES, """
memory = open(f"/proc/{VICTIM}/mem", "rb", 0)
memory.seek(ADDRESS)
print(memory.read(64))
""", needs=("linux",)),
    Attack("writes a process's memory in /proc", PROCESSES, """
memory = open(f"/proc/{VICTIM}/mem", "r+b", 0)
memory.seek(ADDRESS)
memory.write(b"reached")
""", needs=("linux",)),
    Attack("reads a process's memory by a system call", PROCESSES, """
text = ctypes.create_string_buffer(64)
mine, theirs = (ctypes.c_size_t * 2)(ctypes.addressof(text), 64), (ctypes.c_size_t * 2)(ADDRESS, 64)
libc.process_vm_readv(VICTIM, mine, 1, theirs, 1, 0)
print(text.value)
""", needs=("linux",), quick=True),
    Attack("writes a process's memory by a system call", PROCESSES, """
text = ctypes.create_string_buffer(b"reached")
mine, theirs = (ctypes.c_size_t * 2)(ctypes.addressof(text), 8), (ctypes.c_size_t * 2)(ADDRESS, 8)
libc.process_vm_writev(VICTIM, mine, 1, theirs, 1, 0)
""", needs=("linux",)),
    Attack("traces a process of ours", PROCESSES, """
import os
libc.ptrace.restype = ctypes.c_long
if libc.ptrace(16, VICTIM, None, None) == 0:
    os.waitpid(VICTIM, 0x40000000)
    words = [libc.ptrace(2, VICTIM, ctypes.c_void_p(ADDRESS + 8 * i), None) for i in range(8)]
    print(b"".join((word % 2**64).to_bytes(8, "little") for word in words))
    libc.ptrace(17, VICTIM, None, None)
""", needs=("linux",), quick=True),
    Attack("seizes a process of ours", PROCESSES, """
if libc.ptrace(0x4206, VICTIM, None, None) == 0:
    proof()
""", needs=("linux",)),
    Attack("takes a descriptor from a process of ours", PROCESSES, """
import os
print(os.pread(syscall(438, os.pidfd_open(VICTIM), OPENED, 0), 4096, 0))
""", needs=("linux", "x86")),
    Attack("compares the kernel's objects of two processes", PROCESSES,
        "import os\nassert syscall(312, VICTIM, os.getpid(), 0, 0, 0) >= 0\nproof()", needs=("linux", "x86", "kcmp")),
    Attack("counts what a process of ours does", PROCESSES, """
about = ctypes.create_string_buffer(128)
about[:8] = b"\\1\\0\\0\\0\\x80\\0\\0\\0"
assert syscall(298, about, VICTIM, -1, -1, 0) >= 0
proof()
""", needs=("linux", "x86", "root", "perf")),
    Attack("gives the kernel a program", PROCESSES, """
about = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
assert syscall(321, 0, about, 128) >= 0
proof()
""", needs=("linux", "x86", "root", "bpf")),
    Attack("handles faults of memory itself", PROCESSES, "assert syscall(323, 0) >= 0\nproof()",
        needs=("linux", "x86", "root", "userfaultfd")),
    Attack("takes a namespace in which it is root", PROCESSES, "assert libc.unshare(0x10000000) == 0\nproof()",
        needs=("linux", "namespaces")),
    Attack("enters the namespaces of a process of ours", PROCESSES, """
import os
assert libc.setns(os.open(f"/proc/{VICTIM}/ns/uts", os.O_RDONLY), 0) == 0
proof()
""", needs=("linux", "root")),
    Attack("names the machine anew", PROCESSES, """
import os, socket
name = socket.gethostname().encode()
assert libc.sethostname(name, len(name)) == 0
proof()
""", needs=("linux", "root")),
    Attack("sets the clock", PROCESSES, "import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())\nproof()",
        needs=("linux", "root")),
    Attack("starts too many processes", PROCESSES, """
import os, time
many = 2 * PROCESSES + 4
reading, writing = os.pipe()
for _ in range(many):
    if os.fork() == 0:
        try:
            named()
            os.write(writing, b"x")
            time.sleep(SECONDS + 20)
        finally:
            os._exit(0)
alive = b""
while len(alive) < many:
    alive += os.read(reading, many)
proof()
""", quick=True),
    Attack("starts too many threads", PROCESSES, """
import threading, time
many = 2 * PROCESSES + 4
for _ in range(many):
    threading.Thread(target=time.sleep, args=(SECONDS,), daemon=True).start()
if threading.active_count() > many:
    proof()
"""),
    Attack("leaves a child behind", PROCESSES, f"""
import os, time
if os.fork() == 0:
    try:
        named()
        {LIVE}
    finally:
        os._exit(0)
time.sleep(0.05)
""", quick=True),
    Attack("leaves a process behind that has no parent", PROCESSES, f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        named()
        {LIVE}
    os._exit(0)
os.wait()
time.sleep(0.05)
"""),
    Attack("leaves a process behind that was begun by a shell", PROCESSES,
        "import os, time\nos.system(f\"setsid sh -c 'while :; do sleep 0.1; done; : {MARK}' > /dev/null 2>&1 &\")\n"
        "time.sleep(0.05)"),
    Attack("leaves a program behind", PROCESSES, """
import subprocess, sys
subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(30)", MARK], start_new_session=True)
"""),
    Attack("leaves a process behind that is a child of whoever watches it", PROCESSES, f"""
import os, time
if syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0:
    try:
        named()
        {LIVE}
    finally:
        os._exit(0)
time.sleep(0.05)
""", needs=("linux", "x86")),
    Attack("leaves a chain of processes behind, each of which ends", PROCESSES, """
import os, time
if os.fork() == 0:
    try:
        named()
        until = time.monotonic() + SECONDS + 20
        while time.monotonic() < until:
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.1)
    finally:
        os._exit(0)
time.sleep(0.05)
"""),
    Attack("is begun at the end by whoever begins it", PROCESSES, """
import atexit, os, time
def begin():
    if os.fork() == 0:
        try:
            named()
            time.sleep(SECONDS + 20)
        finally:
            os._exit(0)
begin()
atexit.register(begin)
raise SystemExit
"""),
)  # fmt: skip
