"""Consistency checks of every step: mixed prompts, mismatch between sampler and learner, weights that do not change.

The checks use results that the step has computed anyway, and change no weight, random number or metric. A symptom that
may occur by chance stops the run only after several consecutive steps.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor

from poziomka.core.errors import LearningError
from poziomka.core.rollout import Group
from poziomka.core.sampler import Sampler
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.monitoring.monitor import Monitor
from poziomka.learning.objectives.logprobs import at_temperature, logits_of
from poziomka.models.base import Architecture
from poziomka.runs.run import Run

Precision = Literal["fp32", "bf16"]
# mean |Δ| of the sampler's and the learner's log-probabilities, in nats per token. fp32 rounds to about 1e-6 at logits
# near 20; bf16 keeps 8 bits, so that two orders of summation differ by some hundredths (SmolLM2-135M: 0.033).
BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "bf16": 1e-1}
# k3 estimate of KL(sampler ‖ learner), in nats per token. Small differences Δ give Δ²/2; a run has rare large ones too.
KL_BOUNDS: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2}
STEPS = 3  # consecutive steps with a symptom after which the run stops
SAMPLE = 64  # entries of each tensor that are compared
TEMPERATURES = tuple(0.05 * step for step in range(4, 61))  # 0.2 to 3: candidates for a wrong sampling temperature


class ConsistencyChecks(Monitor):
    """Monitor that stops a run whose sampler and learner disagree, whose groups are mixed, or whose weights are stuck.

    Args:
        model: model in training.
        temperature: sampling temperature.
        sampler: sampler of the rollouts, asked only for its precision; None if that is the model's.

    Attributes:
        bound: maximum KL(sampler ‖ learner), in nats per token.
        first: whether no step has been checked yet.
        apart: number of consecutive steps with a KL above `bound`.
        stuck: number of consecutive steps that should have changed the weights and did not.
    """

    def __init__(self, model: Architecture, temperature: float, sampler: Sampler | None = None) -> None:
        """Stores a sample of the present weights."""
        self.model, self.temperature = model, temperature
        self.bound = KL_BOUNDS[precision_of(model, sampler)]
        self.first = True
        self.apart = self.stuck = 0
        self._sample = sample_of(model)

    def logged(self, groups: Sequence[Group], metrics: Mapping[str, float], run: Run, step: int) -> Sequence[str]:
        """Checks the step as `look` does, and raises its LearningError; returns no notes."""
        self.look(groups, metrics)
        return ()

    def look(self, groups: Sequence[Group], metrics: Mapping[str, float]) -> None:
        """Checks a step after its weight update.

        Args:
            groups: judged rollouts of the step.
            metrics: metrics of the learner: policy/mismatch_kl, optim/grad_norm and optim/lr are read.

        Raises:
            LearningError: a group has several prompts, sampler and learner disagree, or the weights do not change.
        """
        self._same_prompt(groups)
        self._agreement(groups, metrics.get("policy/mismatch_kl"))
        self._movement(metrics)
        self.first = False

    def _same_prompt(self, groups: Sequence[Group]) -> None:
        for number, group in enumerate(groups, 1):
            keys = {rollout.problem.key for rollout in group}
            prompts = {prompt_of(rollout.transcript) for rollout in group if len(rollout.transcript)}
            if len(keys) > 1 or len(prompts) > 1:
                count, named = max(len(keys), len(prompts)), ", ".join(sorted(keys))
                message = (
                    f"group {number} holds attempts at {count} prompts ({named}): "
                    "their rewards must not be compared; see that whoever collects rollouts keeps groups apart"
                )
                raise LearningError(message)

    def _agreement(self, groups: Sequence[Group], kl: float | None) -> None:
        """Raises LearningError if the KL exceeds the bound in STEPS consecutive steps.

        A KL above the bound in the very first step is enough if another sampling temperature explains it.
        """
        if kl is None:
            return
        self.apart = self.apart + 1 if kl > self.bound else 0
        if not self.apart or (self.apart < STEPS and not self.first):
            return
        transcripts = [group[0].transcript for group in groups[:8]]
        fits = best_temperature(self.model, transcripts, self.temperature)
        if fits is None and self.apart < STEPS:
            return  # one step is inconclusive without an identified cause
        found = (
            f"sampler's and learner's log-probabilities differ by {kl:.1e} nats a token (KL, at most {self.bound:.0e}) "
        )
        cause = (
            f"and fit temperature {fits:.2g} instead of {self.temperature:g}: sample and store at one temperature"
            if fits is not None
            else f"for {self.apart} steps: the two do not compute the same; `poziomka doctor` on the recipe says more"
        )
        raise LearningError(found + cause)

    def _movement(self, metrics: Mapping[str, float]) -> None:
        """Raises LearningError if STEPS consecutive steps with gradient and learning rate above 0 changed no weight."""
        before, self._sample = self._sample, sample_of(self.model)
        meant = metrics.get("optim/grad_norm", 0.0) > 0 and metrics.get("optim/lr", 0.0) > 0
        still = before.shape == self._sample.shape and torch.equal(before, self._sample)
        self.stuck = self.stuck + 1 if meant and still else 0
        if self.stuck >= STEPS:
            message = (
                f"the weights did not change in {self.stuck} steps though the gradient's norm was "
                f"{metrics['optim/grad_norm']:.2g}: the optimizer does not hold these weights, or the rate "
                f"{metrics['optim/lr']:g} is lost in their rounding; keep fp32 master weights or raise the rate"
            )
            raise LearningError(message)


def precision_of(model: Architecture, sampler: Sampler | None = None) -> Precision:
    """Returns "fp32", or "bf16" if the weights of a model or of its sampler have a lower precision than fp32."""
    dtypes = {str(parameter.dtype).removeprefix("torch.") for parameter in model.parameters()}
    if sampler is not None and sampler.capabilities.dtype is not None:
        dtypes.add(sampler.capabilities.dtype)
    return "fp32" if dtypes <= {"float32", "float64"} else "bf16"


def sample_of(model: Architecture) -> Tensor:
    """Returns up to 64 (SAMPLE) evenly spaced entries of each trainable parameter as one fp32 vector on the CPU."""
    learning = [parameter.detach().flatten() for parameter in model.parameters() if parameter.requires_grad]
    return torch.cat([torch.zeros(0), *(flat[:: -(-len(flat) // SAMPLE)].float().cpu() for flat in learning)])


def prompt_of(transcript: Transcript) -> bytes:
    """Returns the prompt's tokens, those before the first sampled or forced span, as bytes that can be compared.

    Spans before the last user or system span are few-shot examples and count as prompt, whatever their author.
    """
    asked = [number for number, span in enumerate(transcript) if span.author in (Author.USER, Author.SYSTEM)]
    last, count = max(asked, default=-1), 0
    for number, span in enumerate(transcript):
        if number > last and (span.policy is not None or span.author in (Author.MODEL, Author.FORCED)):
            break
        count += len(span)
    return transcript.tokens[:count].tobytes()


def best_temperature(model: Architecture, transcripts: Sequence[Transcript], now: float) -> float | None:
    """Returns the temperature that fits stored log-probabilities far better than `now` does; None if there is none.

    Candidates are 0.2 to 3 in steps of 0.05. "Far better" is a mean absolute error below a fifth of that at `now`.

    Args:
        model: model that should have sampled the transcripts.
        transcripts: transcripts with stored log-probabilities.
        now: temperature at which they should have been sampled.
    """
    gaps: dict[float, list[float]] = {temperature: [] for temperature in (now, *TEMPERATURES)}
    for transcript in transcripts:
        stored = [value for span in transcript for value in (span.logprobs or [None] * len(span))]
        chosen = torch.tensor([value is not None for value in stored])
        values = torch.tensor([value for value in stored[1:] if value is not None], device=model.device)
        if not len(values):
            continue
        logits, ids = logits_of(model, transcript.tokens, chosen)
        for temperature, found in gaps.items():
            found.extend((at_temperature(logits, ids, temperature) - values).abs().tolist())
    if not gaps[now]:
        return None
    means = {temperature: fmean(found) for temperature, found in gaps.items()}
    best = min(means, key=lambda temperature: means[temperature])
    return best if means[best] < 0.2 * means[now] else None
