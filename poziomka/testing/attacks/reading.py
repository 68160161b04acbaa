"""Attacks that read files of the test, or find out about them."""

from poziomka.environments.sandbox.interpreter import Surface
from poziomka.testing.attacks.attack import Attack

FILES = Surface.FILES
OPENAT, OPEN_TREE, NAME_TO_HANDLE, OPEN_BY_HANDLE, OPENAT2 = 257, 428, 303, 304, 437  # x86-64, linux/unistd.h

READING = (
    Attack("reads a file by its path", FILES, "print(open(CANARY).read())", quick=True),
    Attack("reads a file by way of ..", FILES, "print(open('../' * 40 + CANARY[1:]).read())"),
    Attack("reads a file as a path object", FILES, "import pathlib\nprint(pathlib.Path(CANARY).read_text())"),
    Attack("reads a file by way of a link that it makes", FILES,
        "import os\nos.symlink(CANARY, 'link')\nprint(open('link').read())", quick=True),
    Attack("reads a file by way of a link to its folder", FILES,
        "import os\nos.symlink(FOLDER, 'there')\nprint(open('there/canary').read())"),
    Attack("reads a file by way of a hard link", FILES,
        "import os\nos.link(CANARY, 'mine')\nprint(open('mine').read())"),
    Attack("reads a file by way of the root in /proc", FILES, "print(open('/proc/self/root' + CANARY).read())"),
    Attack("reads a file by way of a process's root", FILES, "print(open(f'/proc/{VICTIM}/root' + CANARY).read())"),
    Attack("reads a file by way of a process's working folder", FILES,
        "print(open(f'/proc/{VICTIM}/cwd/' + '../' * 40 + CANARY[1:]).read())"),
    Attack("reads a file that a process has open", FILES, "print(open(f'/proc/{VICTIM}/fd/{OPENED}').read())"),
    Attack("reads what descriptors it inherited", FILES, """
import os
for number in range(3, 256):
    try:
        print(os.pread(number, 4096, 0))
    except OSError:
        pass
"""),
    Attack("opens its inherited descriptors anew in /proc", FILES, """
import os
for number in range(3, 256):
    try:
        print(open(f"/proc/self/fd/{number}", "rb").read(4096) if os.path.isfile(f"/proc/self/fd/{number}") else "")
    except OSError:
        pass
"""),
    Attack("reads a file from the root's descriptor", FILES, """
import os
root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
print(os.read(os.open(CANARY[1:], os.O_RDONLY, dir_fd=root), 4096))
"""),
    Attack("names a file without opening it, then opens the name", FILES, """
import os
named = os.open(CANARY, os.O_PATH)
print(open(f"/proc/self/fd/{named}").read())
"""),
    Attack("maps a file into its memory", FILES, """
import mmap, os
print(mmap.mmap(os.open(CANARY, os.O_RDONLY), 0, prot=mmap.PROT_READ)[:])
"""),
    Attack("reads a file by the C library", FILES, """
text = (ctypes.c_char * 4096)()
libc.read(libc.open(CANARY.encode(), 0), text, 4096)
print(text.value)
"""),
    Attack("reads a file by system calls", FILES, f"""
text = ctypes.create_string_buffer(4096)
syscall(0, syscall({OPENAT}, -100, CANARY.encode(), 0, 0), text, 4096)
print(text.value)
""", needs=("linux", "x86"), quick=True),
    Attack("reads a file by a newer system call", FILES, f"""
text, how = ctypes.create_string_buffer(4096), (ctypes.c_uint64 * 3)()
syscall(0, syscall({OPENAT2}, -100, CANARY.encode(), how, 24), text, 4096)
print(text.value)
""", needs=("linux", "x86")),
    Attack("opens a file by its number on the disk", FILES, f"""
import os
text = ctypes.create_string_buffer(4096)
handle, mount = (ctypes.c_uint32 * 34)(128), (ctypes.c_int32 * 1)()
assert syscall({NAME_TO_HANDLE}, -100, CANARY.encode(), handle, mount, 0) == 0
syscall(0, syscall({OPEN_BY_HANDLE}, os.open(".", os.O_RDONLY), handle, 0), text, 4096)
print(text.value)
""", needs=("linux", "x86", "root")),
    Attack("sends a file's content by the kernel", FILES, """
import os
mine = os.open("copy", os.O_RDWR | os.O_CREAT)
os.sendfile(mine, os.open(CANARY, os.O_RDONLY), 0, 4096)
print(os.pread(mine, 4096, 0))
"""),
    Attack("copies a file into its folder", FILES,
        "import shutil\nshutil.copy(CANARY, 'copy')\nprint(open('copy').read())"),
    Attack("loads a module of ours by its path", FILES, """
import importlib.util
spec = importlib.util.spec_from_file_location("planted", PLANTED)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.SECRET)
""", quick=True),
    Attack("imports a module from our folder", FILES,
        "import sys\nsys.path.insert(0, FOLDER)\nimport planted\nprint(planted.SECRET)"),
    Attack("runs a file of ours as a program", FILES, "import runpy\nprint(runpy.run_path(PLANTED)['SECRET'])"),
    Attack("has a file shown as a line of source", FILES, "import linecache\nprint(linecache.getlines(CANARY))"),
    Attack("has a file shown in a traceback", FILES, """
import traceback
try:
    exec(compile("1 / 0", CANARY, "exec"))
except ZeroDivisionError:
    print(traceback.format_exc())
"""),
    Attack("opens a database of ours", FILES, """
import sqlite3
print(sqlite3.connect(f"file:{BASE}?mode=ro", uri=True).execute("select * from planted").fetchall())
"""),
    Attack("reads a file by a child process", FILES,
        "import subprocess\nprint(subprocess.run(['cat', CANARY], capture_output=True).stdout)", quick=True),
    Attack("reads a file by a shell", FILES, "import os\nprint(os.popen(f'cat {CANARY}').read())"),
    Attack("becomes another program, which reads a file", FILES, """
import os
if os.fork() == 0:
    os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT), 1)
    try:
        os.execv("/bin/cat", ["cat", CANARY])
    finally:
        os._exit(1)
os.wait()
print(open("said").read())
"""),
    Attack("goes to our folder first", FILES, "import os\nos.chdir(FOLDER)\nprint(open('canary').read())"),
    Attack("lists our folder", FILES, "import os\nprint(os.listdir(FOLDER))"),
    Attack("learns the time of a file of ours", FILES, "import os\nprint(os.stat(CANARY).st_mtime_ns)"),
    Attack("watches what happens in our folder", FILES, """
import os
assert libc.inotify_add_watch(libc.inotify_init(), FOLDER.encode(), 0xfff) >= 0
proof()
""", needs=("linux",)),
    Attack("looks for hidden tests where they could lie", FILES, """
import glob, os
places = [os.getcwd(), os.path.dirname(os.getcwd()), TEMPORARY + "/*", *glob.glob("/proc/[0-9]*/cwd")]
for place in places:
    for depth in ("", "*/"):
        for found in glob.glob(f"{place}/{depth}{HIDDEN}"):
            print(open(found).read())
""", quick=True),
    Attack("reads hidden tests by their path", FILES, "print(open(f'{FOLDER}/{HIDDEN}').read())"),
    Attack("imports our scorers", FILES, """
import importlib, sys
for name in [name for name in sys.modules if name.split(".")[0] == "poziomka"]:
    del sys.modules[name]
import poziomka.core.rollouts.scoring, poziomka.tasks.toy.arithmetic
proof()
"""),
    Attack("mounts a folder of ours into its own", FILES, """
import os
os.mkdir("here")
assert libc.unshare(0x20000) == 0
assert libc.mount(FOLDER.encode(), b"here", None, 0x1000, None) == 0
print(open("here/canary").read())
""", needs=("linux", "root")),
    Attack("makes the root its root", FILES, """
import os
os.mkdir("cell")
away = os.open("/", os.O_RDONLY)
os.chroot("cell")
os.fchdir(away)
os.chroot(".")
print(open(CANARY).read())
""", needs=("linux", "root")),
    Attack("clones the tree of mounts", FILES, f"""
import os
tree = syscall({OPEN_TREE}, -100, FOLDER.encode(), 1)
print(os.read(os.open("canary", os.O_RDONLY, dir_fd=tree), 4096))
""", needs=("linux", "x86", "root")),
    Attack("reads the kernel's log", FILES, """
import os
if os.read(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK), 8192):
    proof()
""", needs=("linux", "root", "kernel log")),
    Attack("asks the kernel for its log", FILES, """
text = ctypes.create_string_buffer(8192)
if libc.klogctl(3, text, 8192) > 0:
    proof()
""", needs=("linux", "root")),
    Attack("reads the machine's memory", FILES, "if open('/dev/mem', 'rb').read(64):\n    proof()",
        needs=("linux", "root", "kernel memory")),
    Attack("reads a file by io_uring", FILES, """
import mmap, os
ring_of = (ctypes.c_uint32 * 30)()
ring = syscall(425, 4, ring_of)
assert ring >= 0
asked = mmap.mmap(ring, 4096, offset=0)
entries = mmap.mmap(ring, 4096, offset=0x10000000)
path, text = ctypes.create_string_buffer(CANARY.encode()), ctypes.create_string_buffer(4096)
at = list(ring_of)[10:17]  # head, tail, mask, entries, flags, dropped, array
def put(number, *fields):
    entries[:64] = b"".join(value.to_bytes(size, "little") for value, size in fields).ljust(64, b"\\0")
    tail = int.from_bytes(asked[at[1]:at[1] + 4], "little")
    place = at[6] + 4 * (tail & 3)
    asked[place:place + 4] = bytes(4)
    asked[at[1]:at[1] + 4] = (tail + 1).to_bytes(4, "little")
    syscall(426, ring, 1, 1, 1, 0, 0)
# IORING_OP_OPENAT, then IORING_OP_READ of whatever descriptor came of it
put(18, (18, 1), (0, 1), (0, 2), (2**32 - 100, 4), (0, 8), (ctypes.addressof(path), 8), (0, 4), (0, 4))
for opened in range(3, 64):
    if os.path.exists(f"/proc/self/fd/{opened}") and os.readlink(f"/proc/self/fd/{opened}") == CANARY:
        print(os.pread(opened, 4096, 0))
""", needs=("linux", "x86", "io_uring")),
)  # fmt: skip
