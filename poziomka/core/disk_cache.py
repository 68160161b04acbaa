"""Where what was worked out once is kept for the next start."""

import os
from pathlib import Path

from poziomka.core.errors import ModelError
from poziomka.core.safety.untrusted import expanded


def cache_folder() -> Path:
    """Returns the folder: `~/.cache/poziomka`, or what POZIOMKA_CACHE names."""
    chosen = os.environ.get("POZIOMKA_CACHE")
    return Path(chosen) if chosen else expanded("~", ModelError) / ".cache" / "poziomka"
