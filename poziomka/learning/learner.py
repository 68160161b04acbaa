"""One learner for every method: it knows weights on tokens, not where they come from."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from poziomka.core.errors import LearningError
from poziomka.core.settings import setting
from poziomka.learning.batch import Batch
from poziomka.learning.losses import SurrogateSettings, mismatch_kl, next_token, policy_gradient
from poziomka.learning.optimizers import OptimizerSettings, adamw
from poziomka.models.architecture import Architecture


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """How a batch becomes a step."""

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    places: int = setting(8192, "most places in one forward and backward pass; a batch of more is accumulated", low=1)


@dataclass
class Sums:
    """Totals over the learned tokens of a step."""

    policy_loss: float = 0.0
    next_token_loss: float = 0.0
    entropy: float = 0.0
    mismatch: float = 0.0
    clipped: float = 0.0
    policy_tokens: int = 0
    tokens: int = 0


class Learner:
    """Holds the weights that learn and their optimizer.

    Args:
        model: learns in place.
        settings: optimizer, surrogate, size of a pass.
        temperature: the sampler's; log-probabilities of what it wrote are taken at it. Imitation is at 1.
    """

    def __init__(self, model: Architecture, settings: LearnerSettings, temperature: float = 1.0) -> None:
        """Starts with a fresh optimizer."""
        self.model, self.settings, self.temperature = model, settings, temperature
        self.optimizer = adamw(model, settings.optimizer)

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """Takes one optimizer step and returns its metrics; a batch without any weight changes nothing.

        Raises:
            LearningError: the loss or the gradient is not a number, and the weights are left as they were; or the
                step itself overflowed.
        """
        if not (batch.policy_weight.any() or batch.imitate_weight.any()):
            return {"tokens/trained": 0.0}
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums = Sums()
        for part in batch.split(self.settings.places):
            self._accumulate(part.to(self.model.device), sums)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip or torch.inf))
        if not torch.isfinite(torch.tensor([norm, sums.policy_loss, sums.next_token_loss])).all():
            self.optimizer.zero_grad(set_to_none=True)
            message = (
                f"the loss is {sums.policy_loss + sums.next_token_loss} and the gradient's norm {norm}: the step was "
                f"not taken, what was saved before is intact; train in another folder with a lower rate than {rate:g}"
            )
            raise LearningError(message)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if not torch.isfinite(nn.utils.get_total_norm(self.model.parameters())):
            message = (
                f"a step at rate {rate:g} left weights that are not finite: they were not saved, what was saved before "
                "is intact; train in another folder with a lower rate"
            )
            raise LearningError(message)
        return self._metrics(batch, sums, norm, rate)

    def _accumulate(self, part: Batch, sums: Sums) -> None:
        """Adds a part's gradient; logits are made only where a token is learned from."""
        policy, imitate = part.policy_weight[:, 1:], part.imitate_weight[:, 1:]
        learned = (policy != 0) | (imitate != 0)
        hidden = self.model(part.tokens, packing=part.packing)[:, :-1][learned]
        policy, imitate, logq = policy[learned], imitate[learned], part.logprobs[:, 1:][learned]
        temperature = torch.where(policy != 0, self.temperature, 1.0)  # who imitates was not sampled from
        logprobs = torch.log_softmax(self.model.logits(hidden) / temperature.unsqueeze(1), -1)
        logp = logprobs.gather(1, part.tokens[:, 1:][learned].unsqueeze(1)).squeeze(1)
        surrogate, clipped = policy_gradient(logp, logq, policy, self.settings.surrogate)
        imitation = next_token(logp, imitate)
        (surrogate + imitation).backward()
        with torch.no_grad():
            sampled = policy != 0
            sums.policy_loss += float(surrogate)
            sums.next_token_loss += float(imitation)
            sums.tokens += len(logp)
            sums.policy_tokens += int(sampled.sum())
            if sums.policy_tokens:
                sums.entropy -= float((logprobs.exp() * logprobs).sum(1)[sampled].sum())
                sums.mismatch += float(mismatch_kl(logp[sampled], logq[sampled]))
                sums.clipped += float(clipped)

    def _metrics(self, batch: Batch, sums: Sums, norm: float, rate: float) -> dict[str, float]:
        metrics = {
            "policy/grad_norm": norm,
            "learning/rate": rate,
            "tokens/trained": float(batch.real),
            "tokens/learned_from": float(sums.tokens),
            "tokens/real_share": batch.real_share,
        }
        if sums.policy_tokens:
            metrics |= {
                "loss/policy": sums.policy_loss,
                "policy/entropy": sums.entropy / sums.policy_tokens,
                "policy/mismatch_kl": sums.mismatch / sums.policy_tokens,
                "policy/clip_share": sums.clipped / sums.policy_tokens,
            }
        if sums.tokens > sums.policy_tokens:
            metrics["loss/next_token"] = sums.next_token_loss
        return metrics

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the weights as they are now, for a sampler to copy."""
        return {name: tensor.detach() for name, tensor in self.model.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Returns a copy of the optimizer's state."""
        return copy.deepcopy(self.optimizer.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes a copy of a state that `state` returned."""
        self.optimizer.load_state_dict(copy.deepcopy(dict(state)))
