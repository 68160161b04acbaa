"""Python bindings of the C++ kernels in native/, with their gradients, for bfloat16 on a CPU.

Callers check `on` first and have a PyTorch fallback for every other case. Both give the same numbers up to rounding:
kernels compute in fp32 and round once, PyTorch rounds after every operation.

Shapes: `B` sequences, `T` tokens, `N` rows of any kind, `H` heads, `K` key heads, `C` width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from poziomka.models.kernels.build import library

_used = True


def on(x: Tensor) -> bool:
    """Whether the C++ kernels can process a tensor: it is bfloat16, on a CPU, and the kernels are available.

    The first call for such a tensor builds the kernels if they are not cached, which takes about four seconds.
    """
    return x.dtype is torch.bfloat16 and there(x)


def there(x: Tensor) -> bool:
    """Whether the C++ kernels are available for a tensor's device, that is a CPU, whatever the tensor's dtype.

    The first call for a CPU tensor builds the kernels if they are not cached, which takes about four seconds.
    """
    return x.is_cpu and _used and library() is not None


@contextmanager
def plain() -> Iterator[None]:
    """Context manager in which `on` and `there` return False: callers use PyTorch instead of the kernels."""
    global _used  # noqa: PLW0603 one switch for the process
    before, _used = _used, False
    try:
        yield
    finally:
        _used = before


def _learns(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def add(total: Tensor, x: Tensor) -> None:
    """Adds x (bfloat16) to `total` (fp32, of the same shape) in place, without an fp32 copy of x."""
    torch.ops.poziomka.add.default(total, x.contiguous())


def adamw(weight: Tensor, grad: Tensor, mean: Tensor, square: Tensor, *how: float) -> None:
    """Performs one AdamW step in place, on N weights.

    Args:
        weight: [N] fp32, updated.
        grad: [N] fp32.
        mean: [N] bfloat16, the first moment, updated.
        square: [N] bfloat16, the second moment, updated.
        how: six numbers: factor on the weights (1 - learning rate * weight decay), beta1, beta2, learning rate divided
            by the first moment's bias correction, square root of the second moment's bias correction, and epsilon.
    """
    torch.ops.poziomka.adamw.default(weight, grad, mean, square, *how)


# ------------------------------------------------------------------------------------------------------------- norm


def norm(x: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
    """Returns the RMSNorm of x over its last axis: x / sqrt(mean(x²) + epsilon) * (weight + offset).

    Args:
        x: [..., D].
        weight: [D].
        offset: added to the weight: 1 for Gemma's norms, else 0.
        epsilon: added to the mean square.

    Returns:
        [..., D].
    """
    if _learns(x, weight):
        out: Tensor = _Norm.apply(x, weight, offset, epsilon)
        return out
    return _norm(x, weight, offset, epsilon)


def _norm(x: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype)
    torch.ops.poziomka.norm.default(_rows(x), weight.contiguous(), offset, epsilon, out)
    return out


def _rows(x: Tensor) -> Tensor:
    """Returns x [..., D] as [N, D] with contiguous rows."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


class _Norm(torch.autograd.Function):
    """Autograd function of `norm`, which saves only its inputs for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
        """Returns x, normalised as by `norm`."""
        ctx.save_for_backward(x, weight)
        ctx.how = offset, epsilon
        return _norm(x, weight, offset, epsilon)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of x and of the weight, and None for offset and epsilon."""
        x, weight = ctx.saved_tensors
        back = torch.empty(x.shape, dtype=x.dtype)
        slope = torch.empty(torch.get_num_threads(), len(weight), dtype=torch.float32)
        given = (_rows(x), weight.contiguous(), *ctx.how, grad.contiguous())
        torch.ops.poziomka.norm_back.default(*given, back, slope)
        return back, slope.sum(0).to(weight.dtype), None, None


# ------------------------------------------------------------------------------------------------------ feed-forward


def gated(both: Tensor) -> Tensor:
    """Returns silu(gate) * up, [..., I], where `both` [..., 2 I] contains gate, then up, on its last axis."""
    if _learns(both):
        out: Tensor = _Gated.apply(both)
        return out
    return _gated(both)


def _gated(both: Tensor) -> Tensor:
    inner = both.shape[-1] // 2
    out = torch.empty((*both.shape[:-1], inner), dtype=both.dtype)
    torch.ops.poziomka.gated.default(both.reshape(-1, 2 * inner).contiguous(), out)
    return out


class _Gated(torch.autograd.Function):
    """Autograd function of `gated`, which saves only its input for the backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, both: Tensor) -> Tensor:
        """Returns silu(gate) * up, as `gated`."""
        ctx.save_for_backward(both)
        return _gated(both)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Returns the gradient of `both`, gate and up."""
        (both,) = ctx.saved_tensors
        rows = both.reshape(-1, both.shape[-1]).contiguous()
        back = torch.empty(both.shape, dtype=both.dtype)
        torch.ops.poziomka.gated_back.default(rows, grad.contiguous(), back)
        return back


# ---------------------------------------------------------------------------------------------------------- attention


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns heads x with rotary embeddings applied.

    Args:
        x: [B, T, H, C]; C is even.
        cos: [B or 1, T, 1, C] cosines of the angles, as `Rotary.at` returns them.
        sin: [B or 1, T, 1, C] sines of the angles, negative in the first half of C.
    """
    out: Tensor = _Rotate.apply(x, cos, sin)
    return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, *, back: bool) -> Tensor:
    batch, length, heads, width = x.shape
    out = torch.empty(x.shape, dtype=x.dtype)
    tokens = x.reshape(batch * length, heads, width)
    if tokens.stride(2) != 1 or (heads > 1 and tokens.stride(1) != width):
        tokens = tokens.clone(memory_format=torch.contiguous_format)
    angles = (each.expand(batch, -1, -1, -1).reshape(-1, width).contiguous() for each in (cos, sin))
    torch.ops.poziomka.rotate.default(tokens, *angles, back, out)
    return out


class _Rotate(torch.autograd.Function):
    """Autograd function of `rotate`; its backward pass is the inverse rotation."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Returns the rotated heads, as `rotate`."""
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, back=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of the heads, and None for cos and sin."""
        return _rotate(grad, *ctx.saved_tensors, back=True), None, None


def soften(scores: Tensor, start: Tensor, queries: int, scale: float, window: int) -> Tensor:
    """Returns the causal softmax of scale * scores, 0 at masked positions; overwrites the scores.

    Args:
        scores: [S, R, L] attention scores of R queries and L keys in each of S texts (or pairs of a text and a key
            head). Row r belongs to the query at position start[s] + r % queries, which attends to the keys up to that
            position.
        start: [S] integers, position of each text's first query.
        queries: number of queries of a text; R is a multiple of it if several heads share their keys.
        scale: factor on the scores.
        window: maximum number of positions that a query attends to, its own included; 0 for all.
    """
    out: Tensor = _Soften.apply(scores, start, queries, scale, window)
    return out


class _Soften(torch.autograd.Function):
    """Autograd function of `soften`, which saves its output for the backward pass."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, start: Tensor, queries: int, scale: float, window: int) -> Tensor:
        """Returns the attention weights, as `soften`, in the memory of the scores."""
        torch.ops.poziomka.soften.default(scores, start, queries, scale, window)
        ctx.mark_dirty(scores)
        ctx.save_for_backward(scores)
        ctx.scale = scale
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of the scores, and None for the other arguments; overwrites `grad`."""
        (weights,) = ctx.saved_tensors
        grad = grad.contiguous()  # overwritten below: the product with the values created it for this function alone
        torch.ops.poziomka.soften_back.default(weights.flatten(0, -2), ctx.scale, grad)
        return grad, None, None, None, None


def gather(x: Tensor, places: Tensor, entries: Tensor, ends: Tensor) -> Tensor:
    """Returns x[places] of a tensor on a CPU; the backward pass sums each position's gradients in a fixed order.

    PyTorch's own backward pass of x[places] adds fp32 gradients atomically, in an order that differs between runs where
    there are several threads. The kernel also sums bfloat16 in fp32.

    Args:
        x: [N, H, C].
        places: [S, L] indices into x.
        entries: flat indices into `places` (row-major) of the elements that receive a gradient, sorted by their value
            in `places`. Padding is left out.
        ends: [N] for each position of x, the end (exclusive) of its range in `entries`.

    Returns:
        [S, L, H, C].
    """
    out: Tensor = _Gather.apply(x, places, entries, ends)
    return out


class _Gather(torch.autograd.Function):
    """Autograd function of `gather`."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, places: Tensor, entries: Tensor, ends: Tensor) -> Tensor:
        """Returns x[places], as `gather`."""
        ctx.save_for_backward(entries, ends)
        return x[places]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of x, and None for the other arguments."""
        entries, ends = ctx.saved_tensors
        rows, shape = grad.contiguous().flatten(0, 1).flatten(1), (len(ends), *grad.shape[2:])
        if there(grad) and grad.dtype in (torch.bfloat16, torch.float32):
            out = torch.empty(shape, dtype=grad.dtype)
            torch.ops.poziomka.gather_back.default(rows, entries, ends, out.flatten(1))
        else:
            counts = torch.diff(ends, prepend=ends.new_zeros(1))
            out = torch.segment_reduce(rows[entries], "sum", lengths=counts, initial=0.0).view(shape)
        return out, None, None, None


def attend(
    heads: Tensor,
    value: Tensor,
    angles: tuple[Tensor, Tensor] | None,
    cache: tuple[Tensor, Tensor, Tensor],
    how: tuple[float, int],
) -> Tensor:
    """Returns the attention of one new token for each sequence, and writes its key and value into the cache.

    It computes no gradients. `B` sequences, `H` query heads, `K` key heads, `C` head width.

    Args:
        heads: [B, 1, H + K, C], queries, then keys.
        value: [B, 1, K, C].
        angles: rotary cos and sin, [B, 1, 1, C] each; None for no rotation.
        cache: keys and values [B, K, room, C], updated in place, and the position of the new token in each row [B].
        how: factor on the scores, and the maximum number of tokens to attend to (0: all).

    Returns:
        [B, 1, H C].
    """
    batch, _, both, width = heads.shape
    out = torch.empty(batch, 1, (both - value.shape[2]) * width, dtype=heads.dtype)
    cos, sin = (None, None) if angles is None else (each.reshape(batch, width) for each in angles)
    torch.ops.poziomka.attend.default(heads[:, 0], value[:, 0], cos, sin, *cache, *how, out)
    return out


def draw(logits: Tensor, uniform: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Samples one token for each row of logits by inverse transform sampling.

    Args:
        logits: [B, V] fp32.
        uniform: [B] numbers in [0, 1).
        temperature: [B]; 0 selects the most likely token.

    Returns:
        Token ids [B], and their log-probabilities [B] in nats, at the temperature (at 1 if it is 0).
    """
    token, logprob = torch.empty(len(logits), dtype=torch.long), torch.empty(len(logits), dtype=torch.float32)
    torch.ops.poziomka.draw.default(logits.contiguous(), temperature.float(), uniform.double(), token, logprob)
    return token, logprob
