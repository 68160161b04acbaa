"""Why the model's inner parts are written as they are: each beside what PyTorch does by itself, SmolLM2-135M's shapes.

    .venv/bin/python benchmarks/primitives.py

products    a decoding step's matrix products, in bfloat16 and in float32: weights as they are, and packed
            (models/layers/linear.py)
decoding    attention of one new token a row over a cache, grouped queries: PyTorch's `enable_gqa`, and ours
learning    attention forward and backward over whole texts: PyTorch's fused kernel, and ours (models/layers/mixing.py)
logits      turning 64 × 49,152 logits into fp32: as glibc allocates, and keeping memory (app/memory_allocator.py)

Milliseconds, the least of several runs, a layer each but for the products, which are all 30 layers' and the head's.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from poziomka.app.memory_allocator import keep_freed_memory
from poziomka.models.layers.linear import packed, product
from poziomka.models.layers.mixing import mix

LAYERS, HEADS, KEYS, WIDTH = 30, 9, 3, 64
SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))  # [out, in] of a layer's products
HEAD = (49_152, 576)
DTYPES = (("bfloat16", torch.bfloat16), ("float32", torch.float32))


def least(act: Callable[[], object], runs: int = 7) -> float:
    """Returns the least milliseconds of a call."""
    act()
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return 1e3 * min(found)


def products(rows: int, dtype: torch.dtype) -> dict[str, float]:
    """All products of a step: different weights for each layer, so that no cache holds them."""
    weights = [torch.randn(shape, dtype=dtype) for shape in [*SHAPES * LAYERS, HEAD]]
    pairs = [(weight, packed(weight)) for weight in weights]
    x = {width: torch.randn(rows, width, dtype=dtype) for width in (576, 1536)}
    with torch.inference_mode():
        plain = least(lambda: [linear(x[weight.shape[1]], weight) for weight in weights])
        quick = least(lambda: [product(x[weight.shape[1]], weight, layout) for weight, layout in pairs])
    return {"plain": plain, "packed": quick}


def cache(rows: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns queries of one new token, and keys and values before it."""
    query = torch.randn(rows, HEADS, 1, WIDTH).bfloat16()
    key, value = (torch.randn(rows, KEYS, length, WIDTH).bfloat16() for _ in range(2))
    return query, key, value


def decoding(rows: int, length: int) -> dict[str, float]:
    """One new token a row."""
    query, key, value = cache(rows, length)
    visible = torch.ones(rows, 1, 1, length, dtype=torch.bool)
    with torch.inference_mode():
        theirs = least(lambda: scaled_dot_product_attention(query, key, value, visible, enable_gqa=True))
        ours = least(lambda: mix(query, key, value, visible, WIDTH**-0.5))
    return {"enable_gqa": theirs, "ours": ours}


def learning(texts: int, length: int) -> dict[str, float]:
    """Whole texts, forward and backward."""
    query = torch.randn(texts, HEADS, length, WIDTH).bfloat16().requires_grad_()
    key, value = (torch.randn(texts, KEYS, length, WIDTH).bfloat16().requires_grad_() for _ in range(2))
    grouped = HEADS // KEYS

    def theirs() -> None:
        wide = (each.repeat_interleave(grouped, 1) for each in (key, value))
        scaled_dot_product_attention(query, *wide, is_causal=True).sum().backward()

    return {"fused": least(theirs), "ours": least(lambda: mix(query, key, value, None, WIDTH**-0.5).sum().backward())}


def logits() -> float:
    """The conversion alone."""
    given = torch.randn(64, HEAD[0]).bfloat16()
    return least(given.float)


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--logits", choices=["given back", "kept"], help="only that, in this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.logits:
        if options.logits == "kept":
            keep_freed_memory()
        print(logits())
        return
    torch.manual_seed(0)
    again = [sys.executable, __file__, "--threads", str(options.threads), "--logits"]
    alone = {
        how: float(subprocess.run([*again, how], capture_output=True, text=True, check=True).stdout)
        for how in ("given back", "kept")
    }
    figures = {
        "products": {
            f"{rows} rows, {name}": products(rows, dtype) for name, dtype in DTYPES for rows in (1, 4, 16, 64)
        },
        "decoding": {f"64 rows, {length} tokens": decoding(64, length) for length in (64, 192)},
        "learning": {f"{texts} texts of {length}": learning(texts, length) for texts, length in ((32, 88), (16, 300))},
        "logits": alone,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
