"""Limits are positive, and a program that the machine gave no processor is not called slow."""

import pytest

from poziomka.core.errors import EnvironmentFailure, SettingsError
from poziomka.environments.sandbox.limits import Ended, Limits, busy


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"memory": -1}, {"file": -1}])
def test_limits_are_positive(wrong):
    with pytest.raises(SettingsError):
        Limits(**wrong)


def test_a_program_that_the_machine_gave_no_time_is_not_called_slow():
    busy(Ended(used=2.9, waited=0.1), 3.0)
    busy(Ended(used=0.4, waited=2.6), 3.0)
    busy(Ended(used=0.0, waited=0.0), 3.0)
    with pytest.raises(EnvironmentFailure, match="too busy to judge a program"):
        busy(Ended(used=0.2, waited=2.8), 3.0)
