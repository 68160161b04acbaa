"""The gated feed-forward layer SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

import torch
from torch import Tensor, nn


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), with gate and up as one product."""

    def __init__(self, width: int, inner: int) -> None:
        """Makes both products without biases."""
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., width]."""
        gate, up = self.gate_up(x).chunk(2, -1)
        out: Tensor = self.down(nn.functional.silu(gate) * up)
        return out

    def exported(self, prefix: str) -> dict[str, Tensor]:
        """Returns the weights under the Llama family's names."""
        gate, up = self.gate_up.weight.detach().chunk(2)
        return {
            f"{prefix}.gate_proj.weight": gate.contiguous(),
            f"{prefix}.up_proj.weight": up.contiguous(),
            f"{prefix}.down_proj.weight": self.down.weight.detach(),
        }

    def imported(self, prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns this layer's own state from weights under the Llama family's names."""
        gate, up = weights[f"{prefix}.gate_proj.weight"], weights[f"{prefix}.up_proj.weight"]
        return {"gate_up.weight": torch.cat([gate, up]), "down.weight": weights[f"{prefix}.down_proj.weight"]}
