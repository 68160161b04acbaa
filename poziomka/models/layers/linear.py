"""A matrix product whose weight can be laid out once for the processor, for a model that only samples.

oneDNN, which PyTorch's CPU build multiplies bfloat16 with, lays a weight out anew in every product of a few rows; with
the weight kept in that layout a step of decoding reads it once. Results in bfloat16 are the same, bit for bit. It has
such a layout on a processor with AVX-512 or AVX-NE-CONVERT; in float32 everywhere, where products of 4 to 16 rows
take .4 to .6 of MKL's time. Without instructions that multiply bfloat16 (AVX512-BF16, AMX) a product in bfloat16 is as
fast at one row, and takes 1.6 to 2.8 times as long at 4 to 64 rows as in float32 laid out (benchmarks/primitives.py).
"""

import copy
import platform
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from poziomka.core.errors import ModelError

Model = TypeVar("Model", bound=nn.Module)
LARGE = 1 << 17  # entries of a weight in float32 from which on the layout pays
HINT = 8  # rows that the layout is chosen for; it serves 1 to 512 rows within a few percent of the best for each


class Linear(nn.Linear):
    """`nn.Linear` that can be packed. Training uses the weight as it is."""

    packed: Tensor | None = None

    def take(self, weight: Tensor) -> None:
        """Takes a weight to sample with, turned into its own type: its layout only where there is one, a copy else.

        What is left of the weight itself then is its shape.
        """
        weight = weight.to("cpu" if self.weight.is_meta else self.weight.device, self.weight.dtype)
        self.packed = packed(weight)
        if self.packed is not None:
            self.weight = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        elif weight is not self.weight:
            with torch.no_grad():
                self.weight.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out].

        Raises:
            ModelError: only the layout is kept, and gradients are on.
        """
        if self.weight.is_meta and torch.is_grad_enabled():
            message = "this model keeps its weights for sampling only: read it under torch.inference_mode()"
            raise ModelError(message)
        return product(x, self.weight, self.packed, self.bias)


def sampling_copy(model: Model) -> Model:
    """Returns a copy of a model that shares the weights of its products where `take` will keep a layout only.

    Raises:
        ModelError: the model itself only samples.
    """
    if any(weight.is_meta for weight in model.parameters()):
        message = "this model keeps its weights for sampling only, and cannot be copied: copy the one that learns"
        raise ModelError(message)
    return copy.deepcopy(model, {id(weight): weight for weight in laid_out(model)})


def laid_out(model: nn.Module) -> list[Tensor]:
    """Returns the weights of a model that a sampler with its weights keeps as layouts only."""
    return [each.weight for each in model.modules() if isinstance(each, Linear) and packable(each.weight)]


def unpacked(model: nn.Module) -> dict[str, Tensor]:
    """Returns a model's state with plain weights, also those of which only the layout is kept."""
    state: dict[str, Tensor] = model.state_dict()
    for name, each in model.named_modules():
        if isinstance(each, Linear) and each.weight.is_meta and each.packed is not None:
            state[f"{name}.weight"] = each.packed.to_dense()
    return state


def packed(weight: Tensor) -> Tensor | None:
    """Returns a weight [out, in] in oneDNN's layout; None where there is none to gain."""
    if not packable(weight):
        return None
    with torch.inference_mode():
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), HINT)  # noqa: SLF001 PyTorch's own compiler calls it


def packable(weight: Tensor) -> bool:
    """Whether a weight gains by a layout of its own: on a CPU, in bfloat16 or, where it is large, in float32."""
    if weight.device.type != "cpu":
        return False
    if weight.dtype == torch.float32:
        return weight.numel() >= LARGE and torch.backends.mkldnn.is_available()
    return weight.dtype == torch.bfloat16 and lays_out_bfloat16()


@cache
def lays_out_bfloat16() -> bool:
    """Whether oneDNN has products in bfloat16 on this processor, fast or slow."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 as above


@cache
def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 at least as fast as float32: it has instructions for it."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return lays_out_bfloat16()
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001 no public name
    return lays_out_bfloat16() and bool(has)


def product(x: Tensor, weight: Tensor, layout: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """Returns x @ weight.T + bias, through the packed layout where there is one and nothing is learned."""
    if layout is None or torch.is_grad_enabled():
        return nn.functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise.default(x, layout, bias, "none", [], "")  # noqa: SLF001 as above


def logits_of(hidden: Tensor, weight: Tensor, layout: Tensor | None) -> Tensor:
    """Returns hidden @ weight.T in fp32, for a head.

    It is summed in fp32 and not rounded, unless it goes through the packed layout of a model that samples: there,
    oneDNN rounds sums to the layout's type, and a second product for the rest would cost as much as the first.
    """
    if layout is None or torch.is_grad_enabled():
        return nn.functional.linear(hidden.float(), weight.float())
    return product(hidden, weight, layout).float()
