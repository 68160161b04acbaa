"""Calls of the kernels in native/, with their gradients: bfloat16 on a CPU.

Who calls asks `on` first, and has a plain expression for everywhere else. Both give the same numbers up to rounding:
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
    """Whether the kernels serve a tensor like this one; the first time for bfloat16 on a CPU they may be built."""
    return x.dtype is torch.bfloat16 and there(x)


def there(x: Tensor) -> bool:
    """Whether there are kernels where a tensor is, whatever its type; the first time they may be built."""
    return x.is_cpu and _used and library() is not None


@contextmanager
def plain() -> Iterator[None]:
    """Lets the plain expressions work inside, for whoever compares."""
    global _used  # noqa: PLW0603 one switch for the process
    before, _used = _used, False
    try:
        yield
    finally:
        _used = before


def _learns(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def add(total: Tensor, x: Tensor) -> None:
    """Adds x to a total in fp32 of its shape, in place; PyTorch would make a copy of x in fp32 first."""
    torch.ops.poziomka.add.default(total, x.contiguous())


def adamw(weight: Tensor, grad: Tensor, mean: Tensor, square: Tensor, *how: float) -> None:
    """Takes a step in place, [N] each: see learning/optim/adamw.py.

    Weights and gradient are in fp32, moments in bfloat16.
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
    """[..., D] to [N, D], each row in one piece."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


class _Norm(torch.autograd.Function):
    """The norm, keeping its input only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
        """See norm."""
        ctx.save_for_backward(x, weight)
        ctx.how = offset, epsilon
        return _norm(x, weight, offset, epsilon)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By the input and by the weight."""
        x, weight = ctx.saved_tensors
        back = torch.empty(x.shape, dtype=x.dtype)
        slope = torch.empty(torch.get_num_threads(), len(weight), dtype=torch.float32)
        given = (_rows(x), weight.contiguous(), *ctx.how, grad.contiguous())
        torch.ops.poziomka.norm_back.default(*given, back, slope)
        return back, slope.sum(0).to(weight.dtype), None, None


# ------------------------------------------------------------------------------------------------------ feed-forward


def gated(both: Tensor) -> Tensor:
    """Returns silu(gate) * up, [..., I] of [..., 2 I], where the gate comes first."""
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
    """The gate, keeping its input only."""

    @staticmethod
    def forward(ctx: FunctionCtx, both: Tensor) -> Tensor:
        """See gated."""
        ctx.save_for_backward(both)
        return _gated(both)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """By gate and up."""
        (both,) = ctx.saved_tensors
        rows = both.reshape(-1, both.shape[-1]).contiguous()
        back = torch.empty(both.shape, dtype=both.dtype)
        torch.ops.poziomka.gated_back.default(rows, grad.contiguous(), back)
        return back


# ---------------------------------------------------------------------------------------------------------- attention


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns heads [B, T, H, C] turned by cos and sin [B or 1, T, 1, C]; C is even."""
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
    """Turning, whose gradient turns back."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """See rotate."""
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, back=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By the heads."""
        return _rotate(grad, *ctx.saved_tensors, back=True), None, None


def soften(scores: Tensor, start: Tensor, queries: int, scale: float, window: int) -> Tensor:
    """Returns softmax(scale * scores) over what may be seen, 0 elsewhere; the scores are overwritten.

    Args:
        scores: [S, R, L]; row r is the query at place start[s] + r % queries of its text and sees up to there.
        start: [S] whole numbers.
        queries: of a text.
        scale: of the scores.
        window: how many places it sees at most; 0 for all.
    """
    out: Tensor = _Soften.apply(scores, start, queries, scale, window)
    return out


class _Soften(torch.autograd.Function):
    """Softmax in place, keeping what it gives."""

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
        """By the scores."""
        (weights,) = ctx.saved_tensors
        grad = grad.contiguous()  # made for this alone by the product with the values
        torch.ops.poziomka.soften_back.default(weights.flatten(0, -2), ctx.scale, grad)
        return grad, None, None, None, None


def gather(x: Tensor, places: Tensor, entries: Tensor, ends: Tensor) -> Tensor:
    """Returns x[places] for x [N, H, C]; backward the entries of each place are summed in fp32.

    Args:
        x: [N, H, C].
        places: [S, L].
        entries: numbers of the entries of `places` (row-major) that count, ordered by their place.
        ends: [N] where in `entries` each place's end.
    """
    out: Tensor = _Gather.apply(x, places, entries, ends)
    return out


class _Gather(torch.autograd.Function):
    """Reading many times what stands once."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, places: Tensor, entries: Tensor, ends: Tensor) -> Tensor:
        """See gather."""
        ctx.save_for_backward(entries, ends)
        return x[places]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By x."""
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
    """Takes one new token a row into the caches and returns what its queries see there, [B, 1, H C]; no gradient.

    Args:
        heads: [B, 1, H + K, C], queries, then keys.
        value: [B, 1, K, C].
        angles: cos and sin, [B, 1, 1, C] each; None where nothing is turned.
        cache: keys and values [B, K, room, C], and the rows' lengths [B], which are the places of the new token.
        how: what scores are multiplied by, and how many tokens may be seen at most (0: all).
    """
    batch, _, both, width = heads.shape
    out = torch.empty(batch, 1, (both - value.shape[2]) * width, dtype=heads.dtype)
    cos, sin = (None, None) if angles is None else (each.reshape(batch, width) for each in angles)
    torch.ops.poziomka.attend.default(heads[:, 0], value[:, 0], cos, sin, *cache, *how, out)
    return out


def draw(logits: Tensor, uniform: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Returns tokens [B] and their log-probabilities [B] for logits [B, V] in fp32: see inference/token_sampling.py."""
    token, logprob = torch.empty(len(logits), dtype=torch.long), torch.empty(len(logits), dtype=torch.float32)
    torch.ops.poziomka.draw.default(logits.contiguous(), temperature.float(), uniform.double(), token, logprob)
    return token, logprob
