"""Tokens a second of our engine, SmolLM2-135M in bfloat16, as JSON; and of its matrix products alone, in the same run.

    .venv/bin/python benchmarks/decode.py

Every row reads `--prompt` random tokens of its own and writes `--tokens` more, drawn at temperature 1 from the whole
vocabulary; no row may end early. `tokens_per_second` counts the prompts' reading, `decoding` begins with the first
token. `products` is what one decoding step's matrix products would give, and nothing else: `plain` as PyTorch does
them, `packed` with weights laid out once for the processor. Products and engine take turns, so that both see the same
machine.
"""

import argparse
import json
import time
from array import array
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from poziomka.core.sampler import Sampling
from poziomka.core.seeds import seed_of
from poziomka.models.architecture import Architecture
from poziomka.models.layers.linear import packed, product
from poziomka.models.pretrained import load_pretrained
from poziomka.sampling.engine import Engine, Request
from poziomka.sampling.spans import marks_of
from poziomka.training.allocation import keep_freed_memory


def write(engine: Engine, prompts: Tensor, tokens: int) -> tuple[float, float]:
    """Returns the seconds from the first request to the last token, and from the first token."""
    done: list[int] = []
    began = time.perf_counter()
    for number, ids in enumerate(prompts.tolist()):
        sampling = Sampling(tokens=tokens, seed=seed_of("decode", number))
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


def measure(engine: Engine, weights: list[Tensor], batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of one batch size: medians, and every run."""
    whole, decoding, alone = [], [], []
    for repeat in range(options.repeats + 1):  # the first warms up
        generator = torch.Generator().manual_seed(repeat)
        prompts = torch.randint(100, 49_000, (batch, options.prompt), generator=generator)
        everything, after = write(engine, prompts, options.tokens)
        whole.append(batch * options.tokens / everything)
        decoding.append(batch * (options.tokens - 1) / after)
        alone.append(products(weights, batch))
    best = {name: median(each[name] for each in alone[1:]) for name in alone[0]}
    return {
        "tokens_per_second": median(whole[1:]),
        "decoding": median(decoding[1:]),
        "products": best,
        "share_of_products": median(decoding[1:]) / max(best.values()),
        "runs": whole[1:],
    }


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 32, 8, 1])
    parser.add_argument("--prompt", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the command line does
    loaded = load_pretrained(options.model, "bfloat16")
    endless = replace(marks_of(loaded.tokenizer), end=frozenset())
    weights = matrices(loaded.model)
    engine = Engine(loaded.model, endless, loaded.tokenizer.decode)
    figures = {str(batch): measure(engine, weights, batch, options) for batch in options.batches}
    settings = vars(options) | {"torch": torch.__version__}
    print(json.dumps({"peer": "ours", "settings": settings, "batches": figures}))


if __name__ == "__main__":
    main()
