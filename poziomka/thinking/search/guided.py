"""Value-guided decoding: the next step is drawn from the policy, tilted by the judge's value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.seeds import random_of
from poziomka.thinking.search.base import Search, value_of
from poziomka.thinking.search.steps import demand
from poziomka.thinking.search.tree import Node, Tree

Policy = Literal["frequency", "probability"]


@dataclass(frozen=True, kw_only=True)
class ValueGuided(Search):
    """Value-guided decoding: each step a is drawn with probability ∝ π(a) · exp(β · Q(a)) among sampled candidates.

    This is the optimal policy of reward maximisation with a KL penalty of weight 1 / β towards π, if Q is exact
    (Mudgal et al. 2024, controlled decoding, arXiv 2310.17022). That OpenAI's "Q*" was decoding guided by a learned Q
    of steps is our conjecture; nothing published confirms it.

    Attributes:
        width: number of candidates for each step, 1 or more.
        beta: inverse temperature β of the value, 0 or more; 0 samples from the policy, and a large one takes the best
            candidate.
        policy: estimate of π(a). frequency: candidates are samples of the policy, so each has the weight exp(β · Q)
            alone, and equal ones add up. probability: equal candidates are merged, and π(a) is the exponential of the
            sum of the step's log-probabilities, which favours short steps.
    """

    name: ClassVar[str] = "value-guided"

    width: int = 4
    beta: float = 8.0
    policy: Policy = "frequency"

    def check(self) -> None:
        """Raises SettingsError if a setting is out of range."""
        demand("width", self.width, "1 or more", holds=self.width >= 1)
        demand("beta", self.beta, "0 or more, and finite", holds=0 <= self.beta < math.inf)
        if self.policy not in get_args(Policy):
            message = f"unknown policy {self.policy!r}{nearest(self.policy, get_args(Policy))}"
            raise SettingsError(message)

    async def search(self, tree: Tree) -> Sequence[Node]:
        """Returns the one reply that was completed; none if every candidate of a step failed."""
        node = tree.root
        while not node.done:
            candidates = await tree.grow([(node, self.width)])
            if not candidates:
                return []
            random = random_of(tree.request.params.seed, self.name, "choice", len(node.path))
            (node,) = random.choices(candidates, self.probabilities(candidates))
            tree.keep([node])
        return [node]

    def probabilities(self, candidates: Sequence[Node]) -> list[float]:
        """Returns the probability of each candidate, ∝ π · exp(β · Q); merged candidates are in the first of them.

        Raises:
            SettingsError: the policy is "probability", and the sampler returns no log-probabilities.
        """
        logits = [self.beta * value_of(node) for node in candidates]
        if self.policy == "probability":
            logits = [logit + sum(_logprobs(node)) for logit, node in zip(logits, candidates, strict=True)]
            texts = [node.transcript.text for node in candidates]
            logits = [
                -math.inf if text in texts[:number] else logit
                for number, (logit, text) in enumerate(zip(logits, texts, strict=True))
            ]
        largest = max(logits)
        raw = [math.exp(logit - largest) for logit in logits]
        return [weight / sum(raw) for weight in raw]


def _logprobs(node: Node) -> list[float]:
    logprobs = node.logprobs
    if logprobs is None:
        message = 'policy "probability" needs log-probabilities, which this sampler does not return; use "frequency"'
        raise SettingsError(message)
    return logprobs
