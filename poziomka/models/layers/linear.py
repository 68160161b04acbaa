"""Linear layers whose weight can be packed once into oneDNN's layout, for models that only sample.

oneDNN, which PyTorch's CPU build uses for bfloat16, packs a weight again in every product of a few rows. With a
prepacked weight a decoding step reads the weight once, and bfloat16 results are bitwise identical. The bfloat16 layout
needs AVX-512 or AVX-NE-CONVERT. The float32 layout is available everywhere: products of 4 to 16 rows take .4 to .6 of
MKL's time. Without instructions that multiply bfloat16 (AVX512-BF16, AMX), a bfloat16 product is as fast as a packed
float32 product at one row and takes 1.6 to 2.8 times as long at 4 to 64 rows (benchmarks/primitives.py).
"""

import copy
import platform
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from poziomka.core.errors import ModelError

Model = TypeVar("Model", bound=nn.Module)
LARGE = 1 << 17  # entries of a float32 weight from which on packing pays
HINT = 8  # rows for which the layout is optimised; at 1 to 512 rows it is within a few percent of the best layout


class Linear(nn.Linear):
    """`nn.Linear` whose weight can be stored in oneDNN's packed layout for sampling; training uses the plain weight.

    Attributes:
        packed: the packed weight, with which `weight` is a meta tensor; None if the weight is stored plainly, or was
            released by `Architecture.rest`.
    """

    packed: Tensor | None = None

    def take(self, weight: Tensor) -> None:
        """Loads a weight for sampling, converted to the layer's dtype.

        If packing makes products with the weight faster, only the packed layout is stored and `weight` becomes a meta
        tensor. Otherwise the values are copied.
        """
        weight = weight.to("cpu" if self.weight.is_meta else self.weight.device, self.weight.dtype)
        self.packed = packed(weight)
        if self.packed is not None:
            self.weight = nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
        elif weight is not self.weight:
            with torch.no_grad():
                self.weight.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Returns x @ weight.T + bias: [..., in] to [..., out].

        Raises:
            ModelError: gradients are enabled, and only the packed weight is stored.
        """
        if self.weight.is_meta and torch.is_grad_enabled():
            message = "this model keeps its weights for sampling only: read it under torch.inference_mode()"
            raise ModelError(message)
        return product(x, self.weight, self.packed, self.bias)


def sampling_copy(model: Model) -> Model:
    """Returns a deep copy of a model for sampling, which shares the weights that are about to be packed.

    `Linear.take` must replace them in the copy by packed ones; so no second plain copy of them is allocated.

    Raises:
        ModelError: the model stores packed weights only, and cannot be copied.
    """
    if any(weight.is_meta for weight in model.parameters()):
        message = "this model keeps its weights for sampling only, and cannot be copied: copy the one that learns"
        raise ModelError(message)
    return copy.deepcopy(model, {id(weight): weight for weight in laid_out(model)})


def laid_out(model: nn.Module) -> list[Tensor]:
    """Returns the weights of a model that a sampling copy stores in the packed layout only."""
    return [each.weight for each in model.modules() if isinstance(each, Linear) and packable(each.weight)]


def unpacked(model: nn.Module) -> dict[str, Tensor]:
    """Returns a model's state dict, with packed weights converted back to plain ones."""
    state: dict[str, Tensor] = model.state_dict()
    for name, each in model.named_modules():
        if isinstance(each, Linear) and each.weight.is_meta and each.packed is not None:
            state[f"{name}.weight"] = each.packed.to_dense()
    return state


def packed(weight: Tensor) -> Tensor | None:
    """Returns a weight [out, in] in oneDNN's packed layout; None if packing does not make its products faster."""
    if not packable(weight):
        return None
    with torch.inference_mode():
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), HINT)  # noqa: SLF001 PyTorch's own compiler calls it


def packable(weight: Tensor) -> bool:
    """Whether packing makes products with a weight faster.

    It does on a CPU, in bfloat16 if oneDNN supports it, and in float32 from 131,072 values on.
    """
    if weight.device.type != "cpu":
        return False
    if weight.dtype == torch.float32:
        return weight.numel() >= LARGE and torch.backends.mkldnn.is_available()
    return weight.dtype == torch.bfloat16 and lays_out_bfloat16()


@cache
def lays_out_bfloat16() -> bool:
    """Whether oneDNN supports bfloat16 products on this processor, at any speed."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 as above


@cache
def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that make bfloat16 products at least as fast as float32."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return lays_out_bfloat16()
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001 no public name
    return lays_out_bfloat16() and bool(has)


def product(x: Tensor, weight: Tensor, layout: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """Returns x @ weight.T + bias, computed with the packed weight if there is one and gradients are disabled.

    Args:
        x: [..., in].
        weight: [out, in].
        layout: the weight in oneDNN's packed layout; None if it is not packed.
        bias: [out]; None for no bias.
    """
    if layout is None or torch.is_grad_enabled():
        return nn.functional.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise.default(x, layout, bias, "none", [], "")  # noqa: SLF001 as above


def logits_of(hidden: Tensor, weight: Tensor, layout: Tensor | None) -> Tensor:
    """Returns the logits hidden @ weight.T in fp32.

    They are accumulated in fp32 and not rounded, except with the packed weight of a sampling model: oneDNN rounds sums
    to the packed weight's dtype, and a second product for the remainder would cost as much as the first.

    Args:
        hidden: [..., D] hidden states.
        weight: [V, D].
        layout: the weight in oneDNN's packed layout; None if it is not packed.
    """
    if layout is None or torch.is_grad_enabled():
        return nn.functional.linear(hidden.float(), weight.float())
    return product(hidden, weight, layout).float()
