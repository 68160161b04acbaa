"""Draws one problem of reasoning-gym from a seed, isolated from the rest of the program.

The package draws item i of a data set with the seed `seed + i`, so data sets of neighbouring seeds share almost all
items. Here each problem is item 0 of a data set with a seed of its own, a hash of the problem's name. While the package
draws, global state is saved and restored: the generators of `random` and numpy, the precision of decimals, stdout,
warnings. Data sets are cached, except those whose constructors use the seed.
"""

import decimal
import io
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from typing import Any

from poziomka.tasks.logic.reasoning.levels import settings_of
from poziomka.tasks.logic.reasoning.upstream_patches import PARTS, bounded, mend
from poziomka.tasks.reasoning_gym_package import library, registry

LARGEST_SEED = 2**32  # limit of numpy's generator
DRAWN_WHEN_MADE = frozenset(("acre", "gsm_symbolic", "list_functions"))  # their constructors use the seed
SHARED = frozenset(("arc_agi", "group_anagrams"))  # large files, read the same way at every step

_FENCE = threading.RLock()  # all threads share the generators of `random` and numpy


def draw(name: str, step: int | None, seed: int) -> dict[str, Any]:
    """Draws one item of a data set of reasoning-gym from a seed, and returns it: question, answer and metadata.

    The global random state and other global state are restored afterwards.

    Args:
        name: name of the data set.
        step: step of its curriculum, from 0; `step=None` uses the data set's default config.
        seed: seed of the item; only its lowest 32 bits are used.

    Raises:
        Exception: any exception of the package: some of its generators raise for some seeds.
    """
    seed %= LARGEST_SEED
    with _fenced(seed), _replaced(name):
        dataset = _made(name, step, seed)
        index = seed % dataset.size
        dataset.seed = dataset.config.seed = seed - index  # the package adds the index to it
        try:
            item: dict[str, Any] = dataset[index]
        except Exception:
            _kept.cache_clear()  # the data set may be in an inconsistent state
            raise
        return item


def _made(name: str, step: int | None, seed: int) -> Any:
    if name in DRAWN_WHEN_MADE:
        kind, _ = registry()[0][name]
        settings = settings_of(name, step)
        settings.seed = seed
        return kind(settings)
    dataset = _kept(name, None if name in SHARED else step)
    dataset.config = settings_of(name, step)
    dataset.size = dataset.config.size
    return dataset


@lru_cache(maxsize=32)
def _kept(name: str, step: int | None) -> Any:
    kind, _ = registry()[0][name]
    dataset = kind(settings_of(name, step))
    mend(name, dataset)
    return dataset


@contextmanager
def _fenced(seed: int) -> Iterator[None]:
    """Seeds the global random generators for the block, and restores all global state that it may change afterwards."""
    numpy = library("numpy")
    whole = numpy.printoptions(threshold=sys.maxsize, linewidth=sys.maxsize)  # otherwise numpy abbreviates large boards
    with _FENCE, warnings.catch_warnings(), redirect_stdout(io.StringIO()), decimal.localcontext(), whole:
        warnings.simplefilter("ignore")
        before, before_numpy = random.getstate(), numpy.random.get_state()
        random.seed(seed)
        numpy.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            numpy.random.set_state(before_numpy)


@contextmanager
def _replaced(name: str) -> Iterator[None]:
    """Replaces the parts of the data set's module that are slow or wrong (`upstream_patches`), within the block."""
    module = sys.modules[registry()[0][name][0].__module__]
    parts = {**bounded(module), **(PARTS[name]() if name in PARTS else {})}
    before = {part: getattr(module, part) for part in parts}
    try:
        for part, ours in parts.items():
            setattr(module, part, ours)
        yield
    finally:
        for part, theirs in before.items():
            setattr(module, part, theirs)
