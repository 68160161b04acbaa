"""Analysis of test code: which functions it calls, and whether it passes them anything but plain data."""

import ast
import builtins
import cmath
import functools
import itertools
import math
import operator
import statistics
import symtable
import sys
from collections.abc import Collection, Iterator, Sequence

from poziomka.core.errors import TaskError
from poziomka.environments.sandbox.worker.wire_format import TYPES

MODULES = {each.__name__: each for each in (cmath, functools, itertools, math, operator, statistics)}  # of functions
MAKERS = frozenset(("partial", "itemgetter", "attrgetter", "methodcaller"))  # what they return is a function
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # of Python's parser; the last two: too deep
LAZY = frozenset(("range", "map", "filter", "zip", "enumerate", "reversed", "iter"))  # what they return is no list


def python_of(code: str, what: str) -> ast.Module:
    """Parses Python code into a syntax tree.

    Args:
        code: the code.
        what: name of the code in the error message.

    Raises:
        TaskError: the code is not valid Python.
    """
    try:
        return ast.parse(code)
    except UNREADABLE as error:
        message = f"{what} is no Python: {str(error) or 'it is nested too deeply'}"
        raise TaskError(message) from error


def functions_of(code: str, setup: str, tests: Sequence[str], where: str) -> tuple[list[str], int]:
    """Returns the names that a program must define to pass the tests, and the number of arguments of the first.

    The first name is that of the function that the first test calls; the others follow in alphabetical order. These are
    names that the tests use and do not define and Python does not provide, and functions of the solution that the tests
    use, even if Python has one of that name.

    Args:
        code: the data set's solution.
        setup: code that runs before the tests.
        tests: code of each test.
        where: location of the problem, for error messages.

    Raises:
        TaskError: some code is not valid Python, or the first test calls no function of the program.
    """
    trees = [python_of(code, f"a test of {where}") for code in (setup, *tests)]
    tables = [_names(code, f"a test of {where}") for code in (setup, *tests)]
    used, bound = (set[str]().union(*names) for names in zip(*tables, strict=True))
    known = {*dir(builtins), *sys.stdlib_module_names, *bound}
    solved = {node.name for node in python_of(code, f"the code of {where}").body if isinstance(node, ast.FunctionDef)}
    needed = (used - known) | (used & solved)
    for node in ast.walk(trees[1]) if tests else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in needed:
            first = node.func.id
            return [first, *sorted(needed - {first})], len(node.args) + len(node.keywords)
    message = f"the first test of {where} must call a function that the program defines: received {tests[:1]}"
    raise TaskError(message)


def _names(code: str, what: str) -> tuple[set[str], set[str]]:
    """Returns the global names that code uses, and those that it binds at module level.

    Args:
        code: Python code.
        what: name of the code in the error message.

    Raises:
        TaskError: the code is not valid Python.
    """
    try:
        top = symtable.symtable(code, what, "exec")
    except UNREADABLE as error:
        message = f"{what} is no Python: {str(error) or 'it is nested too deeply'}"
        raise TaskError(message) from error
    used = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    waiting = top.get_children()
    while waiting:
        inner = waiting.pop()
        used |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global() and symbol.is_referenced()}
        waiting += inner.get_children()
    return used, bound


def passes_code(tests: Sequence[str], name: str, setup: str = "") -> bool:
    """Whether tests call the program's function with a function, a class or an iterator, which are not plain data.

    Args:
        tests: code of each test.
        name: name of the program's function.
        setup: code that runs before the tests.
    """
    nodes = [node for text in (setup, *tests) for node in ast.walk(ast.parse(text))]
    code = _names_of_code(nodes) | {name}
    called = {name} | {each for each, value in _bindings(nodes) if isinstance(value, ast.Name) and value.id == name}
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in called]
    given = [value for call in calls for value in (*call.args, *(pair.value for pair in call.keywords))]
    return any(_is_code(value, code) or _is_lazy(value) for value in given)


def _is_lazy(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LAZY


def _bindings(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, ast.expr | None]]:
    """Yields the names that code binds, each with the expression it is bound to; None for a parameter of a function."""
    for node in nodes:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        match node:
            case ast.Assign():
                targets, value = node.targets, node.value
            case ast.AnnAssign() | ast.NamedExpr():
                targets, value = [node.target], node.value
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                targets, value = [node.target], node.iter
            case ast.arg():
                yield node.arg, None
        for target in targets:
            yield from _bound(target, value)


def _bound(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.List | ast.Tuple):
        members = value.elts if isinstance(value, ast.List | ast.Tuple) else []
        matched = len(members) == len(target.elts)
        for place, each in enumerate(target.elts):
            yield from _bound(each, members[place] if matched else value)


def _names_of_code(nodes: Sequence[ast.AST]) -> set[str]:
    """Returns the names that refer to functions and classes, which are not plain data.

    These are names that are defined, imported, built in or bound to such a value.

    For each class that the tests define, "NAME()" is included too, because its instances are not plain data.
    """
    bindings = list(_bindings(nodes))
    builtin = {name for name, held in vars(builtins).items() if callable(held) and held not in TYPES.values()}
    names = builtin - {name for name, _ in bindings}
    names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    names |= {f"{node.name}()" for node in nodes if isinstance(node, ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            held = {alias.asname or alias.name: getattr(MODULES[node.module], alias.name, None) for alias in node.names}
            names |= {name for name, value in held.items() if callable(value)}
    while found := {name for name, value in bindings if value is not None and _is_code(value, names)} - names:
        names |= found
    return names


def _is_code(node: ast.AST, names: Collection[str]) -> bool:
    """Whether an expression evaluates to a function, an instance of a class of the tests, or a list of these.

    Args:
        node: the expression.
        names: names that do not refer to plain data, from `_names_of_code`.
    """
    match node:
        case ast.Lambda():
            return True
        case ast.Name():
            return node.id in names
        case ast.Attribute(value=ast.Name(id=owner)) if owner in MODULES or owner in TYPES:
            held = getattr(MODULES.get(owner, TYPES.get(owner)), node.attr, None)
            return callable(held) and held not in TYPES.values()
        case ast.Call(func=ast.Name(id=called)):
            return called in MAKERS or f"{called}()" in names
        case ast.Call(func=ast.Attribute(attr=called)):
            return called in MAKERS
        case ast.IfExp():
            return _is_code(node.body, names) or _is_code(node.orelse, names)
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.Starred():
            return any(_is_code(part, names) for part in ast.iter_child_nodes(node))
    return False
