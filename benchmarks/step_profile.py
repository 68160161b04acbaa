"""Where a step of reinforcement on SmolLM2-135M spends its time, as JSON: grpo_ours.py's loop under PyTorch's profiler.

    .venv/bin/python benchmarks/step_profile.py --tokens 48 > benchmarks/results/profile.json

`seconds` by kind of operation, of all steps together, on the thread that calls it; the rest of the wall-clock time
is Python, the journal and what the profiler itself costs. `products` are the matrix products, which no other writing of
the same step would spare; `bound` is their time at the best rate that a square product reached in the same process.
"""

import json
from collections import Counter
from itertools import pairwise

import torch
from grpo_ours import options_of, peak_of, run
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "products": ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "mkldnn::_linear_pointwise"),
    "attention while decoding": ("poziomka::attend",),
    "drawing tokens": ("poziomka::draw",),
    "norms, gates, rotations, softmax": tuple(
        f"poziomka::{name}" for name in ("norm", "norm_back", "gated", "gated_back", "rotate", "soften", "soften_back")
    ),
    "gathering texts": ("aten::index", "aten::_index_put_impl_", "poziomka::gather_back"),
    "adding gradients": ("poziomka::add", "aten::add_"),
    "optimizer": ("poziomka::adamw",),
    "layouts for the sampler": ("mkldnn::_reorder_linear_weight",),
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}


def main() -> None:
    """Prints the figures."""
    options = options_of(__doc__)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        ends, lines, _, _ = run(options)
    seconds: Counter[str] = Counter()
    for event in seen.key_averages():
        seconds[KIND_OF.get(event.key, "other operations")] += event.self_cpu_time_total / 1e6
    flops = sum(lines[-1][f"compute/{name}_flops"] for name in ("sampling", "training"))
    peak = peak_of()
    figures = {
        "wall": ends[-1] - ends[0],
        "steps": [after - before for before, after in pairwise(ends)],
        "seconds": dict(seconds.most_common()),
        "flops": flops,
        "peak": peak,
        "bound": flops / peak,
        "settings": vars(options) | {"torch": torch.__version__},
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
