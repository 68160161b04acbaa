"""verifiers' present interface, in an environment of its own: tests/adapters/taskset_facts.py."""

import pytest

pytestmark = pytest.mark.peers

FACTS = "taskset"


def test_of_a_taskset(told, fact):
    assert told[fact] is None, told[fact]
