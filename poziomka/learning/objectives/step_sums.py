"""Sums over the trained tokens of one optimizer step, and the metrics computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor

from poziomka.learning.objectives.loss_inputs import LossInputs, Terms
from poziomka.learning.objectives.losses import mismatch_kl

ADDED = ("tokens/trained", "tokens/learned_from")  # metrics summed over minibatches; all others are averaged


@dataclass
class Sums:
    """Totals over the trained tokens of an optimizer step, to which each pass adds its own.

    Attributes:
        policy_loss: policy-gradient loss.
        next_token_loss: next-token loss.
        divergence: weighted KL divergence from the reference.
        entropy: entropy at the tokens with a policy gradient, in nats.
        mismatch: k3 estimate of KL(sampler ‖ learner before the batch's first step), in nats.
        moved: k3 estimate of KL(learner before the batch's first step ‖ learner now), in nats.
        corrections: importance weights of the tokens with a policy gradient.
        cut: number of tokens whose importance weight was truncated.
        clipped: number of tokens clipped by the surrogate.
        policy_tokens: number of tokens with a policy gradient.
        tokens: number of all trained tokens.
    """

    policy_loss: float = 0.0
    next_token_loss: float = 0.0
    divergence: float = 0.0
    entropy: float = 0.0
    mismatch: float = 0.0
    moved: float = 0.0
    corrections: float = 0.0
    cut: float = 0.0
    clipped: float = 0.0
    policy_tokens: int = 0
    tokens: int = 0

    @property
    def loss(self) -> float:
        """Sum of the three loss terms."""
        return self.policy_loss + self.next_token_loss + self.divergence

    def add(self, terms: Terms, tokens: LossInputs, logp: Tensor, certainty: Tensor) -> None:
        """Adds the results of one pass.

        Args:
            terms: loss terms of the pass.
            tokens: its `M` trained tokens.
            logp: [M] their log-probabilities.
            certainty: [M] negative entropy of the distribution at each token, nats.
        """
        sampled = tokens.policy != 0
        self.policy_loss += float(terms.policy)
        self.next_token_loss += float(terms.imitation)
        self.divergence += 0.0 if terms.divergence is None else float(terms.divergence)
        self.tokens += len(logp)
        self.policy_tokens += int(sampled.sum())
        if not self.policy_tokens:
            return
        before = tokens.before(logp)[sampled]
        self.entropy -= float(certainty[sampled].sum())
        self.mismatch += float(mismatch_kl(before, tokens.logq[sampled]))
        self.moved += float(mismatch_kl(logp[sampled], before))
        self.corrections += float(terms.correction[sampled].sum())
        self.cut += float(terms.cut[sampled].sum())
        self.clipped += float(terms.clipped)

    def metrics(self) -> dict[str, float]:
        """Returns loss/policy, and policy/… as means over the tokens with a policy gradient; {} without such tokens."""
        if not self.policy_tokens:
            return {}
        return {
            "loss/policy": self.policy_loss,
            "policy/entropy": self.entropy / self.policy_tokens,
            "policy/mismatch_kl": self.mismatch / self.policy_tokens,
            "policy/moved_kl": self.moved / self.policy_tokens,
            "policy/correction_mean": self.corrections / self.policy_tokens,
            "policy/correction_cut_share": self.cut / self.policy_tokens,
            "policy/clip_share": self.clipped / self.policy_tokens,
        }


def over_minibatches(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the metrics of a batch from those of its optimizer steps: token counts are summed, the rest averaged."""
    names = dict.fromkeys(name for metrics in steps for name in metrics)
    found = {name: [metrics[name] for metrics in steps if name in metrics] for name in names}
    return {name: sum(values) if name in ADDED else fmean(values) for name, values in found.items()}
