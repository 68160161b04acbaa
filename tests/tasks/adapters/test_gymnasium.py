"""Gymnasium, in an environment of its own: tests/adapters/gymnasium_facts.py."""

import pytest

pytestmark = pytest.mark.peers

FACTS = "gymnasium"


def test_of_an_episode(told, fact):
    assert told[fact] is None, told[fact]
