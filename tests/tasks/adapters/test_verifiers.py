"""verifiers' older interface, in an environment of its own: tests/adapters/verifiers_facts.py."""

import pytest

pytestmark = pytest.mark.peers

FACTS = "verifiers"


def test_of_an_environment(told, fact):
    assert told[fact] is None, told[fact]
