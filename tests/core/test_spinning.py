"""OpenMP's threads wait for a bounded time, in the command line and in a program that imports the package."""

import os
import subprocess
import sys

import pytest

READ = ("OMP_WAIT_POLICY", "KMP_LIBRARY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="PyTorch's wheels hold libgomp on Linux only")


def shown(code: str, **environment: str) -> str:
    """What OpenMP's runtime itself says of its settings, once torch has loaded it in a fresh process."""
    own = {name: value for name, value in os.environ.items() if name not in READ}
    command = [sys.executable, "-c", code]
    told = own | environment | {"OMP_DISPLAY_ENV": "verbose"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=told).stderr


@LINUX
@pytest.mark.fault("A14")
@pytest.mark.parametrize("code", ["import poziomka, torch", "import poziomka.app.cli.main, torch"])
def test_a_fresh_process_waits_for_a_bounded_time(code):
    assert "GOMP_SPINCOUNT = '2000'" in shown(code)


@LINUX
@pytest.mark.parametrize(
    ("environment", "count"),
    [({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0"), ({"OMP_WAIT_POLICY": "active"}, "3")],
)
def test_the_users_environment_decides(environment, count):
    assert f"GOMP_SPINCOUNT = '{count}" in shown("import poziomka, torch", **environment)


def test_both_kinds_of_runtime_are_bounded():
    from poziomka.openmp import BOUNDS, bound_spinning

    environment = {"PATH": "/bin"}
    bound_spinning(environment)
    assert environment == {"PATH": "/bin", **BOUNDS}


@pytest.mark.parametrize("name", READ)
def test_a_choice_for_one_runtime_is_a_choice_for_all(name):
    from poziomka.openmp import bound_spinning

    environment = {name: "1"}
    bound_spinning(environment)
    assert environment == {name: "1"}
