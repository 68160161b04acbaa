"""Whether tests pass a program anything but plain data is seen in their code, and in the code before them."""

import pytest

from poziomka.tasks.code.coding_tests import passes_code

pytestmark = pytest.mark.fault("E17")


@pytest.mark.parametrize(
    ("setup", "test"),
    [
        ("def g(x):\n    return x", "assert f(g) == 1"),
        ("g = lambda x: x", "assert f(g) == 1"),
        ("g: object = lambda x: x", "assert f([1, g]) == 1"),
        ("g, h = lambda x: x, 2", "assert f(g) == 1"),
        ("g = h = abs", "assert f(key=h) == 1"),
        ("", "hs = [lambda: 1]\nassert f(*hs) == 1"),
        ("", "for g in (abs, len):\n    assert f(g)"),
        ("", "assert all(f(g) for g in [abs])"),
        ("", "if (g := lambda: 1):\n    f(g)"),
        ("", "h = f\nassert h(abs)"),
        ("", "assert f(f) == 1"),
        ("", "assert f({'a': abs})"),
        ("x = 1", "assert f(x if x else abs)"),
        ("from operator import add as plus", "assert f(plus)"),
        ("import operator", "assert f(operator.add)"),
        ("from functools import partial", "assert f(partial(max, 1))"),
        ("import operator", "assert f(operator.itemgetter(0))"),
        ("class P:\n    pass", "assert f(P)"),
        ("class P:\n    pass\np = P()", "assert f(p)"),
        ("", "assert f(str.lower)"),
        ("", "assert f(range(3))"),
        ("def check(x):\n    return f(lambda: x)", "assert check(3)"),
    ],
)
def test_code_is_seen_however_it_is_named(setup, test):
    assert passes_code([test], "f", setup)


@pytest.mark.parametrize(
    ("setup", "test"),
    [
        ("def g(x):\n    return x", "assert f(g(1)) == 1"),
        ("import math", "assert f(math.pi, math.floor(1.5))"),
        ("xs = [1]", "assert f(*xs)"),
        ("", "assert f(int, max([1]), [*range(3)], 'a'.upper())"),
        ("id, sum = 3, [1]", "assert f(id, sum)"),
        ("", "def g(max):\n    return f(max)\nassert g(1)"),
        ("", "assert sorted([f(1)], key=lambda x: x)"),
        ("class P:\n    pass", "assert isinstance(f(1), P)"),
    ],
)
def test_plain_data_is_no_code_whatever_its_name(setup, test):
    assert not passes_code([test], "f", setup)
