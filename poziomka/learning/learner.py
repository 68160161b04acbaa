"""The learner: computes the loss of weighted tokens and takes optimizer steps, for every training method."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from poziomka.core.errors import LearningError, SettingsError
from poziomka.core.seeds import seed_of
from poziomka.core.settings import setting
from poziomka.learning.objectives.kl import DivergenceSettings, whole_divergence
from poziomka.learning.objectives.logprob_head import Head, matrix_of
from poziomka.learning.objectives.loss_inputs import LossInputs, terms_of
from poziomka.learning.objectives.losses import CorrectionSettings, SurrogateSettings, over_sequence
from poziomka.learning.objectives.step_sums import Sums
from poziomka.learning.objectives.teacher import ContextTeacher
from poziomka.learning.optim.master_weights import Masters
from poziomka.learning.optim.optimizers import OptimizerSettings, optimizer_of
from poziomka.learning.samples.batch import Batch
from poziomka.learning.samples.weighting import Example
from poziomka.models.base import Architecture
from poziomka.models.flops import training_flops
from poziomka.models.lora import copied_adapters, merged, other_adapters
from poziomka.models.seeding import seeded

SMALL = 8192  # vocabulary size up to which computing all logits at once is as fast as a chunked head


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """Settings of a learner: loss terms, optimizer, and memory use of a forward and backward pass."""

    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    surrogate: SurrogateSettings = field(default_factory=SurrogateSettings)
    correction: CorrectionSettings = field(default_factory=CorrectionSettings)
    kl: DivergenceSettings = field(default_factory=DivergenceSettings)
    microbatch_tokens: int = setting(
        8192, "maximum tokens of a forward and backward pass; gradients of larger batches are accumulated", low=1
    )
    layout: Literal["rows", "shared"] = setting(
        "rows", "rows: short sequences packed into rows; shared: one row, in which a group's prompt is computed once"
    )
    gradient_checkpointing: bool = setting(
        False, "recompute activations in the backward pass: less memory, a third more time (transformer)"
    )
    dropout: bool = setting(
        False, "apply the dropout of the model's configuration (models that run through transformers)"
    )
    logit_chunk: int = setting(
        512, "maximum tokens whose logits are in memory at once, if the vocabulary is large", low=1
    )


class Learner:
    """Trains a model on batches of weighted tokens.

    Weights in bfloat16 are trained with master weights in fp32 (learning/optim/master_weights.py); logits are summed
    and stored in fp32.

    Args:
        model: trained in place.
        settings: loss terms, optimizer, and tokens of a pass.
        temperature: sampling temperature, at which log-probabilities of sampled tokens are computed; the next-token
            loss uses 1.
        reference: model from which the KL term is measured; needed only if `settings.kl` has a KL term. A model with
            adapters may be its own reference: the reference pass then uses the adapters in `begun`.
        seed: seed of dropout; each pass derives its own.

    Attributes:
        begun: adapters of the reference pass, at first copies of the model's; None unless `reference` is `model`.
        taken: number of optimizer steps so far; part of the dropout seeds.

    Raises:
        SettingsError: the settings have a divergence term and `reference` is None.
    """

    def __init__(
        self,
        model: Architecture,
        settings: LearnerSettings,
        temperature: float = 1.0,
        reference: Architecture | ContextTeacher | None = None,
        seed: int = 0,
    ) -> None:
        """Creates the optimizer and the master weights."""
        if settings.kl.wanted and reference is None:
            message = (
                f"learner.kl is {settings.kl.kind!r}, and there is no reference to be near to: "
                "give one, or set learner.kl.kind to 'none'"
            )
            raise SettingsError(message)
        self.model, self.settings, self.temperature, self.reference = model, settings, temperature, reference
        self.begun = copied_adapters(model) if reference is model else None
        model.checkpointing, model.dropout = settings.gradient_checkpointing, settings.dropout
        self.masters = Masters(model.named_parameters())
        self.optimizer = optimizer_of(self.masters.named, settings.optimizer)
        self.terms = terms_of(settings.surrogate, settings.correction)
        self.seed, self.taken = seed, 0
        self.part: tuple[int, int] | None = None  # (current pass, number of passes), for the stall watchdog

    def pack(self, examples: Sequence[Example]) -> Batch:
        """Packs examples into a batch, in `settings.layout` if the architecture supports it, else in "rows".

        Examples are truncated to the model's context, in tokens, which a tool's last result may exceed.
        """
        examples = [example.cut(self.model.context) for example in examples]
        if self.settings.layout == "shared" and self.model.shares_prefixes:
            return Batch.share(examples, self.settings.microbatch_tokens)
        return Batch.pack(examples)

    def with_old(self, batches: Sequence[Batch]) -> list[Batch]:
        """Returns the batches with the log-probabilities of their tokens under the present weights, as `Batch.old`.

        Passes have the split, layout and dropout seeds of those of `step`, with autograd on, since attention sums in
        another order without it: the importance ratios of the first step are then exactly 1, also in bfloat16.
        """
        found = []
        for number, batch in enumerate(batches, self.taken):
            drawn = replace(batch, draw=number)
            said = []
            for seed, part in self._passes(drawn):
                with seeded(seed, self.model.device):
                    said.append(self._said_of(part))
            found.append(replace(drawn, old=torch.cat(said, 1 if batch.units else 0) if said else None))
        return found

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """Takes one optimizer step on a batch and returns its metrics; no step if all token weights are 0.

        Args:
            batch: samples from `pack`.
            rate: learning rate.

        Raises:
            LearningError: the loss, the gradient or the new weights are not finite.
        """
        if not self._learned_from(batch).any():
            return {"tokens/trained": 0.0}
        sums = self.forward_backward(batch)
        norm = self.optim_step(rate, sums)
        return self._metrics(batch, sums, norm, rate)

    def forward_backward(self, batch: Batch) -> Sums:
        """Computes the gradient of the loss on a batch, in passes of at most `settings.microbatch_tokens` tokens.

        Returns:
            The loss, its terms, and the sums that metrics are computed from. `self.masters` has the gradient.
        """
        self.masters.clear()
        sums = Sums()
        for seed, part in self._passes(batch):
            with seeded(seed, self.model.device), self.masters.collecting():
                self._accumulate(part, sums)
        return sums

    def optim_step(self, rate: float, sums: Sums) -> float:
        """Clips the gradient and takes an optimizer step.

        Args:
            rate: learning rate of this step.
            sums: result of `forward_backward`.

        Returns:
            The norm of the gradient before it was clipped.

        Raises:
            LearningError: the loss or the gradient is not finite, and the weights are unchanged; or the weights are not
                finite after the step.
        """
        norm = self.clip()
        if not torch.isfinite(torch.tensor([norm, sums.policy_loss, sums.next_token_loss, sums.divergence])).all():
            self.masters.clear()
            message = (
                f"the loss is {sums.loss} and the gradient's norm {norm}: the step was "
                f"not taken, what was saved before is intact; train in another folder with a lower rate than {rate:g}"
            )
            raise LearningError(message)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.taken += 1
        self.masters.clear()
        self.masters.publish()
        if not torch.isfinite(nn.utils.get_total_norm(self.masters.masters)):
            message = (
                f"a step at rate {rate:g} left weights that are not finite: they were not saved, what was saved before "
                "is intact; train in another folder with a lower rate"
            )
            raise LearningError(message)
        return norm

    def flops(self, batch: Batch) -> float:
        """Returns the FLOPs of one optimizer step on a batch (see `training_flops`); 0 if all token weights are 0."""
        learned = int(self._learned_from(batch)[:, 1:].sum())
        return training_flops(self.model, batch.stretches, learned) if learned else 0.0

    def _passes(self, batch: Batch) -> Iterator[tuple[int, Batch]]:
        """Yields (dropout seed, part on the model's device) for each pass over a batch."""
        self.model.train()
        parts = list(batch.split(self.settings.microbatch_tokens))
        draw = self.taken if batch.draw is None else batch.draw
        for number, part in enumerate(parts, 1):
            self.part = (number, len(parts))
            yield seed_of("dropout", self.seed, draw, number), part.to(self.model.device)
        self.part = None

    def clip(self) -> float:
        """Clips the gradient to `max_grad_norm` of the optimizer (0: no limit); returns its norm before clipping."""
        gradients = [master.grad for master in self.masters.masters if master.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        bound = self.settings.optimizer.max_grad_norm or torch.inf
        if float(norm) + 1e-6 > bound:  # the condition of clip_grads_with_norm_, without its multiplication by 1
            nn.utils.clip_grads_with_norm_(self.masters.masters, bound, norm)
        return float(norm)

    def _learned_from(self, batch: Batch) -> Tensor:
        """Returns a mask [B, T] of the tokens with a nonzero weight in an active loss term."""
        weights = [batch.policy_weight, batch.imitate_weight]
        weights += [batch.match_weight] if self.settings.kl.wanted else []
        return torch.stack([weight != 0 for weight in weights]).any(0)

    def _accumulate(self, part: Batch, sums: Sums) -> None:
        """Adds the gradient of one pass to `masters`; computes logits only of tokens with a nonzero weight."""
        learned = self._learned_from(part)[:, 1:]
        tokens = self._learned(part, learned)
        reference = self._of_reference(part, learned)
        hidden = self.model(part.tokens, packing=part.packing)[:, :-1][learned]
        tokens = self._with_sequences(tokens, hidden.detach())
        if self.model.vocabulary <= SMALL:
            self._plain(hidden, tokens, reference, sums)
        elif self._opaque:
            self._piecewise(hidden, tokens, reference, sums)
        else:
            self._in_chunks(hidden, tokens, reference, sums)

    @property
    def _opaque(self) -> bool:
        """Whether the head of the model or of the reference is not one matrix, so that it must be called for logits."""
        return any(matrix_of(model) is None for model in (self.model, self.reference or self.model))

    def _said_of(self, part: Batch) -> Tensor:
        """Returns log-probabilities [B, T], on the CPU, of the tokens with a nonzero weight; 0 for other tokens."""
        learned = self._learned_from(part)[:, 1:]
        hidden = self.model(part.tokens, packing=part.packing)[:, :-1][learned].detach()
        said = torch.zeros_like(part.logprobs)
        said[:, 1:][learned] = self._said(hidden, self._learned(part, learned))
        return said.cpu()

    @torch.no_grad()
    def _said(self, hidden: Tensor, tokens: LossInputs) -> Tensor:
        """Returns log-probabilities [M] of tokens given hidden states [M, D], computed as in a step."""
        if self.model.vocabulary > SMALL and not self._opaque:
            matrix = matrix_of(self.model)
            assert matrix is not None
            return Head(matrix, self.settings.logit_chunk, self.model.unused).logprobs(hidden, tokens)
        return torch.cat([self._logprobs(hidden[rows], tokens[rows])[1] for rows in self._stretches(len(hidden))])

    def _stretches(self, count: int) -> list[slice]:
        """Splits `count` rows of hidden states into slices whose logits are computed at once."""
        rows = self.settings.logit_chunk if self.model.vocabulary > SMALL else max(count, 1)
        return [slice(start, start + rows) for start in range(0, max(count, 1), rows)]

    def _with_sequences(self, tokens: LossInputs, hidden: Tensor) -> LossInputs:
        """Returns the tokens with log-ratios over whole sequences: `level` for GSPO, `apart` for the correction."""
        by_ratio = self.settings.surrogate.kind == "gspo"
        by_product = self.settings.correction.kind == "sequence"
        if not by_ratio and not by_product:
            return tokens
        if tokens.old is None and not by_product:  # before the first step, every ratio is 1
            return replace(tokens, level=torch.zeros_like(tokens.policy))
        now = self._said(hidden, tokens)
        old = tokens.before(now)
        level, apart = (
            over_sequence(values, tokens.policy, tokens.sequence, mean=mean)
            for values, mean in ((now - old, True), (old - tokens.logq, False))
        )
        return replace(tokens, level=level if by_ratio else None, apart=apart if by_product else None)

    def _learned(self, part: Batch, learned: Tensor) -> LossInputs:
        fields = (part.tokens, part.policy_weight, part.imitate_weight, part.match_weight, part.logprobs)
        target, policy, imitate, match, logq = (tensor[:, 1:][learned] for tensor in fields)
        taught = (policy == 0) & (imitate != 0)  # demonstrations were not sampled: temperature 1
        temperature = torch.where(taught, 1.0, self.temperature)
        match, sequence = match * self.settings.kl.weight, part.packing.sequence[:, 1:][learned]
        old = None if part.old is None else part.old[:, 1:][learned]
        return LossInputs(target, temperature, policy, imitate, match, logq, sequence, old)

    def _of_reference(self, part: Batch, learned: Tensor) -> Tensor | None:
        """Returns the reference's hidden states [M, D] before the learned tokens; None without a divergence term.

        Gradients are enabled as in the learner's pass, because attention sums in another order without them.
        """
        if self.reference is None or not self.settings.kl.wanted:
            return None
        with self._as_reference():
            return self.reference(part.tokens, packing=part.packing)[:, :-1][learned].detach()

    def _as_reference(self) -> AbstractContextManager[None]:
        """Returns a context manager that swaps in the adapters `begun`, or does nothing if `begun` is None."""
        return nullcontext() if self.begun is None else other_adapters(self.model, self.begun)

    def _plain(self, hidden: Tensor, tokens: LossInputs, reference: Tensor | None, sums: Sums) -> None:
        """Computes loss and gradient from all logits at once."""
        logprobs, logp = self._logprobs(hidden, tokens)
        divergence, apart = self.settings.kl, None
        if reference is not None and self.reference is not None:
            with torch.no_grad():
                theirs = torch.log_softmax(self.reference.logits(reference) / tokens.temperature.unsqueeze(1), -1)
            if divergence.whole:
                apart = whole_divergence(divergence.kind, logprobs, theirs)
            else:
                tokens = replace(tokens, reference=theirs.gather(1, tokens.target.unsqueeze(1)).squeeze(1))
        terms = self.terms(logp, tokens)
        if apart is not None:
            terms.divergence = (tokens.match * apart).sum()
        terms.total.backward()
        with torch.no_grad():
            sums.add(terms, tokens, logp, (logprobs.exp() * logprobs).sum(1))

    def _piecewise(self, hidden: Tensor, tokens: LossInputs, reference: Tensor | None, sums: Sums) -> None:
        """Computes loss and gradient in chunks of rows through autograd, for a head that is not a plain matrix."""
        back = torch.empty_like(hidden)
        for rows in self._stretches(len(hidden)):
            own = hidden[rows].detach().requires_grad_()
            self._plain(own, tokens[rows], None if reference is None else reference[rows], sums)
            back[rows] = own.grad  # type: ignore[assignment]  # set by backward
        hidden.backward(back)

    def _logprobs(self, hidden: Tensor, tokens: LossInputs) -> tuple[Tensor, Tensor]:
        """Returns log-probabilities [M, V] of the vocabulary and [M] of the target tokens."""
        logprobs = torch.log_softmax(self.model.logits(hidden) / tokens.temperature.unsqueeze(1), -1)
        return logprobs, logprobs.gather(1, tokens.target.unsqueeze(1)).squeeze(1)

    def _in_chunks(self, hidden: Tensor, tokens: LossInputs, reference: Tensor | None, sums: Sums) -> None:
        """Computes loss and gradient in chunks of rows with the fused head (learning/objectives/logprob_head.py)."""
        matrix, divergence, other = matrix_of(self.model), self.settings.kl, None
        assert matrix is not None
        head = Head(matrix, self.settings.logit_chunk, self.model.unused)
        if reference is not None and self.reference is not None:
            other_matrix = matrix_of(self.reference)
            assert other_matrix is not None
            theirs = Head(other_matrix, head.rows, self.reference.unused)
            if divergence.whole:
                other = (divergence.kind, theirs, reference)
            else:
                tokens = replace(tokens, reference=theirs.logprobs(reference, tokens))
        gradient = self.masters.gradient_of(matrix)
        passed = head.backward(hidden.detach(), tokens, self.terms, gradient, other)
        hidden.backward(passed.hidden)
        with torch.no_grad():
            terms = self.terms(passed.logp, tokens)
            if passed.divergence is not None:
                terms.divergence = (tokens.match * passed.divergence).sum()
            sums.add(terms, tokens, passed.logp, -passed.entropy)

    def _metrics(self, batch: Batch, sums: Sums, norm: float, rate: float) -> dict[str, float]:
        metrics = {
            "optim/grad_norm": norm,
            "optim/lr": rate,
            "tokens/trained": float(batch.real),
            "tokens/learned_from": float(sums.tokens),
            "perf/packing_efficiency": batch.real_share,
        }
        metrics |= sums.metrics() | ({"loss/divergence": sums.divergence} if self.settings.kl.wanted else {})
        if sums.tokens > sums.policy_tokens:
            metrics["loss/next_token"] = sums.next_token_loss
        return metrics

    def weights(self) -> Mapping[str, Tensor]:
        """Returns the present weights by name, for a sampler to copy; adapters are merged into copies of weights."""
        return merged(self.model)

    def state(self, *, copied: bool = True) -> dict[str, Any]:
        """Returns the optimizer's state with the master weights, and the number of steps taken, for a checkpoint.

        Args:
            copied: whether to copy the tensors; otherwise the next step changes them in place.
        """
        state = {**self.optimizer.state_dict(), "taken": self.taken}
        for number, master in self.masters.kept(self.optimizer.param_groups):
            state["state"].setdefault(number, {})["master"] = master.detach()
        return copy.deepcopy(state) if copied else state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Loads a copy of a state that `state` returned; missing master weights are initialised from the weights."""
        own = copy.deepcopy(dict(state))
        self.taken = int(own.pop("taken", 0))
        self.masters.reset()
        with torch.no_grad():
            for number, master in self.masters.kept(self.optimizer.param_groups):
                saved = own["state"].get(number, {}).pop("master", None)
                if saved is not None:
                    master.copy_(saved)
        self.masters.publish()
        self.optimizer.load_state_dict(own)
