"""The room as a whole."""

import subprocess
import sys

import pytest

from poziomka import testing


def test_importing_the_room_imports_no_torch():
    program = "import sys, poziomka.testing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_public_name_is_there():
    assert all(callable(getattr(testing, name)) for name in testing.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'poziomka\.testing' has no attribute 'check_everything'"):
        _ = testing.check_everything
