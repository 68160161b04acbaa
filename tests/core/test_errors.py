"""Every error is a PoziomkaError, and a message helps."""

import pytest

from poziomka.core import errors
from poziomka.core.errors import PoziomkaError, nearest

KINDS = {
    "SettingsError": ValueError,
    "TaskError": ValueError,
    "EnvironmentFailure": RuntimeError,
    "SamplerError": RuntimeError,
    "ModelError": ValueError,
    "LearningError": RuntimeError,
    "RunError": RuntimeError,
    "CheckpointError": errors.RunError,
    "TranscriptError": errors.SamplerError,
    "ProblemError": errors.TaskError,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_error_is_ours_and_pythons(name):
    assert issubclass(getattr(errors, name), PoziomkaError)
    assert issubclass(getattr(errors, name), KINDS[name])


def test_no_error_is_left_out_of_the_table():
    ours = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PoziomkaError)}
    assert ours == {*KINDS, "PoziomkaError"}


def test_a_close_name_is_suggested():
    assert nearest("learing_rate", ["learning_rate", "steps"]) == "; did you mean 'learning_rate'?"


def test_without_a_close_name_all_are_listed():
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"


def test_with_nothing_known_nothing_is_said():
    assert nearest("zzz", []) == ""
