"""Attacks through Python itself: variables, objects, imports, pickles, other consoles, the reader of results."""

from poziomka.environments.sandbox.interpreter import Surface
from poziomka.testing.attacks.attack import Attack, Evidence

VARIABLES, FILES, PROCESSES, MEMORY = Surface.VARIABLES, Surface.FILES, Surface.PROCESSES, Surface.MEMORY
DISTURBED = frozenset({Evidence.DISTURBED})  # the runner or another console is deceived or crashes
PAYLOAD = """
import pickle
class Payload:
    def __reduce__(self):
        return eval, (f"__import__('pathlib').Path({FOLDER + '/new'!r}).write_text('reached')",)
"""  # unpickling it writes a file of the test, which succeeds in the host but not inside the interpreter

TRICKS = (
    # variables
    Attack("reads a variable of the environment", VARIABLES, "import os\nprint(os.environ[VARIABLE])", quick=True),
    Attack("asks for a variable of the environment", VARIABLES, "import os\nprint(os.getenv(VARIABLE))", quick=True),
    Attack("has a variable put into a path", VARIABLES, "import os\nprint(os.path.expandvars('$' + VARIABLE))"),
    Attack("asks the C library for a variable", VARIABLES,
        "libc.getenv.restype = ctypes.c_char_p\nprint(libc.getenv(VARIABLE.encode()))"),
    Attack("asks a shell for a variable", VARIABLES, "import os\nprint(os.popen('env').read())"),
    Attack("asks a new interpreter for a variable", VARIABLES, """
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "import os; print(os.environ)"], capture_output=True).stdout)
"""),
    Attack("reads our environment in /proc", VARIABLES,
        "import hashlib\nprint(hashlib.sha256(open(f'/proc/{HOST}/environ', 'rb').read()).hexdigest())",
        needs=("linux", "own environment"), quick=True),
    Attack("reads the first process's environment", VARIABLES,
        "import hashlib\nprint(hashlib.sha256(open('/proc/1/environ', 'rb').read()).hexdigest())",
        needs=("linux", "first process")),
    Attack("reads a process's environment", VARIABLES, "print(open(f'/proc/{VICTIM}/environ').read())"),
    Attack("searches its own memory for our secrets", VARIABLES, """
import re
memory = open("/proc/self/mem", "rb", 0)
for line in open("/proc/self/maps"):
    place, rights = line.split()[:2]
    first, last = (int(number, 16) for number in place.split("-"))
    if rights.startswith("r") and last - first < 2**26:
        try:
            memory.seek(first)
            found = re.findall(rb"canary-[0-9a-f]{32}", memory.read(last - first))
            print(set(found))
        except (OSError, ValueError):
            pass
""", needs=("linux",)),
    Attack("searches all objects for our secrets", VARIABLES, """
import gc
for thing in gc.get_objects():
    if type(thing) is dict:
        for value in list(thing.values()):
            if type(value) is str and value.startswith("canary-"):
                print(value)
"""),
    Attack("searches the frames of its callers", VARIABLES, """
import sys
frame = sys._getframe()
while frame:
    for value in [*frame.f_locals.values(), *frame.f_globals.values()]:
        for inner in [value, *vars(value).values()] if hasattr(value, "__dict__") else []:
            about = getattr(inner, "__dict__", None)
            if type(about) is dict and "secrets" in about:
                print(about["secrets"])
    frame = frame.f_back
"""),
    # objects from which others can be reached
    Attack("finds the module of the system among all classes", FILES, """
for kind in ().__class__.__base__.__subclasses__():
    if kind.__name__ == "_wrap_close":
        print(kind.__init__.__globals__["popen"](f"cat {CANARY}").read())
""", quick=True),
    Attack("finds the builtins by way of a function", FILES,
        "print((lambda: 0).__globals__['__builtins__'].__dict__['open'](CANARY).read() "
        "if not isinstance((lambda: 0).__globals__['__builtins__'], dict) "
        "else (lambda: 0).__globals__['__builtins__']['open'](CANARY).read())"),
    Attack("finds the builtins by way of a generator", FILES, """
def walk():
    yield frame[0].gi_frame
frame = []
one = walk()
frame.append(one)
print(next(one).f_builtins["open"](CANARY).read())
"""),
    Attack("finds the builtins by way of an exception", FILES, """
try:
    1 / 0
except ZeroDivisionError as error:
    print(error.__traceback__.tb_frame.f_builtins["open"](CANARY).read())
"""),
    Attack("finds the builtins by way of a class", FILES,
        "import os\nprint(os._wrap_close.__init__.__globals__['__builtins__']['open'](CANARY).read())"),
    Attack("reads an object's insides by a format", VARIABLES,
        "import os\nprint('{0.__init__.__globals__[environ]}'.format(os._wrap_close))"),
    Attack("makes code of bytes", FILES, """
import marshal
code = compile("print(open(CANARY).read())", "code", "exec")
exec(marshal.loads(marshal.dumps(code)))
"""),
    Attack("has a payload loaded", FILES, """
import pickle
command = f"print(open({CANARY!r}).read())"
pickle.loads(b"cbuiltins\\nexec\\n(V" + command.encode() + b"\\ntR.")
"""),
    Attack("builds code of other code's parts", FILES, """
def harmless():
    return len("x")
harmless.__code__ = harmless.__code__.replace(co_names=("open",), co_consts=(None, CANARY))
print(harmless().read())
"""),
    Attack("evaluates what it was not given", FILES,
        "print(eval('__import__(\"io\").open')(CANARY).read())"),
    Attack("imports by the machinery under import", FILES, """
import sys
loader = next(kind for kind in sys.meta_path if getattr(kind, "__name__", "") == "BuiltinImporter")
print(loader.load_module("posix").read(loader.load_module("posix").open(CANARY, 0), 4096))
"""),
    Attack("opens a file by the module below", FILES, "import _io\nprint(_io.FileIO(CANARY).read())"),
    Attack("has our folder searched for imports", FILES, """
import importlib.machinery, sys
sys.meta_path.insert(0, importlib.machinery.PathFinder())
sys.path_importer_cache.clear()
sys.path[:0] = [FOLDER]
print(__import__("planted").SECRET)
"""),
    # the reader of results
    Attack("returns a value that runs code where it is read", FILES, PAYLOAD + "Payload()"),
    Attack("raises an error that runs code where it is read", FILES, PAYLOAD + """
class Error(Exception):
    def __reduce__(self):
        return Payload().__reduce__()
raise Error
"""),
    Attack("answers in its runner's place", FILES, PAYLOAD + """
import os, stat, struct
load = pickle.dumps(Payload(), 2)
for number in range(3, 64):
    try:
        kind = os.fstat(number).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            os.set_blocking(number, False)
            os.write(number, load)
    except OSError:
        pass
"""),
    Attack("writes nonsense to all that it has open", PROCESSES, """
import os, stat
for number in range(3, 64):
    try:
        kind = os.fstat(number).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            os.set_blocking(number, False)
            os.write(number, b"\\xff\\xff\\xff\\xff nonsense" * 10)
    except OSError:
        pass
""", aim=DISTURBED),
    Attack("closes all that it has open", PROCESSES, "import os\nos.closerange(0, 256)", aim=DISTURBED),
    Attack("ends its runner", PROCESSES, "import os\nos._exit(0)", aim=DISTURBED),
    Attack("ends its runner with an error", PROCESSES,
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", aim=DISTURBED),
    Attack("crashes its runner", PROCESSES, "import ctypes\nctypes.string_at(0)", aim=DISTURBED),
    Attack("calls itself in C until its runner crashes", PROCESSES, """
import sys
sys.setrecursionlimit(10**9)
def deeper(thing):
    return max([thing], key=deeper)
deeper(0)
""", aim=DISTURBED),
    Attack("asks to leave", PROCESSES, "import sys\nsys.exit(3)", quick=True, aim=DISTURBED),
    Attack("raises what only a host raises", PROCESSES, "raise KeyboardInterrupt", quick=True, aim=DISTURBED),
    Attack("makes an error that cannot be told", PROCESSES, """
class Worse(BaseException):
    def __str__(self):
        raise SystemExit(0)
    __repr__ = __str__
raise Worse
""", aim=DISTURBED),
    Attack("writes letters that are none", PROCESSES,
        "import os\nos.write(1, b'\\xff\\xfe\\x00')\nprint(chr(0xd800))", aim=DISTURBED),
    Attack("is a program with a zero in it", PROCESSES, "x = 1\0\nprint(x)", aim=DISTURBED),
    Attack("is nested too deeply to be read", PROCESSES, "(" * 5000 + ")" * 5000, aim=DISTURBED),
    Attack("is a sum too long to be read", PROCESSES, "x = " + "+" * 20000 + "1", aim=DISTURBED),
    # other consoles
    Attack("changes a function for everybody", PROCESSES, """
import builtins
builtins.sorted = builtins.max = builtins.sum = builtins.len = lambda *_, **__: 0
""", aim=DISTURBED),
    Attack("changes how everybody prints", PROCESSES,
        "import sys\nclass Quiet:\n    write = lambda *_: 0\n    flush = lambda *_: None\nsys.stdout = Quiet()",
        aim=DISTURBED),
    Attack("changes what everybody prints", PROCESSES, """
import builtins
shown = builtins.print
builtins.print = lambda *words, **how: shown("reached")
builtins.repr = lambda thing: "reached"
""", quick=True, aim=DISTURBED),
    Attack("changes a module for everybody", PROCESSES,
        "import json\njson.dumps = lambda *_, **__: 'reached'", aim=DISTURBED),
    Attack("puts another module in a module's place", PROCESSES, """
import sys, types
fake = types.ModuleType("json")
fake.dumps = lambda *_, **__: "reached"
sys.modules["json"] = fake
""", aim=DISTURBED),
    Attack("changes its runner's own functions", PROCESSES, """
import sys
frame = sys._getframe().f_back
while frame:
    for name, value in list(frame.f_globals.items()):
        if callable(value) and not name.startswith("__"):
            frame.f_globals[name] = lambda *_, **__: "reached"
    frame = frame.f_back
""", aim=DISTURBED),
    Attack("counts itself among the imports of everybody", PROCESSES, """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        raise ImportError("reached")
sys.meta_path.insert(0, Finder())
for name in ("json", "math"):
    sys.modules.pop(name, None)
""", aim=DISTURBED),
    Attack("finds another console's variables", MEMORY, """
import gc
for thing in gc.get_objects():
    if type(thing) is dict and "theirs" in thing and thing is not globals():
        print(thing["theirs"])
""", other="theirs = SECRET"),
    Attack("sees what its fork keeps in a function", MEMORY, "print(keep(1))", other="keep(SECRET)",
        start="def keep(thing, things=[]):\n    things.append(thing)\n    return things", quick=True),
    Attack("finds what another console left among the builtins", MEMORY, "print(theirs)",
        other="import builtins\nbuiltins.theirs = SECRET"),
    Attack("sees what its fork adds to a list", MEMORY, "print(theirs)", other="theirs.append(SECRET)",
        start="theirs = []", quick=True),
    Attack("finds what another console put into a module", MEMORY, "import math\nprint(math.theirs)",
        other="import math\nmath.theirs = SECRET"),
    Attack("finds another console's files", FILES, """
import glob, os
for place in (".", "..", TEMPORARY, *glob.glob(TEMPORARY + "/*"), *glob.glob("/proc/[0-9]*/cwd")):
    try:
        print(open(place + "/theirs").read())
    except OSError:
        pass
""", other="open('theirs', 'w').write(SECRET)"),
    Attack("finds its fork's files", FILES, "print(open('theirs').read())", other="open('theirs', 'w').write(SECRET)",
        start="mine = 1"),
    Attack("finds what another console left without a file", MEMORY, """
import socket
end = socket.socket(socket.AF_UNIX)
end.connect(chr(0) + MARK)
print(end.recv(100))
""", other="""
import os, socket
end = socket.socket(socket.AF_UNIX)
end.bind(chr(0) + MARK)
end.listen(1)
if os.fork() == 0:
    try:
        named()
        end.settimeout(2)
        end.accept()[0].send(SECRET.encode())
    finally:
        os._exit(0)
""", needs=("linux",)),
)  # fmt: skip
