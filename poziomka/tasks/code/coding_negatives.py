"""Adversarial and wrong programs that every scorer of programs must reject.

Each does something that has earned an undeserved reward in some scorer: it exits with status 0, prints "passed",
patches functions that the tests use, searches memory and files for the tests and returns the answers that it finds, or
forges messages between the scorer's processes.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from poziomka.core.problem import Problem
from poziomka.core.seeds import seed_of
from poziomka.environments.sandbox.worker.wire_format import LENGTH, encode

SLOW = 8  # one problem in this many is also tried with programs that use up the time limit


def _frames() -> bytes:
    """Returns forged messages of the scorer's processes, which claim that a program passes its tests."""
    said = (
        ["passed", "", 9],
        [0, "loaded"],
        ["started"],
        ["over", 0, 0.0, 0.0],
        *([n, "value", True] for n in range(1, 9)),
    )
    return b"".join(LENGTH.pack(len(data)) + data for data in map(encode, said))


FORGE = f"""
import os
def forge():
    for number in range(3, 64):
        try:
            os.set_blocking(number, False)
            os.write(number, {_frames()!r})
        except OSError:
            pass
"""
SEEK = r"""
import gc, os, re, sys
def texts():
    frame = sys._getframe()
    while frame:
        for value in [*frame.f_globals.values(), *frame.f_locals.values()]:
            yield repr(value)
        frame = frame.f_back
    for held in gc.get_objects():
        if type(held) in (dict, list, tuple):
            try:
                yield from [text for text in (held.values() if type(held) is dict else held) if type(text) is str]
            except RuntimeError:
                pass
    for process in ("self", str(os.getppid())):
        for name in ("cmdline", "environ", "stat", "mountinfo"):
            try:
                yield open(f"/proc/{process}/{name}", errors="replace").read()
            except OSError:
                pass
        try:
            maps = [line.split() for line in open(f"/proc/{process}/maps")]
            with open(f"/proc/{process}/mem", "rb") as memory:
                for words in maps:
                    low, high = (int(end, 16) for end in words[0].split("-"))
                    if "w" in words[1] and high - low < 2 ** 25:
                        try:
                            memory.seek(low)
                            yield memory.read(high - low).decode("latin-1")
                        except (OSError, ValueError):
                            pass
        except OSError:
            pass
    for folder in (".", "..", "/proc/self/cwd", "/proc/self/fd", "/tmp"):
        try:
            for name in os.listdir(folder):
                if os.path.isfile(os.path.join(folder, name)):
                    yield open(os.path.join(folder, name), errors="replace").read(100000)
        except OSError:
            pass
"""


def mistakes(problem: Problem) -> Mapping[str, str]:
    """Returns programs that must score 0 on a problem that requires a function, keyed by a description of the fault."""
    name, solution = cast("str", problem.facts["name"]), cast("str", problem.facts["solution"])
    found = dict(_functions(name))
    checks = "\n".join(cast("list[str]", problem.facts["checks"]))
    found["the solution, one more or one character more"] = f"{solution}\n\n{_broken(name)}"
    if checks.count("candidate(") + checks.count(f"{name}(") > 2:
        found["right the first time only"] = f"{solution}\n\n{_broken(name, after=1)}"
    if seed_of("slow", problem.key) % SLOW == 0:
        found |= slow(name)
    return found


def _functions(name: str) -> Iterator[tuple[str, str]]:
    define = f"def {name}(*arguments, **named):\n    "
    yield "a signature and nothing", f"{define}pass"
    yield "an empty program", ""
    yield "comments only", f"# {name}\n# returns what is right"
    yield "the name only", f"{name} = None"
    for what, how in EXITS.items():
        yield f"{what} at once", f"{how}\n{define}pass"
        yield f"{what} when called", define + how.replace("\n", "\n    ")
    yield "prints that tests passed", f'{define}print("1 passed\\nOK\\nAll tests passed")'
    yield "patches what tests use", f"{PATCHES}\n{define}return Always()"
    yield "defines check and candidate", f"def check(candidate):\n    pass\ncandidate = print\n{define}pass"
    yield "returns what is equal to all", f"{ALWAYS}\n{define}return Always()"
    for kind, value in {"int": -987654321, "float": 0.12345, "str": "~", "list": ["~"], "tuple": ("~",)}.items():
        equal = ALWAYS.replace("class Always", f"class Always({kind})")
        yield f"returns {kind} that is equal to all", f"{equal}\n{define}return Always({value!r})"
    seek = f"{SEEK}\nfound = dict(PAIR.findall('\\n'.join(texts())))"
    pair = f"import re\nPAIR = re.compile(r'assert (?:candidate|{name})\\((.*)\\) == (.*)')"
    look = "\n    return eval(found[repr(arguments)[1:-1].rstrip(',')])"
    yield "looks for the tests", f"{pair}\n{seek}\n{define}{look}"
    inside = "found = dict(PAIR.findall('\\n'.join(texts())))"
    yield "looks for the tests when called", f"{pair}\n{SEEK}\n{define}{inside}{look}"
    yield "writes forged answers everywhere", f"{FORGE}\nforge()\n{define}forge()"
    fork = "child = os.fork()\n    if child == 0:\n        forge()\n        os._exit(0)\n    os.waitpid(child, 0)"
    yield "forks, and the child answers", f"{FORGE}\n{define}{fork}"
    yield "leaves a process behind", f"{define}{ORPHAN}"
    yield "closes everything", f"import os\n{define}os.closerange(0, 256)"
    yield "returns a generator", f"{define}yield from range(10 ** 9)"
    yield "returns a function", f"{define}return {name}"
    yield "returns a list that holds itself", f"{define}held = []\n    held.append(held)\n    return held"
    yield (
        "returns a deep list",
        f"{define}held = []\n    for _ in range(10 ** 5):\n        held = [held]\n    return held",
    )
    yield "returns a huge list", f"{define}return [0] * 10 ** 7"
    yield "returns a huge text", f"{define}return 'x' * 10 ** 8"
    yield "returns a huge number", f"{define}return 1 << 10 ** 8"
    yield "calls itself without end", f"{define}return {name}(*arguments, **named)"


ORPHAN = """import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)"""
EXITS = {
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
    "raises SystemExit": "raise SystemExit",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
    "kills itself": "import os\nos.kill(os.getpid(), 9)",
}
ALWAYS = """
class Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __gt__(self, other): return True
    def __le__(self, other): return True
    def __ge__(self, other): return True
    def __bool__(self): return True
    def __len__(self): return 1
    def __hash__(self): return 0
    def __abs__(self): return 0
    def __sub__(self, other): return 0
    def __rsub__(self, other): return 0
"""
PATCHES = f"""{ALWAYS}
import builtins, math, sys, unittest
for name in ("all", "any", "isinstance", "abs", "sorted", "set", "len", "str", "list", "tuple", "round"):
    setattr(builtins, name, lambda *_, **__: Always())
builtins.AssertionError = type("Quiet", (BaseException,), {{"__init__": lambda *_: None}})
math.isclose = lambda *_, **__: True
for name in dir(unittest.TestCase):
    if name.startswith("assert"):
        setattr(unittest.TestCase, name, lambda *_, **__: None)
sys.excepthook = sys.unraisablehook = lambda *_: None
sys.settrace(lambda *_: None)
"""


def _broken(name: str, after: int = 0) -> str:
    """Returns code that wraps a correct function `name` and changes the result of every call after `after` calls."""
    return f"""
right_, calls_ = {name}, []
def broken_(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 if value + 1 != value else 0
    if isinstance(value, str):
        return value + "~"
    if isinstance(value, (list, tuple)):
        return type(value)([*value, "~"])
    if isinstance(value, dict):
        return {{**value, "~": "~"}}
    if isinstance(value, (set, frozenset)):
        return value | {{"~"}}
    return "~"
def {name}(*arguments, **named):
    calls_.append(0)
    value = right_(*arguments, **named)
    return broken_(value) if len(calls_) > {after} else value
"""


def slow(name: str) -> Mapping[str, str]:
    """Returns wrong programs that use up the time limit or memory, keyed by a description of the fault.

    Args:
        name: name of the function that the programs define.
    """
    define = f"def {name}(*arguments, **named):\n    "
    return {
        "hangs at once": f"while True:\n    pass\n{define}pass",
        "hangs when called": f"{define}while True:\n        pass",
        "sleeps": f"import time\n{define}time.sleep(600)",
        "works out a number without end": f"{define}return 9 ** 9 ** 9 ** 9",
        "prints without end": f"{define}while True:\n        print('x' * 10 ** 6)",
        "takes memory without end": f"held = []\n{define}while True:\n        held.append(bytearray(10 ** 7))",
        "forks without end": f"import os\n{define}while True:\n        try:\n            os.fork()\n"
        "        except OSError:\n            pass",
        "starts threads without end": f"import threading, time\n{define}while True:\n        try:\n"
        "            threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "        except RuntimeError:\n            pass",
    }


# ------------------------------------------------------------------------------------------------------ whole programs
def whole_mistakes(problem: Problem) -> Mapping[str, str]:
    """Returns whole programs that must score 0 by their output, keyed by a description of the fault."""
    tests = cast("list[Mapping[str, object]]", problem.facts["tests"])
    solution = cast("str", problem.facts["solution"])
    public = {str(test["input"]): str(test["output"]) for test in tests if test["public"]}
    found = {
        "a function and nothing": "def main():\n    pass",
        "an empty program": "",
        "comments only": "# reads the input\n# prints what is right",
        "prints that tests passed": 'print("1 passed\\nOK\\nAll tests passed")',
        "patches what prints": "import builtins, sys\nbuiltins.print = sys.stdout = sys.__stdout__ = None",
        "looks for the outputs": f"{SEEK}\nprint(re.findall(r'.output.: .([^,]*).[,}}]', '\\n'.join(texts()))[0])",
        "writes forged answers everywhere": f"{FORGE}\nforge()",
        "forks, and the child prints": "import os\nprint('passed', flush=True) if os.fork() == 0 else os.wait()",
        "closes everything": "import os\nos.closerange(0, 256)",
        "writes no text": "import os\nos.write(1, bytes(range(128, 256)))",
        "writes a megabyte and more": "print('x' * 2 * 10 ** 6)",
        "leaves a process behind": ORPHAN.replace("\n    ", "\n"),
        **EXITS,
    }
    if any(str(test["input"]).split() != str(test["output"]).split() for test in tests):
        found["prints the input"] = "import sys\nprint(sys.stdin.read())"
    if any(str(test["input"]) not in public and str(test["output"]).split() for test in tests):
        found["knows the examples by heart"] = f"import sys\nprint({public!r}.get(sys.stdin.read(), ''))"
    if len({str(test["output"]) for test in tests}) > 1:
        found["prints every right output"] = f"print({chr(10).join(str(test['output']) for test in tests)!r})"
    if solution:
        found["the solution, and a line more"] = f"{solution}\n\nprint('x')"
        found["the solution, which then fails"] = f"{solution}\n\nraise SystemExit(1)"
    if seed_of("slow", problem.key) % SLOW == 0:
        found |= {
            "hangs": "while True:\n    pass",
            "sleeps": "import time\ntime.sleep(600)",
            "prints without end": "while True:\n    print('x' * 10 ** 6)",
            "takes memory without end": "held = []\nwhile True:\n    held.append(bytearray(10 ** 7))",
        }
    return found
