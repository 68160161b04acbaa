"""SmolLM2-135M side by side with transformers, TRL and llama.cpp, pairs alternately: results/models.json and a table.

    .venv/bin/python benchmarks/compare_models.py                       # everything, some hours of two cores
    .venv/bin/python benchmarks/compare_models.py --only decode load    # parts; the others' last results are kept

On a machine that does nothing else. Each side is a script beside this one, in a process of its own, ours in this
interpreter and the peers in `--peers` (README.md says how that environment is made). `--quick` runs everything with
counts that mean nothing, to see that it runs.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, median

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / "trl-env" / "bin" / "python"
PARTS = ("decode", "grpo48", "grpo256", "load")
MUST = {  # what is asked of a ratio, and what is hoped for
    "decode, batch 64, against transformers": (3, 4),
    "decode, batch 32, against transformers": (None, None),
    "decode, batch 8, against transformers": (2, 2.5),
    "decode, batch 1, against transformers": (1.3, 1.5),
    "decode, 32 streams, against llama.cpp on the Q4 file": (1.5, 2.5),
    "decode, 1 stream, against llama.cpp on the Q4 file": (None, None),
    "decode, batch 64, share of its matrix products": (0.55, 0.8),
    "GRPO step, at most 48 tokens, against TRL": (8, 12),
    "GRPO step, at most 256 tokens, against TRL": (6, 10),
    "training, share of the bf16 matmul peak": (0.4, 0.6),
    "peak memory of a step of 48, share of TRL's": (0.6, 0.4),
    "peak memory of a step of 256, share of TRL's": (0.6, 0.4),
    "load to first token, share of transformers'": (0.25, 0.1),
    "load to first token, first time, share of transformers'": (None, None),
}


def read_arguments():
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    parser.add_argument("--steps", type=int, default=4, help="counted steps of a run of reinforcement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--reward", choices=["check", "coin"], default="check")
    parser.add_argument("--peers", type=Path, default=PEERS)
    parser.add_argument("--limit", type=float, default=7200, help="seconds that one process may take")
    parser.add_argument("--quick", action="store_true", help="counts that mean nothing")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "models.json")
    return parser.parse_args()


def call(interpreter, script, options, *words):
    """Runs a script; returns the JSON object of its last line, with the machine's load before it started."""
    command = [str(interpreter), str(HERE / script), "--threads", str(options.threads), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    load, began = os.getloadavg()[0], time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr[-3000:]}")
    print(
        f"{script} {' '.join(map(str, words))}: {time.perf_counter() - began:.0f} s (load {load:.1f})", file=sys.stderr
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"command": shlex.join(command), "load_before": load}


def decode(options):
    """Decoding: ours, transformers and llama.cpp in turn."""
    tokens, repeats = (8, 1) if options.quick else (128, 2)
    batches = [8, 1] if options.quick else [64, 32, 8, 1]
    how = ["--tokens", tokens, "--repeats", repeats, "--batches"]
    runs = {"ours": [], "transformers": [], "llama.cpp": []}
    for _ in range(options.rounds):
        runs["ours"].append(call(sys.executable, "decode.py", options, *how, *batches))
        runs["transformers"].append(call(options.peers, "decode_transformers.py", options, *how, *batches))
        streams = [each for each in batches if each in (32, 1)]
        runs["llama.cpp"].append(call(options.peers, "decode_llamacpp.py", options, *how, *streams))
    return runs


def grpo(options, tokens):
    """Reinforcement: ours and TRL in turn."""
    small = ["--problems", 2, "--attempts", 4] if options.quick else []
    steps, tokens = (1, 6) if options.quick else (options.steps, tokens)
    rate = ["--learning-rate", options.learning_rate, "--reward", options.reward]
    runs = {"ours": [], "trl": []}
    for number in range(options.rounds):
        how = ["--steps", steps, "--tokens", tokens, "--seed", number + 1, *rate, *small]
        runs["ours"].append(call(sys.executable, "grpo_ours.py", options, *how))
        runs["trl"].append(call(options.peers, "grpo_trl.py", options, *how))
    return runs


def load(options):
    """From nothing to a token: the script alternates by itself."""
    repeats = 1 if options.quick else max(3, options.rounds)
    return call(sys.executable, "load.py", options, "--repeats", repeats, "--peers", options.peers)


def rate(runs, batch):
    """Returns the median decoding rate of some runs at a batch size; None where it was not measured."""
    found = [run["batches"][str(batch)]["decoding"] for run in runs if str(batch) in run["batches"]]
    return median(found) if found else None


def summary(runs):
    """Returns rows by name: ours, theirs (None for a share), and the ratio."""
    rows = {}
    if "decode" in runs:
        ours, peers, streams = (runs["decode"][side] for side in ("ours", "transformers", "llama.cpp"))
        for batch in (64, 32, 8, 1):
            name = f"decode, batch {batch}, against transformers"
            rows[name] = faster("tok/s", rate(ours, batch), rate(peers, batch))
        for batch, word in ((32, "streams"), (1, "stream")):
            name = f"decode, {batch} {word}, against llama.cpp on the Q4 file"
            rows[name] = faster("tok/s", rate(ours, batch), rate(streams, batch))
        alone = [max(run["batches"]["64"]["products"].values()) for run in ours if "64" in run["batches"]]
        products = median(alone) if alone else None
        rows["decode, batch 64, share of its matrix products"] = faster("tok/s", rate(ours, 64), products)
    for tokens in (48, 256):
        if f"grpo{tokens}" in runs:
            ours, theirs = (runs[f"grpo{tokens}"][side] for side in ("ours", "trl"))
            times = [median(value for run in side for value in run["seconds"]) for side in (ours, theirs)]
            name = f"GRPO step, at most {tokens} tokens, against TRL"
            rows[name] = {"unit": "s/step", "ours": times[0], "theirs": times[1], "ratio": times[1] / times[0]}
            rows[name]["tokens"] = [fmean(value for run in side for value in run["tokens"]) for side in (ours, theirs)]
            peaks = [max(run["peak_gib"] for run in side) for side in (ours, theirs)]
            rows[f"peak memory of a step of {tokens}, share of TRL's"] = faster("GiB", *peaks)
            shares = [run["training"] for run in ours]
            flops, best = median(share["flops"] / 1e9 for share in shares), max(share["peak"] / 1e9 for share in shares)
            rows.setdefault("training, share of the bf16 matmul peak", faster("GFLOP/s", flops, best))
    if "load" in runs:
        seconds = {name: each["median"] for name, each in runs["load"]["seconds"].items()}
        for name, side in (("", "ours"), (", first time", "ours, first time")):
            row = faster("s", seconds[side], seconds["transformers"])
            rows[f"load to first token{name}, share of transformers'"] = row
    return {name: row for name, row in rows.items() if row is not None}


def faster(unit, ours, theirs):
    """Returns a row whose ratio is ours by theirs; None where one side was not measured."""
    if ours is None or theirs is None:
        return None
    return {"unit": unit, "ours": ours, "theirs": theirs, "ratio": ours / theirs}


def table(rows):
    """Writes the rows as a Markdown table."""
    lines = [("work", "ours", "theirs", "ratio", "must", "reach"), ("---",) * 6]
    for name, row in rows.items():
        must, reach = MUST[name]
        bound = "≤" if "memory" in name or "load" in name else "≥"
        asked = [f"{bound} {value:g}" if value is not None else "" for value in (must, reach)]
        unit = row["unit"]
        lines.append((name, f"{row['ours']:.4g} {unit}", f"{row['theirs']:.4g} {unit}", f"{row['ratio']:.2f}", *asked))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine():
    """Describes the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count()}


def write(path, content):
    """Writes JSON so that a file is never left half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def main():
    """Measures, writes the results after each part, prints the table."""
    options = read_arguments()
    if not options.peers.exists():
        sys.exit(f"there is no {options.peers}: README.md says how the peers' environment is made, or give --peers")
    kept = json.loads(options.out.read_text()) if options.out.exists() and not options.quick else {}
    runs, times = kept.get("runs", {}), kept.get("times", {})
    acts = {
        "decode": decode,
        "grpo48": lambda given: grpo(given, 48),
        "grpo256": lambda given: grpo(given, 256),
        "load": load,
    }
    for part in options.only:
        runs[part] = acts[part](options)
        times[part] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        head = {"schema_version": 1, "machine": machine(), "times": times}
        write(options.out, head | {"summary": summary(runs), "runs": runs})
    print(table(summary(runs)))


if __name__ == "__main__":
    main()
