"""Gated feed-forward layers (Shazeer 2020, arXiv 2002.05202)."""

from torch import Tensor, nn

from poziomka.models.kernels import ops as kernels
from poziomka.models.layers.linear import Linear

GATES = {"silu": nn.SiLU, "gelu_tanh": lambda: nn.GELU(approximate="tanh")}


class SwiGLU(nn.Module):
    """Gated feed-forward layer: down(act(gate(x)) * up(x)), with gate and up as one fused product.

    Args:
        width: width of the residual stream.
        inner: hidden width.
        gate: activation function act: `silu` (SwiGLU) or `gelu_tanh` (GeGLU).
    """

    def __init__(self, width: int, inner: int, gate: str = "silu") -> None:
        """Creates the fused product of gate and up, and the product down, without biases."""
        super().__init__()
        self.gate_up = Linear(width, 2 * inner, bias=False)
        self.down = Linear(inner, width, bias=False)
        self.gate = GATES[gate]()
        self.compiled = gate == "silu"  # the only activation with a kernel

    def forward(self, x: Tensor) -> Tensor:
        """Returns the layer's output [..., width] for x [..., width]."""
        both = self.gate_up(x)
        if self.compiled and kernels.on(both):
            inside = kernels.gated(both)
        else:
            gate, up = both.chunk(2, -1)
            inside = self.gate(gate) * up
        out: Tensor = self.down(inside)
        return out
