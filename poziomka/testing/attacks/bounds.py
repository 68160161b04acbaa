"""Attacks that exceed limits a little: memory, time, disk, output."""

from poziomka.environments.sandbox.interpreter import Surface
from poziomka.testing.attacks.attack import Attack, Evidence

MEMORY, TIME, DISK, OUTPUT = Surface.MEMORY, Surface.TIME, Surface.DISK, Surface.OUTPUT
LATE, LONG = frozenset({Evidence.LATE}), frozenset({Evidence.LONG})

BOUNDS = (
    # memory: each proves that it allocated twice the limit
    Attack("takes one large block", MEMORY, "block = b'x' * (2 * MEMORY)\nproof()", quick=True),
    Attack("takes a long text", MEMORY, "text = 'x' * (MEMORY // 2)\ntext += text\ntext += text\nproof()"),
    Attack("takes many small blocks", MEMORY, """
blocks, size = [], 0
while size < 2 * MEMORY:
    blocks.append("%d" % size * 500)
    size += len(blocks[-1])
proof()
"""),
    Attack("takes a large number", MEMORY, "number = 1 << (16 * MEMORY)\nproof()"),
    Attack("takes a long list", MEMORY, "many = [0] * (MEMORY // 4)\nproof()"),
    Attack("takes many small lists", MEMORY, """
many = []
many.extend([n, n + 1] for n in range(MEMORY // 80))
proof()
"""),
    Attack("takes mapped memory", MEMORY, """
import mmap
block = mmap.mmap(-1, 2 * MEMORY)
for place in range(0, 2 * MEMORY, 4096):
    block[place] = 1
proof()
"""),
    Attack("takes a file in memory", MEMORY, """
import os
file, part = os.memfd_create("x"), b"x" * 2**18
for _ in range(0, 2 * MEMORY, 2**18):
    assert os.write(file, part) == 2**18
proof()
""", needs=("linux",)),
    Attack("takes many files in memory", MEMORY, """
import os
part = b"x" * min(FILE, 2**18)
size = 0
files = []
while size < 2 * MEMORY:
    files.append(os.memfd_create("x"))
    for _ in range(max(FILE // len(part) - 1, 1)):
        size += os.write(files[-1], part)
proof()
""", needs=("linux",)),
    Attack("takes memory in every one of its processes", MEMORY, """
import os, time
reading, writing = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        try:
            named()
            block = b"x" * (MEMORY // 2)
            os.write(writing, b"x")
            time.sleep(SECONDS + 20)
        finally:
            os._exit(0)
os.close(writing)
held = b""
while len(held) < 4:
    part = os.read(reading, 4)
    assert part
    held += part
proof()
"""),
    Attack("lifts its own bound of memory", MEMORY, """
import resource
for bound in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_RSS):
    try:
        resource.setrlimit(bound, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        pass
block = b"x" * (2 * MEMORY)
proof()
"""),
    Attack("takes shared memory of System V", MEMORY, """
libc.shmat.restype = ctypes.c_void_p
one = libc.shmget(KEY, 2 * MEMORY, 0o1666)
assert one >= 0
where = libc.shmat(one, None, 0)
ctypes.memset(where, 1, 2 * MEMORY)
proof()
""", needs=("linux", "system v")),
    # time: each runs until it is killed
    Attack("runs on and on", TIME, "while True:\n    pass", quick=True, aim=LATE),
    Attack("runs on, whatever is raised", TIME, """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
""", aim=LATE),
    Attack("sleeps on, whatever signal comes", TIME, """
import signal, time
for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
signal.alarm(0)
while True:
    try:
        time.sleep(20)
    except BaseException:
        pass
""", aim=LATE),
    Attack("blocks all signals", TIME, """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    pass
""", aim=LATE),
    Attack("runs on in C, in a search", TIME, "import re\nre.match(r'(\\w+\\s?)*\\$', 'word ' * 200 + '!')\n"
        "re.match(r'(?:(?:(?:a|b)*a|b)*c)*$', 'ab' * 400)", aim=LATE),
    Attack("runs on in C, in a power", TIME, "number = 10 ** 10 ** 8", aim=LATE),
    Attack("runs on in C, in a sum", TIME, "sum(range(10**12))", quick=True, aim=LATE),
    Attack("runs on in C, in an iterator", TIME, "import itertools\nmax(itertools.count())", aim=LATE),
    Attack("runs on in C, in a search of a list", TIME, "range(10**18).index(1.5)", aim=LATE),
    Attack("runs on while it is ended", TIME, """
class Late:
    def __del__(self):
        while True:
            pass
late = Late()
del late
while True:
    pass
""", aim=LATE),
    Attack("runs on at its end", TIME, """
import atexit, threading
def late():
    while True:
        pass
atexit.register(late)
threading.Thread(target=late).start()
while True:
    pass
""", aim=LATE),
    Attack("waits for words that nobody says", TIME, """
import os
reading, writing = os.pipe()
os.read(reading, 1)
""", aim=LATE),
    Attack("waits for a child that runs on", TIME, """
import os
if os.fork() == 0:
    named()
    while True:
        pass
os.wait()
""", aim=LATE),
    Attack("stops itself", TIME,
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time\ntime.sleep(20)", aim=LATE),
    Attack("goes on between its calls, in a child", TIME, """
import os, time
reading, writing = os.pipe()
os.set_blocking(reading, False)
if os.fork() == 0:
    try:
        named()
        while True:
            time.sleep(0.01)
            os.write(writing, b"x")
    finally:
        os._exit(0)
before = time.monotonic()
""", later="""
import os
if len(os.read(reading, 1000)) > 5:
    proof()
"""),
    # disk: each proves that it wrote more than the limit
    Attack("writes a large file", DISK, """
import os
with open("large", "wb") as file:
    for _ in range(8):
        file.write(b"x" * FILE)
if os.stat("large").st_size > 2 * FILE:
    proof()
"""),
    Attack("writes a large file by a child process", DISK, """
import os, subprocess
subprocess.run(["dd", "if=/dev/zero", "of=large", f"bs={FILE}", "count=8"], stderr=subprocess.DEVNULL)
if os.stat("large").st_size > 2 * FILE:
    proof()
"""),
    Attack("has the disk keep room for a large file", DISK, """
import os
os.posix_fallocate(os.open("large", os.O_RDWR | os.O_CREAT), 0, 8 * FILE)
if os.stat("large").st_blocks * 512 > 2 * FILE:
    proof()
"""),
    Attack("writes many files", DISK, """
import os
part = b"x" * (FILE // 2)
for number in range(8 * FILES):
    with open(f"file{number}", "wb") as file:
        file.write(part)
if sum(os.stat(name).st_blocks * 512 for name in os.listdir(".")) > 3 * FILE * FILES:
    proof()
"""),
    Attack("keeps many files that have no name", DISK, """
import os
part = b"x" * (FILE // 2)
for number in range(4 * FILES):
    file = os.open("gone", os.O_RDWR | os.O_CREAT)
    os.write(file, part)
    os.unlink("gone")
proof()
"""),
    Attack("opens too many files", DISK, """
import os
held = [os.open(".", os.O_RDONLY) for _ in range(FILES + 1)]
proof()
"""),
    # output
    Attack("prints a long text", OUTPUT, "print('x' * (4 * OUTPUT))", quick=True, aim=LONG),
    Attack("prints a gigabyte", OUTPUT,
        "part = 'x' * 999 + chr(10)\nfor _ in range(10**6):\n    print(part)", aim=LONG),
    Attack("prints many lines", OUTPUT, "for number in range(OUTPUT):\n    print(number)", aim=LONG),
    Attack("ends with a long value", OUTPUT, "'x' * (4 * OUTPUT)", aim=LONG),
    Attack("ends with a value that writes much of itself", OUTPUT, """
class Long:
    def __repr__(self):
        return "x" * (4 * OUTPUT)
Long()
""", aim=LONG),
    Attack("raises a long error", OUTPUT, "raise ValueError('x' * (4 * OUTPUT))", aim=LONG),
    Attack("prints letters that are long on the way", OUTPUT, "print(chr(0x1F353) * (2 * OUTPUT))", aim=LONG),
    Attack("writes a gigabyte to its output", OUTPUT, """
import os
part = b"x" * 2**16
for _ in range(2**14):
    os.write(1, part)
""", aim=LONG),
    Attack("writes a gigabyte to its errors", OUTPUT, """
import os
part = b"x" * 2**16
for _ in range(2**14):
    os.write(2, part)
""", aim=LONG),
    Attack("has a child write a gigabyte", OUTPUT, "import os\nos.system('head -c 1000000000 /dev/zero')", aim=LONG),
    Attack("prints after its call", OUTPUT, """
import threading, time
def late():
    time.sleep(0.05)
    for _ in range(100):
        print("x" * OUTPUT)
threading.Thread(target=late, daemon=True).start()
""", later="0", aim=LONG),
)  # fmt: skip
