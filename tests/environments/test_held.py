"""What the kernel holds: each escape succeeds where nothing holds it and is refused where it does."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from poziomka.environments.sandbox.interpreter import CALL
from poziomka.environments.sandbox.landlock_process import split
from poziomka.environments.sandbox.sandlock_interpreter import Sandlock, reason
from poziomka.environments.sandbox.scratch import sweep

pytestmark = [pytest.mark.skipif(bool(reason()), reason=f"sandlock cannot be had: {reason()}"), pytest.mark.sandbox]
ROOMY = replace(CALL, seconds=20.0)  # where nothing hangs, a busy machine may take its time
QUICK = replace(CALL, seconds=0.5)


# ---------------------------------------------------------------------------------------------------------- what holds
# what each does succeeds where nothing holds it, as the control below shows, and is refused here
ESCAPES = {
    "read a file of ours": "open({file!r}).read()",
    "read a file through a link": "import os; os.symlink({file!r}, 'link'); open('link').read()",
    "write a file of ours": "open({file!r}, 'a').write('x')",
    "list the packages": "import os; os.listdir({packages!r})",
    "change a mode": "import os; os.chmod({file!r}, 0o600)",
    "change a time": "import os; os.utime({file!r})",
    "read our variables": "open('/proc/{parent}/environ').read()",
    "read its own variables": "open('/proc/self/environ').read()",
    "signal us": "import os; os.kill({parent}, 0)",
    "limit us": "import resource; resource.prlimit({parent}, resource.RLIMIT_CORE)",
    "slow us down": "import os; os.setpriority(os.PRIO_PROCESS, {parent}, os.getpriority(os.PRIO_PROCESS, {parent}))",
    "bind us to a processor": "import os; os.sched_setaffinity({parent}, os.sched_getaffinity(0))",
    "look at what we do": "import ctypes; assert ctypes.CDLL(None).inotify_init1(0) >= 0",
    "hold memory outside the limit": "import os; os.memfd_create('m')",
    "make a pipe with a name": "import os; os.mkfifo('fifo')",
    "reach a server": "import socket; socket.create_connection(('127.0.0.1', {port})).close()",
    "open a port": "import socket; socket.create_server(('127.0.0.1', 0)).close()",
    "reach a socket of ours": "import socket; socket.socket(socket.AF_UNIX).connect({path!r})",
    "reach a socket without a path": "import socket; socket.socket(socket.AF_UNIX).connect({abstract!r})",
    "send to a socket": "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', {datagrams!r})",
    "send by one of a pair": (
        "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', {datagrams!r})"
    ),
    "start a process": "import os\nif os.fork() == 0: os._exit(0)\nos.wait()",
    "start a command": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "start a thread": "import threading; threading.Thread(target=print).start()",
}


@pytest.fixture(scope="module")
def outside():
    """What code may look for outside: a file, sockets, a server, and this process."""
    folder = Path(tempfile.mkdtemp(prefix="outside-"))
    file, path, abstract = folder / "file", str(folder / "socket"), f"\0poziomka-{os.getpid()}"
    file.write_text("ours")
    datagrams = str(folder / "datagrams")
    letters = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with (
        letters,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as stream,
        socket.socket(socket.AF_UNIX) as unnamed,
    ):
        stream.bind(path)
        stream.listen()
        unnamed.bind(abstract)
        unnamed.listen()
        letters.bind(datagrams)
        names = {"file": str(file), "path": path, "abstract": abstract, "datagrams": datagrams}
        yield names | {
            "port": server.getsockname()[1],
            "parent": os.getpid(),
            "packages": str(Path(pytest.__file__).parent.parent),
            "arrived": letters,
        }
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()


def test_without_the_hold_every_escape_succeeds(outside, tmp_path):
    script = "import json, sys\nfor name, code in json.loads(sys.argv[1]).items():\n    exec(code, {})\nprint('all')"
    escapes = {name: code.format(**outside) for name, code in ESCAPES.items()}
    ran = subprocess.run(
        [sys.executable, "-I", "-c", script, json.dumps(escapes)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout.strip().split("\n")[-1], ran.stderr) == ("all", "")
    outside["arrived"].setblocking(False)
    assert outside["arrived"].recv(10) == outside["arrived"].recv(10) == b"x"


def test_held_no_escape_succeeds(outside, console):
    told = {name: console.run(code.format(**outside)) for name, code in ESCAPES.items()}
    assert [name for name, output in told.items() if not output.fault or output.lost] == []
    kinds = {output.fault.partition(":")[0] for output in told.values()}
    assert kinds == {"PermissionError", "RuntimeError (line 1)", "AssertionError (line 1)", "RuntimeError"} & kinds
    assert Path(outside["file"]).read_text() in ("ours", "oursx")
    outside["arrived"].setblocking(False)
    with pytest.raises(BlockingIOError):
        outside["arrived"].recv(10)


def test_it_holds_no_capability_and_cannot_raise_a_limit(console):
    script = """
import resource
for what in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
    try:
        resource.setrlimit(what, (2 ** 40, 2 ** 40))
        print("raised")
    except ValueError:
        pass
"""
    assert (console.run(script).text, console.run("1").text) == ("", "1\n")
    lines = Path(f"/proc/{console._held.pid}/status").read_text().splitlines()
    held = dict(line.split(":\t") for line in lines if line.startswith("Cap"))
    assert {held[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}


def test_a_folder_that_grows_too_large_ends_the_process(console):
    output = console.run("for i in range(10 ** 6):\n    with open(str(i), 'wb') as file: file.write(bytes(10 ** 6))")
    assert output.lost
    assert "into its folder" in output.fault
    assert "File too large" in console.run("with open('x', 'wb') as file: file.write(bytes(2 ** 20 + 1))").fault


def test_processes_are_counted_and_end_with_the_console(gone):
    console = Sandlock(replace(QUICK, processes=3)).open()
    output = console.run(
        "import os, time\npids = []\nwhile True:\n    pid = os.fork()\n    if pid == 0: time.sleep(60)\n"
        "    pids.append(pid)\n    print(pid, flush=True)"
    )
    pids = [int(pid) for pid in output.text.split()]
    assert len(pids) == 2
    console.run("if os.fork() == 0:\n    while True: pass") if not output.lost else None
    console.close()
    assert all(gone(pid) for pid in pids)


@pytest.mark.fault("A15")
def test_nothing_goes_on_between_two_calls():
    console = Sandlock(replace(ROOMY, processes=3)).open()
    process = console.run(
        "import os, threading\nn = 0\ndef count():\n    global n\n    while True: n += 1\n"
        "threading.Thread(target=count, daemon=True).start()\nos.getpid()"
    )
    while state_of(int(process.text)) != "T":  # the signal that stops it is on its way
        time.sleep(0.01)
    used = ticks_of(int(process.text))
    time.sleep(0.3)
    assert (state_of(int(process.text)), ticks_of(int(process.text))) == ("T", used)
    first = int(console.run("n").text)
    assert int(console.run(f"while n == {first}: pass\nn").text) > first  # and goes on with the next call
    console.close()


def state_of(process):
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def ticks_of(process):
    """The processor time that a process has used, in ticks of the kernel."""
    return sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))


# --------------------------------------------------------------------------------------------------------- what is left
def test_a_closed_console_leaves_neither_its_process_nor_its_folder(held, gone, away):
    console = held.open()
    script = (
        "import os\nfor _ in range(300):\n    os.mkdir('d', 0o500); os.mkdir('e'); os.chdir('e')\nopen('x', 'w'); None"
    )
    console.run(script)
    where, process = (
        console.run("os.readlink('/proc/self/cwd').partition('/e/')[0], os.getpid()").text[1:-2].split(", ")
    )
    folder = Path(where.strip("'"))
    assert folder.is_dir()
    console.close()
    console.close()
    assert away(folder)
    assert gone(int(process))


def test_a_fork_of_this_process_rebuilds_its_console_and_leaves_ours_alone():
    script = """
import os, sys
from poziomka.environments.sandbox.sandlock_interpreter import Sandlock
console = Sandlock().open()
console.run("x = 4")
child = os.fork()
if child == 0:
    print(console.run("x + 1").text, flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(console.run("x").text, flush=True)
console.close()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.stderr) == (["5", "4"], "")


def test_a_console_that_nobody_closes_ends_with_us_and_so_does_its_folder(gone):
    script = """
from poziomka.environments.sandbox.sandlock_interpreter import Sandlock
first, second = Sandlock().open(), Sandlock().open()
for console in (first, second):
    print(console.run("import os; print(os.getpid(), os.getcwd())").text.strip(), flush=True)
del console, first
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    for line in ran.stdout.splitlines():
        process, folder = line.split()
        assert gone(int(process))
        assert not Path(folder).exists()
    assert len(ran.stdout.splitlines()) == 2


def test_what_it_holds_ends_with_us_however_we_end(alive, gone):
    script = """
import threading, time
from poziomka.environments.sandbox.sandlock_interpreter import Sandlock
console = Sandlock().open()
threading.Thread(target=lambda: console.run("import os; print(os.getpid())\\nwhile True: pass")).start()
held = console
while console._held is None: time.sleep(0.01)
print(console._held.pid, console._held.scratch.path, flush=True)
time.sleep(10**6)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    held, folder = process.stdout.readline().split()
    assert alive(int(held))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert gone(int(held))
    assert Path(folder).is_dir()
    assert sweep() >= 1
    assert not Path(folder).exists()


def test_packages_of_others_within_the_library_are_closed_but_for_those_that_are_named(tmp_path):
    for name in ("lib/site-packages/numpy", "lib/site-packages/ours", "lib/json"):
        (tmp_path / name).mkdir(parents=True)
    library, site = tmp_path / "lib", tmp_path / "lib" / "site-packages"
    assert split(library, [site, Path("/elsewhere")]) == [library / "json"]
    assert split(tmp_path, [site / "ours"]) == [library / "json", site / "numpy"]
    assert split(site / "numpy", [site]) == [site / "numpy"]
    assert split(site, [site]) == []
