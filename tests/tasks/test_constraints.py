"""Our evaluation of constraints, our search and z3 say the same of random constraints."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poziomka.core.errors import TaskError
from poziomka.tasks.logic import constraints
from poziomka.tasks.logic.constraints import Solver, check_of, holds, models, say, say_assignment

DOMAINS = {"x": range(4), "y": range(4), "p": (False, True)}
TERM = st.one_of(
    st.tuples(st.integers(-3, 3), st.sampled_from("xy")).map(list),
    st.tuples(st.integers(-2, 2), st.just("x"), st.just("y")).map(list),
)
ATOM = st.tuples(
    st.sampled_from(sorted(constraints.RELATIONS)), st.lists(TERM, min_size=1, max_size=3), st.integers(-6, 9)
).map(list)
CONSTRAINT = st.recursive(
    st.one_of(st.just("p"), ATOM),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner).map(list),
        st.tuples(st.sampled_from(["or", "if", "iff"]), inner, inner).map(list),
    ),
    max_leaves=4,
)


def every():
    return [dict(zip(DOMAINS, values, strict=True)) for values in product(*DOMAINS.values())]


@settings(max_examples=60, deadline=None)
@given(st.lists(CONSTRAINT, min_size=1, max_size=4))
def test_the_search_finds_what_trying_everything_finds(chosen):
    found = sorted(models(chosen, DOMAINS), key=say_assignment)
    assert found == sorted((one for one in every() if all(holds(c, one) for c in chosen)), key=say_assignment)


@settings(max_examples=60, deadline=None)
@given(CONSTRAINT)
def test_the_faster_check_says_what_evaluation_says(constraint):
    check = check_of(constraint)
    assert all(bool(check(one)) == holds(constraint, one) for one in every())


@settings(max_examples=40, deadline=None)
@given(st.lists(CONSTRAINT, min_size=1, max_size=3), st.sampled_from(every()))
def test_z3_agrees_with_our_evaluation_and_with_our_search(chosen, assignment):
    solver = Solver(["x", "y"], (0, 3))
    assert solver.satisfiable(chosen) == (next(models(chosen, DOMAINS), None) is not None)
    assert solver.satisfiable(chosen, assignment) == all(holds(one, assignment) for one in chosen)


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        ("p", "p"),
        (["not", "p"], "not p"),
        (["<=", [[2, "x"], [-1, "y"]], 7], "2*x - y <= 7"),
        (["!=", [[-1, "x", "y"]], -3], "-x*y != -3"),
        (["if", "p", [">", [[1, "x"]], 3]], "if p then x > 3"),
        (["iff", ["not", "p"], "q"], "not p exactly if q"),
    ],
)
def test_constraints_are_said_plainly(constraint, text):
    assert say(constraint) == text


def test_a_solver_that_does_not_know_is_an_error(monkeypatch):
    monkeypatch.setattr(constraints, "EFFORT", 1)
    cubes = [["=", [[1, "x", "x", "x"], [1, "y", "y", "y"], [1, "z", "z", "z"]], 42], [">", [[1, "x"]], 10**4]]
    with pytest.raises(TaskError, match="does not know"):
        Solver(["x", "y", "z"], None).satisfiable(cubes)


def test_without_z3_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "z3", None)
    with pytest.raises(TaskError, match="z3-solver"):
        Solver(["x"], None)
