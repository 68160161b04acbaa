"""A gated linear recurrence: a state of fixed size instead of a key-value cache.

Each head has a state matrix S that decays by a gate a and accumulates outer products, S ← a·S + v kᵀ; a query q reads
it as o = S q (Yang et al. 2024, arXiv 2312.06635, with one gate for each head as in Mamba-2, arXiv 2405.21060). Over a
whole sequence this equals attention whose weights are products of the gates; both forms agree up to rounding.
"""

import torch
from torch import Tensor, nn

from poziomka.models.layers.norm import RMSNorm

TAPS = 4  # width, in tokens, of the short convolution before the recurrence


class Recurrence(nn.Module):
    """Gated linear recurrence, which mixes the tokens of a sequence through a state of fixed size.

    A short convolution over 4 tokens (TAPS) precedes the recurrence. The decode state of a sequence is the
    convolution's last inputs [TAPS-1, 3D] and one state matrix for each head, [H, C, C].

    Args:
        width: width D of the residual stream, a multiple of `heads`.
        heads: number of heads H; each has width C = D / H.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Initialises the gates near 1: slow decay, with time constants from 2 to 128 tokens in the different heads."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gate = nn.Linear(width, heads)
        self.taps = nn.Parameter(torch.empty(TAPS, 3 * width))
        self.norm = RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            self.taps.uniform_(-(TAPS**-0.5), TAPS**-0.5)
            self.gate.bias.copy_(torch.linspace(1.0, 7.0, heads).exp2().log())

    def forward(
        self, x: Tensor, past: Tensor, state: Tensor, real: Tensor, visible: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Applies the recurrence to new tokens of a batch; returns the output, and the new decode state.

        `B` sequences, `T` new tokens, `D` width, `H` heads, `C` head width; TAPS is 4.

        Args:
            x: [B, T, D].
            past: [B, TAPS-1, 3D] earlier inputs of the convolution, oldest first.
            state: [B, H, C, C] state matrices.
            real: [B, T] False for padding, which follows the real tokens.
            visible: [B, T, T] True where token t (second axis) is at or after token s (third axis) of the same
                sequence.

        Returns:
            The output [B, T, D], and the new `past` and `state`.
        """
        batch, length, width = x.shape
        inputs = torch.cat([past, self.qkv(x)], 1)
        if length == 1:
            return self._step(x, inputs, state, real)
        own = torch.cat(
            [visible.new_ones(batch, length, TAPS - 1) & visible[:, :, :1], visible], 2
        )  # the earlier inputs belong to the sequence of token 0
        taps = torch.arange(length, device=x.device).unsqueeze(1) + TAPS - 1 - torch.arange(TAPS, device=x.device)
        seen = own.gather(2, taps.expand(batch, -1, -1)).unsqueeze(-1)
        mixed = nn.functional.silu((inputs[:, taps] * seen * self.taps).sum(2))
        query, key, value = mixed.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        key = nn.functional.normalize(key, dim=-1) * real[:, None, :, None]
        fading = (nn.functional.logsigmoid(self.gate(x)) * real.unsqueeze(-1)).transpose(1, 2).cumsum(2)
        between = (fading.unsqueeze(3) - fading.unsqueeze(2)).masked_fill(~visible.unsqueeze(1), -torch.inf).exp()
        out = (query @ key.transpose(2, 3) * between) @ value
        out = out + (query @ state) * (fading.exp() * visible[:, None, :, 0]).unsqueeze(-1)
        last = (fading[:, :, -1:] - fading).exp().unsqueeze(-1)
        state = state * fading[:, :, -1].exp()[:, :, None, None] + (key * last).transpose(2, 3) @ value
        ends = real.sum(1).long().unsqueeze(1) + torch.arange(TAPS - 1, device=x.device)
        past = inputs.gather(1, ends.unsqueeze(2).expand(-1, -1, inputs.shape[2]))
        return self.out(self.norm(out).transpose(1, 2).reshape(batch, length, width)), past, state

    def _step(self, x: Tensor, inputs: Tensor, state: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the same as `forward`, for one new token of each sequence, the common case of decoding.

        Args:
            x: [B, 1, D].
            inputs: [B, TAPS, 3D] inputs of the convolution, that of the new token last.
            state: [B, H, C, C] state matrices.
            real: [B, 1] False for padding.
        """
        mixed = nn.functional.silu((inputs * self.taps.flip(0)).sum(1))
        query, key, value = mixed.view(len(x), 3, self.heads, -1).unbind(1)
        counts = real.unsqueeze(2)
        key = nn.functional.normalize(key, dim=-1) * counts
        fade = torch.where(counts, self.gate(x[:, 0]).sigmoid().unsqueeze(2), 1.0).unsqueeze(3)
        state = torch.addcmul(state * fade, key.unsqueeze(3), value.unsqueeze(2))
        out = (query.unsqueeze(2) @ state).squeeze(2)
        past = torch.where(counts, inputs[:, 1:], inputs[:, :-1])
        return self.out(self.norm(out).reshape(len(x), 1, -1)), past, state
