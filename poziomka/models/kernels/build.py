"""Compiles the C++ kernels of native/ for this processor, caches the library and loads it.

Without a C++ compiler, on another processor architecture than the compiler's, or with POZIOMKA_KERNELS=off, the
PyTorch fallback of each kernel does the same work, more slowly.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from poziomka.core.disk_cache import cache_folder

FOLDER = Path(__file__).with_name("native")
FLAGS = (
    "-O3",
    "-march=native",
    "-std=c++20",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-fno-signed-zeros",
    "-fPIC",
)
LIMIT = 300  # timeout of a build in seconds; a build takes about four


@lru_cache(maxsize=1)
def library() -> Path | None:
    """Loads the C++ kernels, after building them if the cache has none; returns the library's path.

    Returns None, for the PyTorch fallbacks, if POZIOMKA_KERNELS is "off", there is no compiler, the system is not
    Linux, or the build fails.

    Warns:
        UserWarning: the build or the loading failed although there is a compiler.
    """
    compiler = compiler_here()
    if os.environ.get("POZIOMKA_KERNELS") == "off" or not compiler or platform.system() != "Linux":
        return None
    try:
        path = built(compiler)
        torch.ops.load_library(str(path))
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        message = (
            f"the C++ kernels could not be built with {shlex.join(compiler)}, sampling and learning go on more slowly "
            f"without: {told[0] if told else type(error).__name__} (POZIOMKA_KERNELS=off says that they are not wanted)"
        )
        warnings.warn(message, stacklevel=2)
        return None
    return path


def compiler_here() -> list[str]:
    """Returns the C++ compiler's command: the variable CXX, else `c++` if it is installed; [] if there is none."""
    found = shutil.which("c++")
    return shlex.split(os.environ.get("CXX", "")) or ([found] if found else [])


def built(compiler: Sequence[str]) -> Path:
    """Returns the path of the kernel library, building it unless the cache has it for this compiler and processor.

    Args:
        compiler: the compiler's command.

    Raises:
        OSError, ValueError, subprocess.SubprocessError: the build failed, or the cache cannot be written.
    """
    path = cache_folder() / "kernels" / f"{_key(compiler)}.so"
    if not path.exists():
        _build(compiler, path)
    return path


def _key(compiler: Sequence[str]) -> str:
    """Returns the cache key of a build: a hash of sources, flags, compiler version, PyTorch version and processor."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout  # noqa: S603 the user's own compiler
    sources = (path.read_text(encoding="utf-8") for path in _sources("*.cpp", "*.h"))
    parts = (*sources, *FLAGS, version, torch.__version__, _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _sources(*kinds: str) -> list[Path]:
    return sorted(path for kind in kinds for path in FOLDER.glob(kind))


def _processor(told: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the line of /proc/cpuinfo with the instruction set flags, or the machine's name if there is none.

    The build cache needs it in its key because machines with different processors may share a cache.
    """
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _build(compiler: Sequence[str], path: Path) -> None:
    """Compiles the kernels to `path`, by way of a temporary file: interrupted or concurrent builds are harmless."""
    root = Path(torch.__file__).parent
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        where = [f"-I{root / 'include'}", f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
        sources = map(str, _sources("*.cpp"))
        command = [*compiler, *FLAGS, "-shared", *sources, "-o", str(made), *where]
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT)  # noqa: S603 as above
        made.rename(path)
