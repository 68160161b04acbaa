"""Attacks on every interpreter that is here; and on one that holds nothing, on which every attack must succeed.

The positive control is what a careless program would be: a fork of the host, with the host's memory, variables and
inheritable descriptors, in which one process runs the code of all consoles and answers by pickle. Only what keeps this
machine alive is bounded: a call is ended a while after its time, and most of a gigabyte of output is never read.
"""

import ast
import contextlib
import os
import pickle
import select
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest

from poziomka.core.errors import EnvironmentFailure
from poziomka.core.safety.processes import descendants
from poziomka.environments.sandbox.interpreter import Isolation, Output, Surface
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.registry import interpreter_named, reasons
from poziomka.testing.attacks import ATTACKS, QUICK, Attack, Battery, Outcome, Report, check_interpreter, ground
from poziomka.testing.attacks.attack import Evidence, unlike

pytestmark = pytest.mark.sandbox

MOST = 2 * 2**20  # bytes of output that the control reads
GRACE, LATE = 0.15, 0.3  # seconds after a call's time at which the control is late, and at which it is ended


class Unprotected:
    """Opens consoles that share one process."""

    name = "unprotected"

    def __init__(self, limits):
        self.limits = limits
        self.late = 5.0  # seconds after a call's time at which it is ended
        self.folder = tempfile.mkdtemp(prefix="unprotected-")
        self.process = 0
        self.names = 0
        self.consoles = 0

    def isolation(self):
        return Isolation(self.name, dict.fromkeys(Surface, "nothing"))

    def open(self):
        self.names += 1
        self.consoles += 1
        return Naive(self, self.names)

    def close(self):
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, request):
        """Returns what was written, and the answer; None where none came in time."""
        if not self.process:
            self.start()
        try:
            return self.exchange(request)
        except BaseException:
            self.end()
            raise

    def exchange(self, request):
        with contextlib.suppress(OSError):
            os.write(self.asks, repr(request).encode() + b"\n")
        text, answer = bytearray(), bytearray()
        until = time.monotonic() + self.limits.seconds + self.late
        while (left := until - time.monotonic()) > 0 and len(text) < MOST:
            ready = select.select([self.reads, self.says], [], [], min(left, 0.05))[0]
            if self.says in ready:
                text += os.read(self.says, 65536)
            elif self.reads in ready:
                answer += os.read(self.reads, 65536)
                with contextlib.suppress(EOFError, pickle.UnpicklingError):
                    found = pickle.loads(answer)  # careless, and meant to be
                    while select.select([self.says], [], [], 0)[0] and len(text) < MOST:
                        text += os.read(self.says, 65536)
                    return bytes(text), found
                if not answer:
                    break
            if os.waitpid(self.process, os.WNOHANG)[0]:
                self.process = 0
                break
        self.end()
        return bytes(text), None

    def start(self):
        theirs, self.asks = os.pipe()
        self.reads, answers = os.pipe()
        self.says, out = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            try:
                self.serve(theirs, answers, out)
            finally:
                os._exit(1)
        for end in (theirs, answers, out):
            os.close(end)

    def end(self):
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = 0
        for end in ("asks", "reads", "says"):
            if getattr(self, end, None) is not None:
                os.close(getattr(self, end))
                setattr(self, end, None)

    def serve(self, asks, answers, out):
        """What the process does: runs whatever it is asked to, in the namespace of a console."""
        for number in range(3, 256):
            with contextlib.suppress(OSError):
                if number not in (asks, answers, out) and not os.get_inheritable(number):
                    os.close(number)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 it ends with us
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        warnings.simplefilter("ignore")  # pytest makes errors of them
        spaces = {}
        asked = b""
        while True:
            while b"\n" not in asked:
                asked += os.read(asks, 65536) or os._exit(0)
            request, _, asked = asked.partition(b"\n")
            os.chdir(self.folder)
            os.write(answers, pickled(perform(spaces, *ast.literal_eval(request.decode()))))


def perform(spaces, what, name, rest):
    """Runs code, or copies variables as carelessly as dict.copy does; returns an error, and the last value's text."""
    if what == "fork":
        spaces[rest] = dict(spaces.get(name, {}))
        return None, ""
    space = spaces.setdefault(name, {"__builtins__": __builtins__, "__name__": "__console__"})
    try:
        tree = ast.parse(rest)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "code", "exec"), space)
        value = eval(compile(ast.Expression(last.value), "code", "eval"), space) if last else None
    except Exception as error:  # noqa: BLE001 whatever code raises
        return error, ""
    return None, value if is_payload(value) else "" if value is None else f"{value!r}\n"


def is_payload(value):
    return type(value).__name__ == "Payload"


def pickled(answer):
    try:
        return pickle.dumps(answer)
    except Exception:  # noqa: BLE001 of a class that nobody can import
        return pickle.dumps((ValueError(str(answer[0])), ""))


class Naive:
    """A console of it."""

    def __init__(self, interpreter, name):
        self.interpreter = interpreter
        self.name = name

    def run(self, code):
        ast.parse(code)  # careless, too: the host reads what it has not seen
        text, answer = self.interpreter.ask(("run", self.name, code))
        if answer is None:
            return Output(text.decode("utf-8", "replace"), "it gave no answer", lost=True)
        fault, value = answer
        return Output(text.decode() + value, f"{type(fault).__name__}: {fault}" if fault else "")

    def fork(self):
        fork = self.interpreter.open()
        self.interpreter.ask(("fork", self.name, fork.name))
        return fork

    def close(self):
        self.interpreter.consoles -= 1
        if not self.interpreter.consoles:
            self.interpreter.end()  # the next one begins afresh, so that every attack stands alone
        for entry in os.scandir(self.interpreter.folder):
            shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else Path(entry.path).unlink()


LIMITS = Limits(seconds=0.3, memory=64 * 2**20, output=20_000, file=2**18, files=32, processes=8)
# what an interpreter may let through, and with what words its isolation must say so
KNOWN = {
    "sandlock": {
        "learns the time of a file of ours": "its size, its owner and its times",
        "finds out which numbers of processes are free": "numbers of processes are in use",
        "takes memory in every one of its processes": "memory is bounded for each",  # where time does not end it
    },
}
HERE = {name: why for name, why in reasons().items() if name != "docker"}


@pytest.fixture(scope="module", params=[name for name, why in HERE.items() if not why])
def battery(request):
    """An interpreter under attack; nothing of it may be left at the end."""
    interpreter = interpreter_named(request.param, LIMITS)
    with Battery(interpreter):
        pass  # what a library keeps for good, it keeps from here on
    interpreter.close()
    before = set(descendants(os.getpid())), set(Path("/proc/self/fd").iterdir())
    with Battery(interpreter) as battery:
        yield battery
    interpreter.close()
    while set(descendants(os.getpid())) - before[0]:
        time.sleep(0.01)
    assert (set(descendants(os.getpid())), set(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture(scope="module")
def control():
    """The interpreter that holds nothing."""
    interpreter = Unprotected(LIMITS)
    with Battery(interpreter, grace=GRACE, again=0) as battery:
        yield battery
    interpreter.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_succeeds_where_nothing_holds_it(control, attack):
    control.interpreter.late = LATE if attack.aim == {Evidence.LATE} else 5.0
    for _ in range(3):  # a busy machine may be slow to start what an attack begins
        tried = control.attempt(attack)
        control.renew()
        if tried.evidence & attack.aim or tried.outcome is Outcome.UNTRIED:
            break
    if tried.outcome is Outcome.UNTRIED:
        pytest.skip(f"it tells nothing on this machine: {tried.seen}")
    assert tried.evidence & attack.aim, f"{tried}; it ended with {tried.met!r}"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_held(battery, attack):
    tried = battery.attempt(attack)
    if tried.outcome is Outcome.UNTRIED:
        pytest.skip(f"it tells nothing on this machine: {tried.seen}")
    known = KNOWN.get(battery.interpreter.name, {}).get(attack.name)
    told = battery.interpreter.isolation().not_protected
    assert tried.outcome is Outcome.HELD or (known and any(known in sentence for sentence in told)), str(tried)


def test_every_interpreter_that_can_be_had_is_attacked_or_the_reason_is_told():
    assert HERE["monty"] == "", "the interpreter that needs nothing must be here"
    for name, why in HERE.items():
        if why:
            warnings.warn(f"{name} was not attacked: {why}", stacklevel=1)


def test_there_are_many_attacks_on_every_surface():
    assert len(ATTACKS) >= 60
    counts = Counter(attack.surface for attack in ATTACKS)
    assert set(counts) == set(Surface)
    assert min(counts.values()) >= 9
    assert {attack.surface for attack in QUICK} == set(Surface)


def test_two_attacks_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two are called 'reads'"):
        unlike([Attack("reads", Surface.FILES, "1"), Attack("reads", Surface.DISK, "2")])


def test_a_report_says_what_was_reached_first_and_what_was_not_tried():
    attacks = [Attack("adds", Surface.TIME, "1 + 1"), Attack("reads", Surface.FILES, "print(open(CANARY).read())")]
    attacks.append(Attack("flies", Surface.FILES, "1", needs=("wings",)))
    interpreter = Unprotected(LIMITS)
    ground.NEEDS["wings"] = (lambda: False, "this machine has no wings")
    try:
        report = check_interpreter(interpreter, attacks)
    finally:
        del ground.NEEDS["wings"]
        interpreter.close()
    assert str(report).splitlines() == [
        "reached  files      reads: its output holds a file",
        "untried  files      flies: this machine has no wings",
        "held     time       adds: ended in good order, and nothing was seen",
        "unprotected: held 1 of 2, 1 not tried here",
    ]
    assert report.surfaces() == {Surface.TIME: (1, 1), Surface.FILES: (0, 1)}
    assert not report.passed


def test_a_report_without_a_single_attack_has_not_passed():
    assert not Report("nothing", ()).passed


def test_nothing_of_a_ground_is_left():
    before = set(descendants(os.getpid())), set(Path("/proc/self/fd").iterdir()), dict(os.environ)
    with ground.Ground(LIMITS) as laid:
        laid.begin()
        assert laid.folder.exists()
        assert laid.seen("nothing") == []
    assert not laid.folder.exists()
    assert (set(descendants(os.getpid())), set(Path("/proc/self/fd").iterdir()), dict(os.environ)) == before


def test_an_interpreter_that_runs_nothing_is_said_to():
    class Broken(Unprotected):
        def open(self):
            raise OSError(28, os.strerror(28))

    interpreter = Broken(LIMITS)
    with pytest.raises(EnvironmentFailure, match=r"unprotected runs nothing any more: OSError: .* No space left"):
        check_interpreter(interpreter, ATTACKS[:1])
    interpreter.close()


class Busy(Unprotected):
    """Runs nothing in time in some of its first calls, as on a busy machine."""

    def __init__(self, late, failing):
        super().__init__(LIMITS)
        self.late_calls, self.failing = late, failing
        self.asked = 0

    def ask(self, request):
        self.asked += 1
        if self.asked not in self.late_calls:
            return super().ask(request)
        if self.failing:
            message = "the machine is too busy to run code"
            raise EnvironmentFailure(message)
        return b"", None


@pytest.mark.fault("A15")
@pytest.mark.parametrize("late", [{1, 2, 3, 4}, {2}], ids=["from the start", "once it is open"])
@pytest.mark.parametrize("failing", [True, False])
def test_a_machine_that_is_busy_at_first_keeps_no_attack_from_being_tried(late, failing):
    interpreter = Busy(late, failing)
    report = check_interpreter(interpreter, [Attack("adds", Surface.TIME, "1 + 1")], grace=60.0)
    interpreter.close()
    assert report.passed, str(report)


def test_one_that_cannot_be_had_is_refused_with_the_reason_and_what_else_there_is():
    refused = {name: why for name, why in reasons().items() if why}
    for name, why in refused.items():
        with pytest.raises(EnvironmentFailure) as raised:
            interpreter_named(name)
        assert str(raised.value).startswith(f"code cannot run in {name!r} here: {why}; name ")
        assert "monty" in str(raised.value)
