"""Prints the sizes of the package: `python tests/counts.py`.

Lines, functions, folders, import circles, public names, and dialect words per 1,000 of docstrings and comments. The
tests of this folder hold the limits.
"""

import sys
from collections import Counter
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).resolve().parent))  # beside the tests, which are no package

import language
import test_layers as layers
import test_sizes as sizes

import poziomka

PACKAGE = layers.PACKAGE


def lengths() -> list[int]:
    """Returns the lines of every function of the package."""
    found = (node for path in sizes.sources("poziomka") for node, _ in sizes.functions(path))
    return [node.end_lineno - node.lineno + 1 for node in found if node.end_lineno is not None]


def folders() -> Counter[str]:
    """Returns the number of Python files of every folder."""
    return Counter(path.parent.relative_to(PACKAGE.parent).as_posix() for path in layers.python_files(PACKAGE))


def main() -> None:
    """Prints one line for each count."""
    code, tests = (
        sum(len(path.read_text("utf-8").splitlines()) for path in sizes.sources(name)) for name in ("poziomka", "tests")
    )
    lines = sorted(lengths())
    ((fullest, files),) = folders().most_common(1)
    words = language.together(list(language.counts(PACKAGE).values()))
    print(f"lines of Python: {code} in the package, {tests} of tests")
    middle, high = median(lines), quantiles(lines, n=10)[-1]
    print(f"functions: {len(lines)}, median {middle:.0f} lines, 90th percentile {high:.0f}, longest {lines[-1]}")
    print(f"fullest folder: {fullest}, {files} Python files")
    print(f"modules in a circle of imports: {', '.join(layers.cycle(PACKAGE)) or 'none'}")
    print(f"public names: {len(poziomka.__all__)}")
    print(f"dialect: {1000 * sum(words.dialect.values()) / words.words:.1f} words per 1,000 of {words.words}")


if __name__ == "__main__":
    main()
