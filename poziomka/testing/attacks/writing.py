"""Attacks that change files of the test, or leave their own in places where all users can write."""

from poziomka.environments.sandbox.interpreter import Surface
from poziomka.testing.attacks.attack import Attack

FILES = Surface.FILES

WRITING = (
    Attack("overwrites a file", FILES, "open(CANARY, 'w').write('reached')", quick=True),
    Attack("writes to the end of a file", FILES, "open(CANARY, 'a').write('reached')"),
    Attack("makes a file in our folder", FILES, "open(FOLDER + '/new', 'w').write('reached')"),
    Attack("writes a file as a path object", FILES, "import pathlib\npathlib.Path(CANARY).write_text('reached')"),
    Attack("writes by way of a link that it makes", FILES,
        "import os\nos.symlink(CANARY, 'link')\nopen('link', 'w').write('reached')"),
    Attack("writes by way of the root in /proc", FILES, "open('/proc/self/root' + CANARY, 'w').write('reached')"),
    Attack("writes by way of a process's descriptor", FILES, "open(f'/proc/{VICTIM}/fd/{PIPE}', 'w').write('reached')"),
    Attack("cuts a file short", FILES, "import os\nos.truncate(CANARY, 3)"),
    Attack("removes a file", FILES, "import os\nos.unlink(CANARY)", quick=True),
    Attack("removes our folder", FILES, "import shutil\nshutil.rmtree(FOLDER)"),
    Attack("renames a file", FILES, "import os\nos.rename(CANARY, CANARY + '2')"),
    Attack("moves a file into its folder", FILES, "import shutil\nshutil.move(CANARY, 'taken')"),
    Attack("swaps two files", FILES, "assert syscall(316, -100, CANARY.encode(), -100, PLANTED.encode(), 2) == 0",
        needs=("linux", "x86")),
    Attack("makes a folder in ours", FILES, "import os\nos.mkdir(FOLDER + '/new')"),
    Attack("removes a folder in ours", FILES, "import os\nos.rmdir(FOLDER + '/inner')"),
    Attack("makes a pipe in our folder", FILES, "import os\nos.mkfifo(FOLDER + '/new')"),
    Attack("makes a device in our folder", FILES, "import os\nos.mknod(FOLDER + '/new', 0o20666, os.makedev(1, 3))",
        needs=("linux", "root")),
    Attack("makes a link in our folder", FILES, "import os\nos.symlink('/etc', FOLDER + '/new')"),
    Attack("makes a hard link to a file of ours", FILES, "import os\nos.link(CANARY, FOLDER + '/new')"),
    Attack("binds a socket in our folder", FILES, "import socket\nsocket.socket(socket.AF_UNIX).bind(FOLDER + '/new')"),
    Attack("changes a file's mode", FILES, "import os\nos.chmod(CANARY, 0)"),
    Attack("changes a file's mode by its descriptor", FILES,
        "import os\nos.fchmod(os.open(CANARY, os.O_RDONLY), 0)"),
    Attack("changes a file's mode by way of /proc", FILES,
        "import os\nos.chmod(f'/proc/self/fd/{os.open(CANARY, os.O_PATH)}', 0)"),
    Attack("changes a file's owner", FILES, "import os\nos.chown(CANARY, 12345, 12345)", needs=("linux", "root")),
    Attack("changes a file's time", FILES, "import os\nos.utime(CANARY, (1, 1))"),
    Attack("gives a file an attribute", FILES, "import os\nos.setxattr(CANARY, 'user.new', b'reached')",
        needs=("linux", "attributes")),
    Attack("writes by the C library", FILES, "libc.write(libc.open(CANARY.encode(), 1), b'reached', 7)"),
    Attack("writes by system calls", FILES, "syscall(1, syscall(257, -100, CANARY.encode(), 1, 0), b'reached', 7)",
        needs=("linux", "x86")),
    Attack("writes through a map of memory", FILES, """
import mmap, os
mmap.mmap(os.open(CANARY, os.O_RDWR), 8)[:8] = b"reached!"
"""),
    Attack("makes a database in our folder", FILES, """
import sqlite3
base = sqlite3.connect(FOLDER + "/new.db")
base.execute("create table reached (x)")
base.commit()
"""),
    Attack("writes by a logger", FILES, """
import logging
logging.FileHandler(FOLDER + "/new").emit(logging.makeLogRecord({"msg": "reached"}))
"""),
    Attack("writes by a child process", FILES,
        "import subprocess\nsubprocess.run(['cp', '/etc/hostname', FOLDER + '/new'])"),
    Attack("writes by a shell", FILES, "import os\nos.system(f'echo reached > {CANARY}')"),
    Attack("compiles a module into our folder", FILES,
        "import py_compile\npy_compile.compile(PLANTED, cfile=FOLDER + '/new.pyc')"),
    Attack("leaves a lock on a file for others to find", FILES, """
import fcntl, os
one, other = open(os.__file__), open(os.__file__)
fcntl.flock(one, fcntl.LOCK_EX)
try:
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    proof()
""", needs=("linux",), quick=True),
    Attack("holds a file that others open", FILES, """
import fcntl, os
fcntl.fcntl(open(os.__file__), fcntl.F_SETLEASE, fcntl.F_RDLCK)
proof()
""", needs=("linux", "root"), quick=True),
    Attack("watches what others read", FILES, """
import fcntl, os
fcntl.fcntl(os.open(os.path.dirname(os.__file__), os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS)
proof()
""", needs=("linux",)),
    Attack("leaves a file in the temporary folder", Surface.DISK,
        "open(f'{TEMPORARY}/{MARK}', 'w').write('reached')", quick=True),
    Attack("leaves a file in shared memory", Surface.DISK, "open(f'/dev/shm/{MARK}', 'w').write('reached')",
        needs=("linux", "shared memory")),
    Attack("leaves shared memory with a name", Surface.DISK, """
from multiprocessing import resource_tracker, shared_memory
resource_tracker.register = lambda *_: None
shared_memory.SharedMemory(MARK, create=True, size=100).close()
""", needs=("linux", "shared memory")),
    Attack("leaves shared memory of System V", Surface.MEMORY, "assert libc.shmget(KEY, 4096, 0o1666) >= 0",
        needs=("linux", "system v")),
    Attack("leaves semaphores of System V", Surface.PROCESSES, "assert libc.semget(KEY, 1, 0o1666) >= 0",
        needs=("linux", "system v")),
    Attack("leaves a queue of messages", Surface.PROCESSES, "assert libc.msgget(KEY, 0o1666) >= 0",
        needs=("linux", "system v")),
    Attack("leaves a key in the kernel's keyring", Surface.PROCESSES,
        "assert syscall(248, b'user', MARK.encode(), b'reached', 7, -4) > 0", needs=("linux", "x86", "keys")),
)  # fmt: skip
