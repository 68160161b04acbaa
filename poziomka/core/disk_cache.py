"""Path of the on-disk cache."""

import os
from pathlib import Path

from poziomka.core.errors import ModelError
from poziomka.core.safety.untrusted import expanded


def cache_folder() -> Path:
    """Returns the cache folder: the value of the environment variable POZIOMKA_CACHE, or `~/.cache/poziomka`."""
    chosen = os.environ.get("POZIOMKA_CACHE")
    return Path(chosen) if chosen else expanded("~", ModelError) / ".cache" / "poziomka"
