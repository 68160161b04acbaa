"""Tokens a second of vLLM on the processor, SmolLM2-135M, as JSON: the peer of decode.py.

Runs in vLLM's environment. The engine lives in this process, its fastest start and without messages between processes;
its model is compiled unless `--eager` is given. Every stream reads `--prefix` tokens that all share and `--prompt`
random tokens of its own, and writes `--tokens` more, drawn at temperature 1 from the whole vocabulary; none may end
early. Prefixes are cached, as vLLM does by itself; no two runs share one.
"""

import json
import os
import time

import peer_model
from decode_work import measure, parser_of, peak_gib

BLOCK = 128  # tokens of a block of the cache, vLLM's own choice on a processor


def read_arguments():
    """Parses the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    return parser.parse_args()


def cache_bytes(folder, options):
    """Returns the bytes of a cache that holds every stream at its longest."""
    config = json.loads((folder / "config.json").read_text())
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    bytes_each = 2 if options.dtype == "bfloat16" else 4
    token = 2 * bytes_each * config["num_hidden_layers"] * config["num_key_value_heads"] * width  # keys and values
    blocks = -(-(options.prefix + options.prompt + options.tokens) // BLOCK) + 1
    return max(options.batches) * blocks * BLOCK * token


def engine_of(folder, options):
    """Returns vLLM's engine, in this process."""
    from vllm import LLM

    return LLM(
        model=str(folder),
        dtype=options.dtype,
        max_model_len=options.prefix + options.prompt + options.tokens,
        max_num_seqs=max(options.batches),
        kv_cache_memory_bytes=cache_bytes(folder, options),
        block_size=BLOCK,
        enforce_eager=options.eager,
        distributed_executor_backend="uni",
    )


def main():
    """Prints the figures."""
    options = read_arguments()
    own = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    os.environ.update(own | {"VLLM_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": str(options.threads)})
    folder = peer_model.made_folder()
    import torch
    import vllm

    torch.set_num_threads(options.threads)
    engine = engine_of(folder, options)

    def write(prompts, tokens):
        how = vllm.SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_tokens=tokens, ignore_eos=True)
        began = time.perf_counter()
        found = engine.generate([{"prompt_token_ids": ids} for ids in prompts.tolist()], how, use_tqdm=False)
        seconds = time.perf_counter() - began
        written = {len(each.outputs[0].token_ids) for each in found}
        if written != {tokens}:
            message = f"a row wrote {written} tokens instead of {tokens}"
            raise SystemExit(message)
        return seconds, None

    figures = {str(streams): measure(options, streams, write) for streams in options.batches}
    settings = vars(options) | {"vllm": vllm.__version__, "torch": torch.__version__, "block": BLOCK}
    print(json.dumps({"peer": "vllm", "settings": settings, "peak_gib": peak_gib(), "batches": figures}))


if __name__ == "__main__":
    main()
