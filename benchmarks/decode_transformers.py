"""Tokens a second of transformers' `generate`, SmolLM2-135M in bfloat16, as JSON: the peer of decode.py.

Runs in the peers' environment. Every row reads `--prompt` random tokens of its own and writes `--tokens` more, drawn
at temperature 1 from the whole vocabulary; no row may end early.
"""

import argparse
import json
import time
from statistics import median

import peer_model


def main():
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 32, 8, 1])
    parser.add_argument("--prompt", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", choices=["dynamic", "static"], default="dynamic")
    options = parser.parse_args()

    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    model, _ = peer_model.load()
    model.eval()
    figures = {}
    for batch in options.batches:
        figures[str(batch)] = measure(torch, model, batch, options)
    settings = vars(options) | {"transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"peer": "transformers", "settings": settings, "batches": figures}))


def measure(torch, model, batch, options):
    """Returns the figures of one batch size: medians, and every run."""
    first = []

    def clock(_ids, scores):
        if len(first) < 1:
            first.append(time.perf_counter())
        return scores

    how = {
        "min_new_tokens": options.tokens,
        "max_new_tokens": options.tokens,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "pad_token_id": 2,
        "logits_processor": [clock],
    }
    if options.cache == "static":
        how["cache_implementation"] = "static"
    whole, decoding = [], []
    for repeat in range(options.repeats + 1):  # the first warms up
        ids = torch.randint(100, 49_000, (batch, options.prompt), generator=torch.Generator().manual_seed(repeat))
        first.clear()
        began = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), **how)
        ended = time.perf_counter()
        if out.shape[1] != options.prompt + options.tokens:
            message = f"a row wrote {out.shape[1] - options.prompt} tokens instead of {options.tokens}"
            raise SystemExit(message)
        whole.append(batch * options.tokens / (ended - began))
        decoding.append(batch * (options.tokens - 1) / (ended - first[0]))
    return {"tokens_per_second": median(whole[1:]), "decoding": median(decoding[1:]), "runs": whole[1:]}


if __name__ == "__main__":
    main()
