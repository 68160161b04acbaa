"""How long a person waits before anything happens: importing the package, and `poziomka --help`.

    .venv/bin/python benchmarks/startup.py

Whole processes, median and range of ten runs each, the interpreter's own start included and printed beside.
"""

import json
import subprocess
import sys
import time
from statistics import median

COMMANDS = {
    "python, nothing imported": ["-c", "pass"],
    "import poziomka": ["-c", "import poziomka, sys; assert 'torch' not in sys.modules"],
    "poziomka --help": ["-m", "poziomka", "--help"],
}


def seconds(arguments: list[str], runs: int = 10) -> list[float]:
    """Returns the wall-clock time of `runs` processes, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return times[1:]


def main() -> None:
    """Prints a line of JSON for each command."""
    for name, arguments in COMMANDS.items():
        times = seconds(arguments)
        print(json.dumps({"what": name, "median": median(times), "least": min(times), "most": max(times)}))


if __name__ == "__main__":
    main()
