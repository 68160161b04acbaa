"""Tokens a second of our engine, SmolLM2-135M, as JSON; and of its matrix products alone, in the same run.

    .venv/bin/python benchmarks/decode.py --products

Every row reads `--prefix` tokens that all share and `--prompt` random tokens of its own, and writes `--tokens` more,
drawn at temperature 1 from the whole vocabulary; no row may end early. `tokens_per_second` counts the prompts' reading,
`decoding` begins with the first token, `reading` is the prompts' tokens a second where each row writes one. `products`
is what one decoding step's matrix products would give, and nothing else: `plain` as PyTorch does them, `packed` with
weights laid out once for the processor. Products and engine take turns, so that both see the same machine; the layouts
of the products count in `peak_gib`.
"""

import json
import time
from array import array
from dataclasses import replace
from statistics import median

import torch
from decode_work import measure, parser_of, peak_gib
from torch import Tensor

from poziomka.app.memory_allocator import keep_freed_memory
from poziomka.core.sampler import SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.inference.engine import Engine, Request
from poziomka.inference.spans import marks_of
from poziomka.models.base import Architecture
from poziomka.models.checkpoints.pretrained import load_pretrained
from poziomka.models.layers.linear import packed, product


def write(engine: Engine, prompts: Tensor, tokens: int) -> tuple[float, float]:
    """Returns the seconds from the first request to the last token, and from the first token."""
    done: list[int] = []
    began = time.perf_counter()
    for number, ids in enumerate(prompts.tolist()):
        sampling = SamplingParams(max_tokens=tokens, seed=seed_of("decode", number))
        request = Request(
            array("i", ids), sampling, 0, thinking=False, done=lambda pieces: done.append(len(pieces[0].tokens))
        )
        engine.submit(request)
    engine.step()
    first = time.perf_counter()
    while engine.busy:
        engine.step()
    ended = time.perf_counter()
    if done != [tokens] * len(prompts):
        message = f"a row wrote {set(done)} tokens instead of {tokens}"
        raise SystemExit(message)
    return ended - began, ended - first


def matrices(model: Architecture) -> list[Tensor]:
    """Returns the weights that one token is multiplied with: of every layer, and of the head."""
    named = {name: weight for name, weight in model.named_parameters() if weight.dim() == 2}
    tied = not any("head" in name for name in named)
    return [weight for name, weight in named.items() if tied or "embed" not in name]


@torch.inference_mode()
def products(weights: list[Tensor], batch: int, seconds: float = 1.0) -> dict[str, float]:
    """Returns the tokens a second that the matrix products alone allow, both ways."""
    inputs = {weight.shape[1]: torch.randn(batch, weight.shape[1]).to(weight.dtype) for weight in weights}
    found = {}
    for name, layouts in (("plain", [None] * len(weights)), ("packed", [packed(weight) for weight in weights])):
        times: list[float] = []
        while len(times) < 3 or sum(times) < seconds:
            began = time.perf_counter()
            for weight, layout in zip(weights, layouts, strict=True):
                product(inputs[weight.shape[1]], weight, layout)
            times.append(time.perf_counter() - began)
        found[name] = batch / median(times[1:])
    return found


def main() -> None:
    """Prints the figures."""
    parser = parser_of(__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--products", action="store_true", help="measure the matrix products alone after each run")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the command line does
    loaded = load_pretrained(options.model, options.dtype)
    endless = replace(marks_of(loaded.tokenizer), end=frozenset())
    engine = Engine(loaded.model, endless, loaded.tokenizer.decode)
    figures = {}
    for batch in options.batches:
        alone: list[dict[str, float]] = []

        def run(prompts: Tensor, tokens: int, alone: list[dict[str, float]] = alone) -> tuple[float, float]:
            found = write(engine, prompts, tokens)
            if options.products and tokens > 1:
                alone.append(products(matrices(loaded.model), len(prompts)))
            return found

        figures[str(batch)] = measure(options, batch, run)
        if alone:
            best = {name: median(each[name] for each in alone[1:]) for name in alone[0]}
            share = figures[str(batch)]["decoding"] / max(best.values())
            figures[str(batch)] |= {"products": best, "share_of_products": share}
    settings = vars(options) | {"torch": torch.__version__}
    print(json.dumps({"peer": "ours", "settings": settings, "peak_gib": peak_gib(), "batches": figures}))


if __name__ == "__main__":
    main()
