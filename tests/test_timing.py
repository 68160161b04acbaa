"""No test depends on the speed of the machine: none asserts how long something took, or gives it too little time."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
CLOCKS = frozenset(("perf_counter", "monotonic", "process_time", "thread_time", "time", "perf_counter_ns", "time_ns"))
SHORTEST = 600  # seconds that a wait may be bounded by
WAITS = frozenset(("run", "communicate", "wait", "check_output", "check_call"))  # of subprocesses
ORDER = ast.Lt | ast.LtE | ast.Gt | ast.GtE


def reads_clock(node, timed=frozenset()):
    """Whether an expression reads a clock, or a name that was made of one."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in CLOCKS:
            module = part.func.value
            if isinstance(module, ast.Name) and module.id == "time":
                return True
        if isinstance(part, ast.Name) and part.id in timed:
            return True
    return False


def is_upper_bound_of_seconds(compare):
    """Whether a comparison says that what took some seconds took less than a number."""
    sides = [compare.left, *compare.comparators]
    for op, left, right in zip(compare.ops, sides, sides[1:], strict=False):
        took, bound = (left, right) if isinstance(op, ast.Lt | ast.LtE) else (right, left)
        if isinstance(op, ORDER) and isinstance(took, ast.Attribute) and took.attr.endswith("seconds"):
            return isinstance(bound, ast.Constant) and bound.value != 0
    return False


def made_of_clocks(function):
    """Returns the names in a function whose values were made of a clock's."""
    timed = set()
    for _ in range(2):  # a name may be made of one that is assigned further down, in a loop
        for node in ast.walk(function):
            if isinstance(node, ast.Assign | ast.NamedExpr | ast.AugAssign) and reads_clock(node.value, timed):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = (name for target in targets for name in ast.walk(target))
                timed |= {name.id for name in names if isinstance(name, ast.Name)}
    return timed


def bounds_of_wait(call):
    """Returns the constants that bound how long a call waits, by keyword or in first place."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in WAITS:
        return []
    given = [keyword.value for keyword in call.keywords if keyword.arg == "timeout"]
    given += call.args[:1] if call.func.attr == "wait" else []
    return [node.value for node in given if isinstance(node, ast.Constant)]


def offences(source):
    """Returns the lines of a test file that depend on the speed of the machine, each with what is wrong."""
    found, tree = set(), ast.parse(source)
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        timed = made_of_clocks(function)
        for check in (node for node in ast.walk(function) if isinstance(node, ast.Assert)):
            for compare in (node for node in ast.walk(check.test) if isinstance(node, ast.Compare)):
                if reads_clock(compare, timed) and any(isinstance(op, ORDER) for op in compare.ops):
                    found.add((compare.lineno, "an assertion compares elapsed time"))
                elif is_upper_bound_of_seconds(compare):
                    found.add((compare.lineno, "an assertion bounds the seconds that something took"))
    in_vain = {id(node.operand) for node in ast.walk(tree) if isinstance(node, ast.UnaryOp)}  # `assert not ….wait(1)`
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in in_vain):
        if any(isinstance(bound, int | float) and bound < SHORTEST for bound in bounds_of_wait(call)):
            found.add((call.lineno, f"a process is given less than {SHORTEST} s"))
    return sorted(found)


@pytest.mark.fault("A15")
def test_no_test_depends_on_the_speed_of_the_machine():
    found = {
        f"{path.relative_to(TESTS).as_posix()}:{line}": what
        for path in sorted([*TESTS.rglob("test_*.py"), *TESTS.rglob("conftest.py")])
        for line, what in offences(path.read_text(encoding="utf-8"))
    }
    assert found == {}


PLANTED = {
    "assert time.perf_counter() - began < 5": "an assertion compares elapsed time",
    "took = time.monotonic() - began\n    assert took < 5": "an assertion compares elapsed time",
    "assert 0.2 < (time.process_time() - began)": "an assertion compares elapsed time",
    "assert output.seconds < 1": "an assertion bounds the seconds that something took",
    "assert 1 > score.check_seconds": "an assertion bounds the seconds that something took",
    "subprocess.run(['x'], timeout=300)": "a process is given less than 600 s",
    "process.communicate(timeout=5)": "a process is given less than 600 s",
    "assert process.wait(60) == 0": "a process is given less than 600 s",
}


@pytest.mark.parametrize("line", PLANTED)
def test_a_planted_dependence_is_found(line):
    ((_, what),) = offences(f"def test():\n    began = time.monotonic()\n    {line}\n")
    assert what == PLANTED[line]


def test_what_is_no_dependence_is_let_be():
    harmless = "assert 0 < found.check_seconds < found.seconds\n    assert spent >= 0.2\n    time.sleep(0.1)"
    harmless += "\n    assert not rang.wait(0.6)\n    process.wait(600)"
    assert offences(f"def test():\n    {harmless}\n    subprocess.run(['x'], timeout=600)\n") == []
