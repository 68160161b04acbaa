"""From the start of the process to the first token: ours, transformers and vLLM. JSON.

    .venv/bin/python benchmarks/load.py

Whole processes: interpreter, imports, tokenizer, weights, chat template, a prompt of some 40 tokens, one token. Ours
keeps the file's conversion by its content (POZIOMKA_CACHE); `ours, first time` begins with an empty cache, `ours` with
a warm one, as every later start does. transformers keeps nothing, and reads the same file; `transformers, own folder`
reads a checkpoint that it saved itself before, and so does vLLM, which keeps compiled code in a cache of its own.
`vLLM` is as it starts by itself, its engine in another process; `vLLM, in process` is eager and in one. All files have
been read once, so the disk's own cache is warm for everybody.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import peer_model
from decode_work import dtype_here

QUESTION = "State the final answer to the following arithmetic problem: 4 - 1 ="
OURS = f"""
import asyncio, sys, torch
from pathlib import Path
from poziomka.core.sampler import SamplingParams
from poziomka.core.transcript import Message, Transcript
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.inference.local import LocalSampler
torch.set_num_threads(int(sys.argv[2]))
loaded = load_pretrained(sys.argv[1], "bfloat16")
sampler = LocalSampler(loaded.model, loaded.chat)
reply = asyncio.run(sampler.extend(Transcript.of([Message("user", {QUESTION!r})]), SamplingParams(max_tokens=1)))
assert reply.cost == 1
print("first token", flush=True)
"""
THEIRS = f"""
import sys, torch, transformers
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import peer_model
transformers.logging.set_verbosity_error()
torch.set_num_threads(int(sys.argv[2]))
path = Path(sys.argv[1])
model, tokenizer = peer_model.load(path, {dtype_here()!r}) if path.is_dir() else peer_model.load_gguf(path)
messages = [{{"role": "user", "content": {QUESTION!r}}}]
ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**ids, max_new_tokens=1, do_sample=True, pad_token_id=2)
assert out.shape[1] == ids["input_ids"].shape[1] + 1
print("first token", flush=True)
"""
VLLM = f"""
import os, sys
alone = sys.argv[3] == "alone"
os.environ |= {{"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": sys.argv[2]}}
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if alone else "1"
from vllm import LLM, SamplingParams
more = {{"enforce_eager": True, "distributed_executor_backend": "uni"}} if alone else {{}}
engine = LLM(model=sys.argv[1], dtype={dtype_here()!r}, max_model_len=512, kv_cache_memory_bytes=1 << 29, **more)
messages = [{{"role": "user", "content": {QUESTION!r}}}]
found = engine.chat(messages, SamplingParams(max_tokens=1), use_tqdm=False)
assert len(found[0].outputs[0].token_ids) == 1
print("first token", flush=True)
"""


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Returns the seconds from the start of a process until it says that it has a token."""
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe that is not read would fill, and hold the process up
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        written = any(line == "first token\n" for line in process.stdout or ())  # after whatever the libraries print
        ended = time.perf_counter()
        process.communicate()
        errors.seek(0)
        if not written:
            sys.exit(f"{command[0]} had no token to show:\n{errors.read()[-2000:]}")
    return ended - began


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", type=Path, default=peer_model.ROOT.parent / "trl-env" / "bin" / "python")
    parser.add_argument("--vllm", type=Path, default=peer_model.ROOT.parent / "vllm-env" / "bin" / "python")
    options = parser.parse_args()
    gguf, threads, here = str(peer_model.gguf_file()), str(options.threads), str(Path(__file__).parent)
    folder = str(peer_model.made_folder())
    found: dict[str, list[float]] = {}
    for _ in range(options.repeats + 1):  # the first warms the disk's cache up
        with tempfile.TemporaryDirectory() as empty:
            sides = {
                "ours": ([sys.executable, "-c", OURS, gguf, threads], {}),
                "ours, first time": ([sys.executable, "-c", OURS, gguf, threads], {"POZIOMKA_CACHE": empty}),
                "transformers": ([str(options.peers), "-c", THEIRS, gguf, threads, here], {}),
                "transformers, own folder": ([str(options.peers), "-c", THEIRS, folder, threads, here], {}),
                "vLLM": ([str(options.vllm), "-c", VLLM, folder, threads, "apart"], {}),
                "vLLM, in process": ([str(options.vllm), "-c", VLLM, folder, threads, "alone"], {}),
            }
            for name, (command, more) in sides.items():
                found.setdefault(name, []).append(seconds(command, {**os.environ, **more}))
    settings = {"repeats": options.repeats, "threads": options.threads}
    figures = {name: {"median": median(runs[1:]), "runs": runs[1:]} for name, runs in found.items()}
    print(json.dumps({"settings": settings, "seconds": figures}))


if __name__ == "__main__":
    main()
