"""SmolLM2-135M side by side with transformers, vLLM, TRL and llama.cpp in paired rounds: results/models.json, tables.

    .venv/bin/python benchmarks/compare_models.py                       # everything, some hours of two cores
    .venv/bin/python benchmarks/compare_models.py --only streams prefix # parts; the others' last results are kept
    .venv/bin/python benchmarks/compare_models.py --resume              # goes on where the last call was ended

On a machine that does nothing else. Each side is a script beside this one, in a process of its own: ours in this
interpreter, vLLM in `--vllm`, the other peers in `--peers` (README.md shows how both environments are made). The
results are written after each process. `--quick` runs everything with counts that mean nothing, to see that it runs;
it needs `--out`, so that no result of the repository is lost.

decode   40 random tokens read and 128 written: ours, transformers, llama.cpp; the matrix products alone
streams  60 random tokens read and 96 written, 1 to 64 streams: ours, vLLM, transformers; reading apart; peak memory
prefix   the same, where all prompts begin with the same 500 tokens
grpo48, grpo256  a step of 8 x 8 replies, scored by the check: ours, TRL
grpo96   a step of 12 x 4 replies in which every group is informative: ours, TRL
load     from the start of a process to its first token
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

from commands import command_line, portable
from decode_work import dtype_here

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / "trl-env" / "bin" / "python"
VLLM = HERE.parents[1] / "vllm-env" / "bin" / "python"
RESULTS = HERE / "results" / "models.json"
PARTS = ("decode", "streams", "prefix", "grpo48", "grpo96", "grpo256", "load")
PREFIX = {"streams": 0, "prefix": 500}  # tokens that all prompts of a part begin with
STREAMS = (64, 48, 16, 4, 1)
DECODERS = {"ours": "decode.py", "vllm": "decode_vllm.py", "transformers": "decode_transformers.py"}
MEASURES = {"tokens_per_second": "tokens written a second, prompts read", "reading": "prompt tokens read a second"}
TOKENS = {"grpo48": 48, "grpo96": 96, "grpo256": 256}  # most new tokens of a reply
BOUNDS = {
    "products": "training at the matmul peak, sampling at its products' rate",
    "matmul": "all at the matmul peak",
}
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
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which each side runs once")
    names = list(DECODERS)
    parser.add_argument("--sides", nargs="+", choices=names, default=names, metavar="SIDE", help="of streams, prefix")
    parser.add_argument("--repeats", type=int, default=2, help="counted runs of each number of streams in a round")
    parser.add_argument("--steps", type=int, default=4, help="counted steps of a run of reinforcement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--reward", choices=["check", "coin"], default="check", help="of grpo48 and grpo256")
    parser.add_argument("--peers", type=Path, default=PEERS)
    parser.add_argument("--vllm", type=Path, default=VLLM)
    parser.add_argument("--limit", type=float, default=7200, help="seconds that one process may take")
    parser.add_argument("--resume", action="store_true", help="keep the runs of the same parts and settings")
    parser.add_argument("--quick", action="store_true", help="counts that mean nothing")
    parser.add_argument("--out", type=Path, help="default: results/models.json")
    options = parser.parse_args()
    if options.quick and options.out is None:
        parser.error("--quick measures nothing: give it a file outside the repository with --out")
    options.out = options.out or RESULTS
    return options


class Book:
    """The results file: what each side gave in each round, by part."""

    def __init__(self, options):
        """Reads what the file holds."""
        self.options = options
        kept = json.loads(options.out.read_text()) if options.out.exists() else {}
        self.runs, self.times = kept.get("runs", {}), kept.get("times", {})
        self.machines = kept.get("machines", {})

    def begin(self, part):
        """Drops what is known of a part, unless the measurement goes on."""
        if self.options.resume and self.machines.get(part, machine()) != machine():
            sys.exit(f"{part} was begun on {self.machines[part]}: measure it anew, without --resume")
        if not self.options.resume:
            self.runs.pop(part, None)
        self.runs.setdefault(part, {})
        self.machines[part] = machine()

    def add(self, part, side, number, words):
        """Runs a side's script in a round, unless the file holds that run, and writes the file."""
        kept = self.runs[part].setdefault(side, [])
        words = [str(word) for word in words]
        recorded = portable(words)
        if len(kept) > number and kept[number].get("words") == recorded:
            return
        own = {"ours": sys.executable, "all": sys.executable, "vllm": self.options.vllm}
        interpreter = own.get(side, self.options.peers)
        kept[number:] = [call(interpreter, words, self.options) | {"words": recorded}]
        self.write(part)

    def write(self, part):
        """Writes the file."""
        self.times[part] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        head = {"schema_version": 2, "machines": self.machines, "times": self.times}
        tables = {"summary": summary(self.runs), "streams": summary_of_streams(self.runs)}
        write(self.options.out, head | tables | {"runs": self.runs})


def call(interpreter, words, options):
    """Runs a script; returns the JSON object of its last line, with the machine's load before it started."""
    script, *words = words
    command = [str(interpreter), str(HERE / script), "--threads", str(options.threads), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    load, began = os.getloadavg()[0], time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr[-3000:]}")
    print(f"{script} {' '.join(words)}: {time.perf_counter() - began:.0f} s (load {load:.1f})", file=sys.stderr)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"command": command_line(command), "load_before": load}


def decode(book, part):
    """Decoding: ours, transformers and llama.cpp in turn."""
    tokens, repeats, batches = (8, 1, [8, 1]) if book.options.quick else (128, 2, [64, 32, 8, 1])
    how = ["--tokens", tokens, "--repeats", repeats, "--batches"]
    for number in range(book.options.rounds):
        book.add(part, "ours", number, ["decode.py", "--products", *how, *batches])
        book.add(part, "transformers", number, ["decode_transformers.py", *how, *batches])
        streams = [each for each in batches if each in (32, 1)]
        book.add(part, "llama.cpp", number, ["decode_llamacpp.py", *how, *streams])


def decode_streams(book, part):
    """Decoding at 1 to 64 streams: ours, vLLM and transformers in turn, every other round backwards."""
    quick = book.options.quick
    tokens, repeats, streams = (4, 1, STREAMS[-2:]) if quick else (96, book.options.repeats, STREAMS)
    how = ["--prefix", PREFIX[part], "--prompt", 60, "--tokens", tokens, "--repeats", repeats, "--batches", *streams]
    for number in range(book.options.rounds):
        sides = [(side, script) for side, script in DECODERS.items() if side in book.options.sides]
        for side, script in sides[::-1] if number % 2 else sides:
            book.add(part, side, number, [script, *how])


def grpo(book, part):
    """Reinforcement: ours and TRL in turn."""
    options, tokens = book.options, TOKENS[part]
    shape = ["--problems", 12, "--attempts", 4] if part == "grpo96" else []
    reward = "alternate" if part == "grpo96" else options.reward
    if options.quick:
        shape, tokens = ["--problems", 2, "--attempts", 4], 6
    steps = 1 if options.quick else options.steps
    for number in range(options.rounds):
        how = ["--steps", steps, "--tokens", tokens, "--seed", number + 1, "--reward", reward, *shape]
        how += ["--learning-rate", options.learning_rate]
        book.add(part, "ours", number, ["grpo_ours.py", *how])
        book.add(part, "trl", number, ["grpo_trl.py", *how])


def load(book, part):
    """From nothing to a token: the script alternates by itself."""
    repeats = 1 if book.options.quick else book.options.rounds
    words = ["load.py", "--repeats", repeats, "--peers", book.options.peers, "--vllm", book.options.vllm]
    book.add(part, "all", 0, words)


def rate(runs, batch):
    """Returns the median decoding rate of some runs at a batch size; None where it was not measured."""
    found = [run["batches"][str(batch)]["decoding"] for run in runs if str(batch) in run["batches"]]
    return median(found) if found else None


def summary(runs):
    """Returns rows by name: ours, theirs (None for a share), and the ratio; of what both sides have run."""
    rows = {}
    if whole := sides_of(runs, "decode", "ours", "transformers", "llama.cpp"):
        rows |= decode_rows(*whole)
    for part, tokens in TOKENS.items():
        if pair := sides_of(runs, part, "ours", "trl"):
            rows |= {name: row for name, row in grpo_rows(*pair, tokens).items() if name not in rows}
    if whole := sides_of(runs, "load", "all"):
        rows |= load_rows({name: each["median"] for name, each in whole[0][0]["seconds"].items()})
    return {name: row for name, row in rows.items() if row is not None}


def sides_of(runs, part, *sides):
    """Returns the runs of each side of a part; None where one has none yet."""
    found = [runs.get(part, {}).get(side) for side in sides]
    return found if all(found) else None


def decode_rows(ours, peers, streams):
    """Returns the rows of decoding."""
    rows = {}
    for batch in (64, 32, 8, 1):
        rows[f"decode, batch {batch}, against transformers"] = faster("tok/s", rate(ours, batch), rate(peers, batch))
    for batch, word in ((32, "streams"), (1, "stream")):
        name = f"decode, {batch} {word}, against llama.cpp on the Q4 file"
        rows[name] = faster("tok/s", rate(ours, batch), rate(streams, batch))
    alone = [max(run["batches"]["64"]["products"].values()) for run in ours if "64" in run["batches"]]
    products = median(alone) if alone else None
    rows["decode, batch 64, share of its matrix products"] = faster("tok/s", rate(ours, 64), products)
    return rows


def grpo_rows(ours, theirs, tokens):
    """Returns the rows of a step of reinforcement: time, its bounds, peak memory, the training's rate."""
    seconds, other = (median(value for run in side for value in run["seconds"]) for side in (ours, theirs))
    name = f"GRPO step, at most {tokens} tokens{', every group informative' if tokens == 96 else ''}"
    step = slower("s/step", seconds, other)
    for key in ("tokens", "informative"):
        step[key] = [fmean(value for run in side for value in run[key]) for side in (ours, theirs)]
    step["paired"] = [median(b["seconds"]) / median(a["seconds"]) for a, b in zip(ours, theirs, strict=False)]
    rows = {f"{name}, against TRL": step}
    bounds = [run["bound"] for run in ours if "bound" in run]
    for kind, words in BOUNDS.items() if bounds else ():
        rows[f"{name}, share of the bound: {words}"] = slower("s/step", seconds, median(each[kind] for each in bounds))
    peaks = [max(run["peak_gib"] for run in side) for side in (ours, theirs)]
    rows[f"peak memory of a step of {tokens}, share of TRL's"] = faster("GiB", *peaks)
    shares = [run["training"] for run in ours]
    flops, best = median(share["flops"] / 1e9 for share in shares), max(share["peak"] / 1e9 for share in shares)
    return rows | {"training, share of the bf16 matmul peak": faster("GFLOP/s", flops, best)}


def load_rows(seconds):
    """Returns the rows of loading."""
    rows = {}
    for name, side in (("", "ours"), (", first time", "ours, first time")):
        row = faster("s", seconds[side], seconds["transformers"])
        rows[f"load to first token{name}, share of transformers'"] = row
    for side in ("vLLM", "vLLM, in process"):
        if side in seconds:
            rows[f"load to first token, share of that of {side}"] = faster("s", seconds["ours"], seconds[side])
    return rows


def summary_of_streams(runs):
    """Returns, by part: peak memory by side; by measure and number of streams the medians, and each round's ratios."""
    found = {}
    for part in PREFIX:
        sides = {side: runs[part][side] for side in DECODERS if runs.get(part, {}).get(side)}
        if len(sides) > 1 and "ours" in sides:
            found[part] = {"peak_gib": {name: max(run["peak_gib"] for run in side) for name, side in sides.items()}}
            batches = [side[0]["batches"] for side in sides.values()]
            streams = [each for each in batches[0] if all(each in others for others in batches)]
            for measure in MEASURES:
                found[part][measure] = {each: rates(sides, each, measure) for each in streams}
    return found


def rates(sides, streams, measure):
    """Returns the median of each side, and `ours / SIDE`: the ratio in each round, least first."""
    values = {name: [run["batches"][streams][measure] for run in side] for name, side in sides.items()}
    row = {name: median(each) for name, each in values.items()}
    for name in list(sides)[1:]:
        row[f"ours / {name}"] = sorted(a / b for a, b in zip(values["ours"], values[name], strict=False))
    return row


def faster(unit, ours, theirs):
    """Returns a row whose ratio is ours by theirs; None where one side was not measured."""
    if ours is None or theirs is None:
        return None
    return {"unit": unit, "ours": ours, "theirs": theirs, "ratio": ours / theirs}


def slower(unit, ours, theirs):
    """Returns a row whose ratio is theirs by ours."""
    return {"unit": unit, "ours": ours, "theirs": theirs, "ratio": theirs / ours}


def table(rows):
    """Returns the rows as a Markdown table."""
    lines = [("work", "ours", "theirs", "ratio", "must", "reach"), ("---",) * 6]
    for name, row in rows.items():
        must, reach = MUST.get(name, (None, None))
        sign = "≤" if "memory" in name or "load" in name else "≥"
        asked = [f"{sign} {value:g}" if value is not None else "" for value in (must, reach)]
        unit = row["unit"]
        lines.append((name, f"{row['ours']:.4g} {unit}", f"{row['theirs']:.4g} {unit}", f"{row['ratio']:.2f}", *asked))
    return joined(lines)


def table_of_streams(found):
    """Returns the rates of one part as Markdown: medians, and the median of the rounds' ratios (least to most)."""
    sides = list(found["peak_gib"])
    others = sides[1:]
    lines = [("measure", "streams", *sides, *(f"ours / {name}" for name in others))]
    lines.append(("---",) * len(lines[0]))
    for measure, words in MEASURES.items():
        for streams, row in found[measure].items():
            ratios = [row[f"ours / {name}"] for name in others]
            shown = [f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})" for each in ratios]
            lines.append((words, streams, *(f"{row[name]:.4g}" for name in sides), *shown))
    peaks = found["peak_gib"]
    shares = [f"{peaks['ours'] / peaks[name]:.2f}" for name in others]
    lines.append(("peak memory, GiB", "all", *(f"{peaks[name]:.2f}" for name in sides), *shares))
    return joined(lines)


def joined(lines):
    """Returns lines of cells as Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine():
    """Describes the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    found = {"processor": names[0] if names else platform.processor(), "cores": os.cpu_count()}
    return found | {"faster": dtype_here()}


def write(path, content):
    """Writes JSON so that a file is never left half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)


def prepare(options):
    """Demands the environments that the parts need, and has the peers' checkpoint made."""
    needed = {options.peers: "trl-requirements.lock"}
    if {"streams", "prefix", "load"} & set(options.only):
        needed[options.vllm] = "vllm-requirements.lock"
    for path, lock in needed.items():
        if not path.exists():
            sys.exit(f"there is no {path}: {lock} begins with the command that makes the environment")
    done = subprocess.run([options.peers, HERE / "peer_model.py"], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"peer_model.py failed:\n{done.stderr[-3000:]}")


def main():
    """Measures, writes the results after each process, prints the tables."""
    options = read_arguments()
    prepare(options)
    acts = {"decode": decode, "load": load} | dict.fromkeys(PREFIX, decode_streams) | dict.fromkeys(TOKENS, grpo)
    book = Book(options)
    for part in options.only:
        book.begin(part)
        acts[part](book, part)
    print(table(summary(book.runs)))
    for part, found in summary_of_streams(book.runs).items():
        print(f"\n{part}, {PREFIX[part]} shared tokens\n\n{table_of_streams(found)}")


if __name__ == "__main__":
    main()
