"""Provenance of a run: versions, commit, machine and time."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any


def provenance() -> dict[str, Any]:
    """Returns the versions of Poziomka, Python and torch, the git commit, the machine and the current time, by name.

    Values that are not available are None.
    """
    return {
        "poziomka": _version("poziomka"),
        "commit": _commit(Path(__file__).parent),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": _cores(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)  # from the package metadata, without importing torch
    except metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """Returns the commit of the git checkout that tracks this file; None if there is no such checkout.

    "-dirty" follows the commit if files of the checkout were changed.
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 fixed
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may be inside the checkout of another project, which then does not track this file.
    tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if tracked else None


def _processor(told: Path = Path("/proc/cpuinfo")) -> str | None:
    try:
        lines = told.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _cores() -> int | None:
    """Returns the number of CPU cores that this process may use, which can be less than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
