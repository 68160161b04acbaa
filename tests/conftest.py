"""What holds for every test: names and results do not depend on time or speed, and a test that hangs fails.

Tests compare no elapsed times (tests/test_timing.py): what must end has this limit, which only a hang reaches.
"""

import signal

import pytest
from hypothesis import HealthCheck, settings

HANG = 1800  # seconds; a soak test takes as long as it takes

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_make_parametrize_id(val):
    """Names long bytes by their length: packed bytes carry the time, so that workers would name them differently."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 40 else None


def _fail(number, frame):
    pytest.fail(f"the test hangs: it has not ended within {HANG} s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if item.get_closest_marker("soak"):
        return (yield)
    before = signal.signal(signal.SIGALRM, _fail)
    signal.setitimer(signal.ITIMER_REAL, HANG)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
