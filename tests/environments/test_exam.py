"""Exam call a program that never meets them: what it does is its answer, and our own failures are told apart."""

import pytest

from poziomka.core.errors import EnvironmentFailure
from poziomka.environments.sandbox.landlock_runner import Sandlocked
from poziomka.environments.sandbox.limits import Limits
from poziomka.environments.sandbox.sandlock_interpreter import reason
from poziomka.environments.sandbox.test_runner import Exam, Examiner

pytestmark = [pytest.mark.skipif(bool(reason()), reason=f"sandlock cannot be had: {reason()}"), pytest.mark.sandbox]
RIGHT = "def f(x):\n    return x + 1\n"
FORGED = """
import os
def f(x):
    for number in range(3, 30):
        try: os.write(number, {data!r})
        except OSError: pass
    return x + 1
"""
CHECKS = ("assert f(1) == 2", "assert candidate(5) == 6")


@pytest.fixture(scope="module")
def place():
    place = Sandlocked(Limits(seconds=20.0))
    yield place
    place.close()


@pytest.fixture(scope="module")
def examiner(place):
    return Examiner(place)


@pytest.fixture(scope="module")
def quick():
    place = Sandlocked(Limits(seconds=1.0))
    yield Examiner(place)
    place.close()


def why(examiner, source, *checks, **more):
    outcome = examiner.outcome(source, Exam(("f",), checks or CHECKS, **more))
    assert outcome.passed == (outcome.why == "")
    return outcome.why


def test_a_right_program_passes_and_its_calls_are_counted(examiner):
    outcome = examiner.outcome(RIGHT, Exam(("f",), CHECKS))
    assert (outcome.passed, outcome.read, outcome.calls) == (True, True, 2)


def test_a_wrong_one_fails_and_the_line_is_told(examiner):
    source = "def f(x):\n    return 2 * x"
    assert why(examiner, source) == "AssertionError at 'assert candidate(5) == 6'"
    assert why(examiner, source, "def check(g):\n    assert g(1) == 2\n    assert g(2) == 3\ncheck(f)").endswith(
        "'assert g(2) == 3'"
    )


def test_values_arrive_as_they_are(examiner):
    source = "def f(*a, **b):\n    return [*a, b]"
    values = "[None, True, 1.5, -(2**70), 'é', b'x', (1,), {2, 'a'}, {3: [4]}, 1j, int]"
    check = "assert f(*VALUES, key=5) == [*VALUES, {'key': 5}]"
    assert why(examiner, source, check, setup=f"VALUES = {values}") == ""
    assert why(examiner, "def f():\n    return float('nan')", "assert math.isnan(f())", setup="import math") == ""


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import os\nos._exit(0)", "the program ended by itself"),
        ("def f(x):\n    import os\n    os._exit(0)", "the program ended by itself"),
        ("import os\nos.closerange(0, 99)", "the program ended by itself"),
        ("raise SystemExit", "the program raised SystemExit"),
        ("1 / 0", "the program raised ZeroDivisionError: division by zero"),
        ("def g(x):\n    pass", "the program does not define f"),
        ("f = 3", "the program does not define f"),
        ("def f(x):\n    yield 2", "the program returned what cannot pass: generator is not plain data"),
        ("def f(x):\n    return 'x' * 10 ** 7", "the program returned what cannot pass: larger than 1000000 bytes"),
        (FORGED.format(data=b"\xff" * 9), "the program answered what cannot pass: larger than 1000000 bytes"),
        (FORGED.format(data=b"\0\0\0\1?"), "the program answered what cannot pass: no value begins with b'?'"),
        (FORGED.format(data=b"\0\0\0\1T"), "the program answered what was not asked"),
        (
            "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
            "the program raised PermissionError: [Errno 1] Operation not permitted",
        ),
        (
            "class E(int):\n    __eq__ = lambda a, b: True\ndef f(x): return E(0)",
            "AssertionError at 'assert f(1) == 2'",
        ),
        ("def f(x):\n    return g(x)", "NameError: NameError: name 'g' is not defined at 'assert f(1) == 2'"),
    ],
)
def test_what_a_program_does_instead_is_its_own_fault(examiner, source, fault):
    assert why(examiner, source) == fault
    assert why(examiner, RIGHT) == ""


def test_a_program_that_hangs_is_slow_and_wrong_where_it_hangs(quick):
    for source in ("while True: pass", "def f(x):\n    while True: pass", "def f(x):\n    import time; time.sleep(60)"):
        assert why(quick, source) == "the program ran longer than 1 s"


def test_tests_that_what_it_returned_makes_slow_end_too(quick):
    loop = "while f(1):\n    pass"
    swallow = "while True:\n    try:\n        while f(1): pass\n    except BaseException:\n        pass"
    assert "longer than 1 s" in why(quick, RIGHT, loop)
    assert "longer than 1 s" in why(quick, RIGHT, swallow)


def test_tests_in_one_long_call_on_what_was_returned_end_too_and_the_program_is_wrong(quick):
    assert "longer than 1 s" in why(quick, "def f(x):\n    return 10 ** 7", "math.factorial(f(1))", setup="import math")


def test_a_test_cannot_take_a_fault_for_an_answer(examiner):
    check = "try:\n    f(1)\nexcept BaseException:\n    pass"
    assert why(examiner, "def f(x):\n    import os\n    os._exit(0)", check) == "the program ended by itself"


def test_a_test_can_expect_an_exception_and_gets_no_other_than_an_exception(examiner):
    check = "try:\n    f(1)\nexcept ValueError as error:\n    assert 'no' in str(error)\nelse:\n    assert False"
    assert why(examiner, "def f(x):\n    raise ValueError('no')", check) == ""
    assert "KeyError" in why(examiner, "def f(x):\n    raise KeyError('no')", check)
    assert "SystemExit" in why(examiner, "def f(x):\n    raise SystemExit(0)")
    own = "class ValueError(Exception):\n    def __str__(self):\n        raise self\ndef f(x):\n    raise ValueError"
    assert why(examiner, own, "f(1)") == "ValueError: ValueError at 'f(1)'"


@pytest.mark.fault("E5")
@pytest.mark.parametrize(
    "check",
    [
        "assert all(map(f, [1, 2, 3]))",
        "assert list(filter(f, [1, 2])) == []",
        "for _ in map(f, [1]): assert False",
        "assert [*zip([1], map(f, [1]))] == []",
        "assert next(map(f, [1]), True)",
        "assert list(iter(lambda: f(1), 7)) == []",
    ],
)
@pytest.mark.parametrize(
    "kind", ["StopIteration", "StopAsyncIteration", "SystemExit", "KeyboardInterrupt", "GeneratorExit"]
)
def test_an_exception_that_directs_control_never_ends_a_loop_of_the_tests(examiner, check, kind):
    outcome = examiner.outcome(f"def f(x):\n    raise {kind}", Exam(("f",), (check,)))
    assert not outcome.passed
    assert outcome.calls == 1


@pytest.mark.fault("E5")
@pytest.mark.parametrize("kind", ["UnicodeDecodeError", "ExceptionGroup"])
def test_an_exception_that_words_alone_cannot_make_is_no_other_error(examiner, kind):
    made = {"UnicodeDecodeError": "'utf-8', b'x', 0, 1, 'no'", "ExceptionGroup": "'no', [ValueError()]"}[kind]
    check = "try:\n    f(1)\nexcept TypeError:\n    pass"
    assert why(examiner, f"def f(x):\n    raise {kind}({made})", check) != ""


def test_what_a_prompt_shows_runs_on_both_sides_and_its_stub_does_not_count(examiner):
    given = "import math\ndef double(x):\n    return 2 * x\ndef f(x):\n    '''Stub.'''\n"
    check = "assert f(double(3)) == math.floor(7.5)"
    assert why(examiner, "def f(x):\n    return double(x) // 2 + math.floor(1.9)", check, given=given) == ""
    assert why(examiner, "double = None", check, given=given) == "the program does not define f"
    assert why(examiner, "def double(x):\n    return 3\ndef f(x):\n    return 7", check, given=given) == ""


def test_words_are_not_read_as_python(examiner):
    for source in ("The answer is 7.", "def f(:", "x\0"):
        outcome = examiner.outcome(source, Exam(("f",), CHECKS))
        assert (outcome.passed, outcome.read) == (False, False)


@pytest.mark.parametrize(
    ("checks", "more", "broken"),
    [
        (("assert f(1) ==",), {}, "SyntaxError"),
        (("pass",), {}, "the tests do not call the program"),
        (("assert f(lambda: 1)",), {}, "a test calls with what cannot pass: function is not plain data"),
        (CHECKS, {"setup": "import nowhere"}, "ModuleNotFoundError"),
        (("import os; os._exit(0)",), {}, "the tests ended without a verdict"),
    ],
)
def test_tests_that_do_not_run_are_our_failure(examiner, checks, more, broken):
    with pytest.raises(EnvironmentFailure, match=broken):
        why(examiner, RIGHT, *checks, **more)


def test_tests_of_what_was_returned_may_not_break_them(examiner):
    grow = "value = f(1)\nfor _ in range(80):\n    value = [value]\nf(value)"
    assert why(examiner, RIGHT, grow).startswith("TooLargeError")


def test_a_program_that_answers_differently_the_second_time_is_found_out_by_asking_twice(place):
    twice = Examiner(place, twice=True)
    changing = "calls = []\ndef f(x):\n    calls.append(x)\n    return x + 1 if len(calls) != 3 else 0"
    assert why(Examiner(place), changing) == ""
    assert why(twice, changing) == "the program answers f differently the second time"
    assert why(twice, RIGHT) == ""
    assert why(twice, "def f(x):\n    return {'a', 'b', float('inf')}", "assert len(f(1)) == 3") == ""
