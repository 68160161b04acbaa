"""Where a finished run's warm start spent its time, and how much of the machine it reached, as a line of JSON a run.

    .venv/bin/python benchmarks/shares.py runs/demo

The peak is the best of some square fp32 products of 2048, measured in this process just before.
"""

import argparse
import json
from pathlib import Path

from our_step import matmul_peak

from poziomka.runs import Run


def shares(folder: Path, peak: float) -> dict[str, object]:
    """Returns the figures of one run."""
    lines = Run.read(folder).metrics()
    warm = [line for line in lines if line["stage"] == "warm_start"]
    learned = [line for line in lines if line.get("perf/packing_efficiency")]
    data = sum(line["time/data_seconds"] for line in warm)
    learning = sum(line["time/learning_seconds"] for line in warm)
    real = sum(line["tokens/trained"] for line in learned)
    computed = sum(line["tokens/trained"] / line["perf/packing_efficiency"] for line in learned)
    return {
        "run": str(folder),
        "data_share_of_warm_start": data / (data + learning),
        "trained_tokens_per_second": sum(line["tokens/trained"] for line in warm) / learning,
        "share_of_matmul_peak": warm[-1]["compute/finetune_flops"] / learning / peak,
        "matmul_peak_gflops": peak / 1e9,
        "real_share_of_computed_places": real / computed,
        "largest_mismatch_kl": max(line.get("policy/mismatch_kl", 0.0) for line in lines),
    }


def main() -> None:
    """Prints the figures of some runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    peak = matmul_peak(arguments.threads)
    for folder in arguments.runs:
        print(json.dumps(shares(folder, peak)))


if __name__ == "__main__":
    main()
