"""Tokens a second of transformers' `generate`, SmolLM2-135M, as JSON: the peer of decode.py.

Runs in the peers' environment. Every row reads `--prefix` tokens that all share and `--prompt` random tokens of its
own, and writes `--tokens` more, drawn at temperature 1 from the whole vocabulary; no row may end early. The prefix is
read once a run, and its cache repeated for every row.
"""

import json
import time

import peer_model
from decode_work import measure, parser_of, peak_gib


def main():
    """Prints the figures."""
    parser = parser_of(__doc__)
    parser.add_argument("--cache", choices=["dynamic", "static"], default="dynamic")
    options = parser.parse_args()
    if options.prefix and options.cache == "static":
        parser.error("a shared prefix is repeated in a dynamic cache: leave --cache static out, or --prefix")

    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    model, _ = peer_model.load(dtype=options.dtype)
    model.eval()

    def write(prompts, tokens):
        with torch.inference_mode():
            return generate(model, prompts, tokens, options)

    figures = {str(batch): measure(options, batch, write) for batch in options.batches}
    settings = vars(options) | {"transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"peer": "transformers", "settings": settings, "peak_gib": peak_gib(), "batches": figures}))


def generate(model, prompts, tokens, options):
    """Returns the seconds from the prompts to the last token, and from the first tokens."""
    first = []

    def clock(_ids, scores):
        if len(first) < 1:
            first.append(time.perf_counter())
        return scores

    how = {
        "min_new_tokens": tokens,
        "max_new_tokens": tokens,
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "pad_token_id": 2,
        "logits_processor": [clock],
    }
    if options.cache == "static":
        how["cache_implementation"] = "static"
    began = time.perf_counter()
    if options.prefix:
        how["past_key_values"] = cache_of(model, prompts[:1, : options.prefix], len(prompts))
    out = model.generate(prompts, attention_mask=prompts.new_ones(prompts.shape), **how)
    ended = time.perf_counter()
    if out.shape[1] != prompts.shape[1] + tokens:
        message = f"a row wrote {out.shape[1] - prompts.shape[1]} tokens instead of {tokens}"
        raise SystemExit(message)
    return ended - began, ended - first[0]


def cache_of(model, prefix, rows):
    """Returns the cache of a prefix, read once, for that many rows."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    model(prefix, past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_repeat_interleave(rows)
    return cache


if __name__ == "__main__":
    main()
