"""Optimizers (AdamW, Muon) and the learning-rate schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from poziomka.core.errors import SettingsError
from poziomka.core.settings import setting
from poziomka.learning.optim.adamw import RoundedAdamW
from poziomka.learning.optim.muon import Muon

SLOWEST = 0.99  # largest beta2 with which bfloat16 moments still change
LARGE = 2**24  # number of weights above which the temporaries of a foreach step take too much memory


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Settings of the optimizer and of the learning-rate schedule; `kind` selects the optimizer.

    adamw  Loshchilov & Hutter 2019, arXiv 1711.05101
    muon   the momentum of every matrix inside the blocks is orthogonalised by five Newton-Schulz steps, with Nesterov
           momentum 0.95 (Jordan 2024, kellerjordan.github.io/posts/muon), and scaled by 0.2 √(longer side), so that
           AdamW's learning rates and decay apply (Liu et al. 2025, arXiv 2502.16982, section 2.2); AdamW updates all
           other weights. Fused matrices (queries, keys and values; gate and up) count as one matrix.
    """

    kind: Literal["adamw", "muon"] = setting("adamw", "adamw or muon")
    learning_rate: float = setting(2e-4, "highest learning rate", low=0.0)
    warmup_steps: int = setting(5, "steps of the linear warmup", low=0)
    decay_ratio: float = setting(0.5, "share of the steps in the linear decay, at the end", low=0.0, high=1.0)
    min_lr_ratio: float = setting(0.05, "final learning rate, as a share of the highest", low=0.0, high=1.0)
    beta1: float = setting(0.9, "decay of the mean gradient", low=0.0, high=1.0)
    beta2: float = setting(0.95, "decay of the mean squared gradient", low=0.0, high=1.0)
    weight_decay: float = setting(0.0, "weight decay of matrices; norms and biases have none", low=0.0)
    max_grad_norm: float = setting(1.0, "maximum norm of the gradient, which is clipped to it", low=0.0)
    moments: Literal["float32", "bfloat16"] = setting(
        "float32", "precision of AdamW's moments; bfloat16 takes half the memory and needs beta2 of at most 0.99"
    )

    def __post_init__(self) -> None:
        """Raises SettingsError if beta2 is too large for bfloat16 moments, whose spacing is 1/128 to 1/256."""
        if self.moments == "bfloat16" and self.beta2 > SLOWEST:
            message = (
                f"optimizer.beta2 is {self.beta2:g}, and moments in bfloat16 are too coarse for steps of "
                f"{1 - self.beta2:.2g} of themselves: set beta2 to {SLOWEST} or less, or moments to float32"
            )
            raise SettingsError(message)

    def rate_at(self, step: int, share: float) -> float:
        """Returns the learning rate of a step: linear warm-up, constant, then linear decay to its floor.

        The floor is `min_lr_ratio` × `learning_rate`.

        Args:
            step: number of the step, from 1.
            share: share of the stage that was done before the step, 0 to 1.
        """
        rise = min(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        left = (1.0 - share) / self.decay_ratio if self.decay_ratio else 1.0
        return self.learning_rate * rise * max(self.min_lr_ratio, min(1.0, left))


class Optimizers:
    """Several PyTorch optimizers over disjoint weights that step as one.

    Args:
        parts: the optimizers; their weights are numbered consecutively in this order.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        """Stores the optimizers."""
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all parts, in their order."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """Takes a step with every part."""
        for part in self.parts:
            part.step()

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Clears the gradients of all weights."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of every weight by its number, and the parameter groups; tensors are not copied."""
        state: dict[int, Any] = {}
        for start, part in zip(self._starts(), self.parts, strict=True):
            state |= {start + number: dict(tensors) for number, tensors in part.state_dict()["state"].items()}
        return {"state": state, "param_groups": [self._plain(group) for group in self.param_groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads the states from a result of `state_dict`; the settings of the groups are not changed."""
        starts = [*self._starts(), sum(len(group["params"]) for group in self.param_groups)]
        for start, stop, part in zip(starts, starts[1:], self.parts, strict=False):
            own = {number - start: tensors for number, tensors in state["state"].items() if start <= number < stop}
            part.load_state_dict({"state": own, "param_groups": part.state_dict()["param_groups"]})

    def _starts(self) -> list[int]:
        counts = [sum(len(group["params"]) for group in part.param_groups) for part in self.parts]
        return [sum(counts[:number]) for number in range(len(counts))]

    def _plain(self, group: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in group.items() if name != "params"}


def optimizer_of(parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> Optimizers:
    """Creates the optimizer of the settings (AdamW, or Muon with AdamW) for weights given by name.

    AdamW has two groups: matrices, with weight decay, then vectors, without. With kind "muon", a Muon part for the
    matrices inside the blocks comes first.

    Args:
        parameters: weights to update by name, in fp32.
        settings: optimizer, learning rate and decay.
    """
    inner = {name for name, each in parameters.items() if settings.kind == "muon" and _turns_vectors(name, each)}
    rest = [parameter for name, parameter in parameters.items() if name not in inner]
    groups = [
        {"params": [p for p in rest if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    adamw: torch.optim.Optimizer
    if settings.moments == "bfloat16":
        adamw = RoundedAdamW(groups, settings.learning_rate, betas)
    else:
        large = sum(parameter.numel() for parameter in rest) > LARGE
        adamw = torch.optim.AdamW(groups, settings.learning_rate, betas, fused=large, foreach=not large)
    if not inner:
        return Optimizers([adamw])
    matrices = [parameter for name, parameter in parameters.items() if name in inner]
    decay = settings.weight_decay
    inner_part = Muon(matrices, lr=settings.learning_rate, weight_decay=decay)
    return Optimizers([inner_part, adamw])


def kept_bytes(parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> int:
    """Returns the bytes of optimizer state for weights by name: one fp32 momentum (Muon) or two moments (AdamW)."""
    inner = sum(each.numel() for name, each in parameters.items() if _turns_vectors(name, each))
    rest = sum(each.numel() for each in parameters.values())
    inner = inner if settings.kind == "muon" else 0
    return 4 * inner + (4 if settings.moments == "bfloat16" else 8) * (rest - inner)


def _turns_vectors(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon may update a weight: a matrix inside the blocks, not an embedding, head or convolution taps."""
    return parameter.dim() == 2 and not name.startswith(("embedding.", "head.")) and not name.endswith("taps")
