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
    """Whether the kernels support this dtype and device; the first call for bfloat16 on a CPU may build the kernels."""
    return x.dtype is torch.bfloat16 and there(x)


def there(x: Tensor) -> bool:
    """Whether kernels are available on this tensor's device, for any dtype; the first call on a CPU may build them."""
    return x.is_cpu and _used and library() is not None


@contextmanager
def plain() -> Iterator[None]:
    """Context manager that turns the kernels off, to compare them with the PyTorch fallbacks."""
    global _used  # noqa: PLW0603 one switch for the process
    before, _used = _used, False
    try:
        yield
    finally:
        _used = before


def _learns(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def add(total: Tensor, x: Tensor) -> None:
    """Adds x to `total`, in fp32 and of the same shape, in place; PyTorch would first copy x to fp32."""
    torch.ops.poziomka.add.default(total, x.contiguous())


def adamw(weight: Tensor, grad: Tensor, mean: Tensor, square: Tensor, *how: float) -> None:
    """Performs an AdamW step in place; see learning/optim/adamw.py for the numbers in `how`.

    All tensors are [N]; weights and gradient are in fp32, the moments in bfloat16.
    """
    torch.ops.poziomka.adamw.default(weight, grad, mean, square, *how)


# ------------------------------------------------------------------------------------------------------------- norm


def norm(x: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
    """Returns x / rms(x) * (weight + offset) over the last axis, in x's shape."""
    if _learns(x, weight):
        out: Tensor = _Norm.apply(x, weight, offset, epsilon)
        return out
    return _norm(x, weight, offset, epsilon)


def _norm(x: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype)
    torch.ops.poziomka.norm.default(_rows(x), weight.contiguous(), offset, epsilon, out)
    return out


def _rows(x: Tensor) -> Tensor:
    """Returns [..., D] as [N, D] with contiguous rows."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


class _Norm(torch.autograd.Function):
    """RMSNorm that saves only its inputs for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
        """See norm."""
        ctx.save_for_backward(x, weight)
        ctx.how = offset, epsilon
        return _norm(x, weight, offset, epsilon)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of the input and of the weight."""
        x, weight = ctx.saved_tensors
        back = torch.empty(x.shape, dtype=x.dtype)
        slope = torch.empty(torch.get_num_threads(), len(weight), dtype=torch.float32)
        given = (_rows(x), weight.contiguous(), *ctx.how, grad.contiguous())
        torch.ops.poziomka.norm_back.default(*given, back, slope)
        return back, slope.sum(0).to(weight.dtype), None, None


# ------------------------------------------------------------------------------------------------------ feed-forward


def gated(both: Tensor) -> Tensor:
    """Returns silu(gate) * up, [..., I], for `both` [..., 2 I] with the gate first."""
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
    """Gated activation that saves only its input for the backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, both: Tensor) -> Tensor:
        """See gated."""
        ctx.save_for_backward(both)
        return _gated(both)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Returns the gradient of gate and up."""
        (both,) = ctx.saved_tensors
        rows = both.reshape(-1, both.shape[-1]).contiguous()
        back = torch.empty(both.shape, dtype=both.dtype)
        torch.ops.poziomka.gated_back.default(rows, grad.contiguous(), back)
        return back


# ---------------------------------------------------------------------------------------------------------- attention


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary embeddings to heads [B, T, H, C]; cos and sin are [B or 1, T, 1, C], and C is even."""
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
    """Rotation whose backward pass is the inverse rotation."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """See rotate."""
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, back=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of the heads."""
        return _rotate(grad, *ctx.saved_tensors, back=True), None, None


def soften(scores: Tensor, start: Tensor, queries: int, scale: float, window: int) -> Tensor:
    """Returns the causal softmax of scale * scores, 0 at masked positions; overwrites the scores.

    Args:
        scores: [S, R, L]; row r is the query at position start[s] + r % queries of its text and attends up to there.
        start: [S] integers.
        queries: number of queries of a text.
        scale: factor on the scores.
        window: maximum number of positions that a query attends to, its own included; 0 for all.
    """
    out: Tensor = _Soften.apply(scores, start, queries, scale, window)
    return out


class _Soften(torch.autograd.Function):
    """In-place causal softmax that saves its output for the backward pass."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, start: Tensor, queries: int, scale: float, window: int) -> Tensor:
        """See soften."""
        torch.ops.poziomka.soften.default(scores, start, queries, scale, window)
        ctx.mark_dirty(scores)
        ctx.save_for_backward(scores)
        ctx.scale = scale
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of the scores."""
        (weights,) = ctx.saved_tensors
        grad = grad.contiguous()  # overwritten below: the product with the values created it for this function alone
        torch.ops.poziomka.soften_back.default(weights.flatten(0, -2), ctx.scale, grad)
        return grad, None, None, None, None


def gather(x: Tensor, places: Tensor, entries: Tensor, ends: Tensor) -> Tensor:
    """Returns x[places]; the backward pass sums the gradients of each position in fp32.

    Args:
        x: [N, H, C].
        places: [S, L] indices into x.
        entries: flat indices into `places` (row-major) that receive a gradient, sorted by their value in `places`.
        ends: [N] end of each position's range in `entries`.

    Returns:
        [S, L, H, C].
    """
    out: Tensor = _Gather.apply(x, places, entries, ends)
    return out


class _Gather(torch.autograd.Function):
    """Gather whose backward pass reduces the gradients with a kernel."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, places: Tensor, entries: Tensor, ends: Tensor) -> Tensor:
        """See gather."""
        ctx.save_for_backward(entries, ends)
        return x[places]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient of x."""
        entries, ends = ctx.saved_tensors
        out = torch.empty((len(ends), *grad.shape[2:]), dtype=grad.dtype)
        torch.ops.poziomka.gather_back.default(
            grad.contiguous().flatten(0, 1).flatten(1), entries, ends, out.flatten(1)
        )
        return out, None, None, None


def attend(
    heads: Tensor,
    value: Tensor,
    angles: tuple[Tensor, Tensor] | None,
    cache: tuple[Tensor, Tensor, Tensor],
    how: tuple[float, int],
) -> Tensor:
    """Attention of one new token for each sequence, whose key and value it writes into the cache; no gradient.

    Args:
        heads: [B, 1, H + K, C], queries, then keys.
        value: [B, 1, K, C].
        angles: rotary cos and sin, [B, 1, 1, C] each; None for no rotation.
        cache: keys and values [B, K, room, C], and the position of the new token in each row [B].
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
    """Samples tokens [B] with log-probabilities [B] from logits [B, V] in fp32; see inference/token_sampling.py."""
    token, logprob = torch.empty(len(logits), dtype=torch.long), torch.empty(len(logits), dtype=torch.float32)
    torch.ops.poziomka.draw.default(logits.contiguous(), temperature.float(), uniform.double(), token, logprob)
    return token, logprob
