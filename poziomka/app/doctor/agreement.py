"""Checks that sampler and learner compute the same log-probabilities, before and after an optimizer step.

The steps of these checks are undone: weights and optimizer state are restored exactly.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import fmean

import torch

from poziomka.app.doctor.finding import Finding, Status
from poziomka.app.doctor.parts import Bench, Parts, own_tokens
from poziomka.core.errors import SamplerError
from poziomka.core.rollout import Group, Rollout, rewards_of
from poziomka.core.rollouts.collect import wait_for
from poziomka.core.task import asked
from poziomka.core.transcript import Author, Transcript
from poziomka.learning.monitoring.consistency import BOUNDS, KL_BOUNDS, best_temperature
from poziomka.learning.objectives.logprobs import logprobs_of
from poziomka.learning.samples.advantages import Advantages
from poziomka.learning.samples.batch import Batch

CANARY_RATE = 1e-4  # least learning rate of a test step, so that its effect is measurable
CANARY_STEPS = 2  # the first step with LoRA changes only one of the two factors
REHEARSED = "doctor-rehearsal"  # policy version that the sampler must report after a test step


def logprobs(bench: Bench) -> Finding:
    """Checks that the sampler's stored log-probabilities are those of the learner's weights at the same temperature."""
    name = "log-probabilities"
    parts, bound = bench.parts, BOUNDS[bench.parts.precision]
    rollouts = [group[0] for group in bench.groups if own_tokens(group[0])]
    if not rollouts:
        advice = "a sampler must give its words token ids and log-probabilities: reinforcement needs both"
        return Finding.failed(name, "no rollout holds a token by the model", advice)
    gaps = [gap for rollout in rollouts for gap in _gaps(parts, rollout.transcript)]
    if not gaps:
        return Finding.failed(
            name, "the sampler stored no log-probabilities", "reinforcement needs a sampler that does"
        )
    mean, kl = fmean(map(abs, gaps)), fmean(math.expm1(gap) - gap for gap in gaps)
    figure = f"mean |Δ| sampler–learner {mean:.1e} nats (at most {bound:.0e}), KL {kl:.1e}, {len(gaps)} tokens"
    if mean <= bound:
        return Finding.passed(name, figure)
    fits = best_temperature(parts.model, [rollout.transcript for rollout in rollouts], parts.settings.temperature)
    if fits is not None:
        advice = (
            f"the stored log-probabilities are those of temperature {fits:.2g}, not of {parts.settings.temperature:g}: "
            "sample and store at the recipe's temperature"
        )
    else:
        advice = (
            "the sampler does not compute what the learner computes: give both the same weights and precision, "
            "and check the architecture with poziomka.testing.check_architecture"
        )
    return Finding.failed(name, figure, advice)


def _gaps(parts: Parts, transcript: Transcript) -> list[float]:
    """Returns the learner's minus the sampler's stored log-probability of MODEL tokens that have a stored one, nats."""
    said = _said(parts, transcript)
    gaps: list[float] = []
    place = 0
    for span in transcript:
        if span.author is Author.MODEL and span.logprobs is not None:
            gaps += [said[place + number] - stored for number, stored in enumerate(span.logprobs)]
        place += len(span)
    return gaps


def _said(parts: Parts, transcript: Transcript) -> list[float]:
    """Returns the learner's log-probability of each token; 0 for the first."""
    return [0.0, *logprobs_of(parts.model, transcript.tokens, parts.settings.temperature).tolist()]


@contextmanager
def taken_back(parts: Parts, version: str) -> Iterator[None]:
    """Restores the learner's weights and optimizer, bit for bit, at the end of the context.

    Args:
        parts: components with learner and sampler.
        version: policy version under which the sampler loads the restored weights.
    """
    learning = [parameter for parameter in parts.model.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in learning]
    state, training = parts.learner.state(), parts.model.training
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(learning, before, strict=True):
                parameter.copy_(value)
        parts.learner.restore(state)
        parts.learner.masters.clear()
        parts.model.train(training)
        wait_for(parts.host.load_weights(version, parts.learner.weights()))


def rehearse(bench: Bench) -> list[Finding]:
    """Takes test steps, publishes their weights to the sampler, and undoes them.

    Returns:
        Findings: a failure, if the log-probabilities of the training pass differ from the sampler's; whether a batch
        with mixed rewards gives every trained tensor a gradient; whether updated weights reach the sampler.
    """
    parts, groups = bench.parts, bench.few
    version = next((rollout.policy for rollout in bench.rollouts if rollout.policy), "initial")
    mixed, rate = _batch(bench, groups, bench.advantages(groups)), parts.learner.settings.optimizer.learning_rate
    with taken_back(parts, version):
        began = time.perf_counter()
        sums = parts.learner.forward_backward(mixed)
        norm, largest = parts.learner.clip(), _largest(parts)
        bench.seconds["learning"] = time.perf_counter() - began
        update = _update(bench, groups, max(rate, CANARY_RATE))
        if not all(largest.values()):  # one LoRA factor has no gradient until the other has changed
            parts.learner.forward_backward(mixed)
            largest = {name: max(value, largest[name]) for name, value in _largest(parts).items()}
    if update.status is Status.FAIL and rate < CANARY_RATE:  # a step larger than the recipe's may overshoot
        with taken_back(parts, version):
            update = _update(bench, groups, rate)
    kl = sums.mismatch / max(sums.policy_tokens, 1)
    return [*_own_pass(bench, kl), _gradient(bench, norm, largest), update]


def _largest(parts: Parts) -> dict[str, float]:
    """Returns the largest absolute entry of each trained tensor's gradient by name; 0 without a gradient."""
    masters = parts.learner.masters.named
    return {name: 0.0 if m.grad is None else float(m.grad.abs().max()) for name, m in masters.items()}


def _own_pass(bench: Bench, kl: float) -> list[Finding]:
    """Returns a failure if log-probabilities of the learner's packed training pass differ from the sampler's; else [].

    `kl` is KL(sampler ‖ learner) in nats per token. Small differences Δ have a KL of about Δ²/2; ten times the bound's
    square tolerates a few large ones.
    """
    most = min(KL_BOUNDS[bench.parts.precision], 10 * BOUNDS[bench.parts.precision] ** 2)
    if kl <= most:
        return []
    learner, wanted = bench.parts.learner.temperature, bench.parts.settings.temperature
    advice = "the learner computes something else when it learns than when it reads: look at packing and temperature"
    if learner != wanted:
        advice = f"the learner takes log-probabilities at temperature {learner:g}, the recipe samples at {wanted:g}"
    figure = f"in the learner's own pass they are {kl:.1e} nats a token apart (KL, at most {most:.0e})"
    return [Finding.failed("log-probabilities", figure, advice)]


def _batch(bench: Bench, groups: Sequence[Group], advantages: Advantages) -> Batch:
    return bench.parts.learner.pack(bench.examples(groups, advantages))


def _favoured(group: Group) -> Rollout:
    """Returns an attempt with the highest reward."""
    best = max(rewards_of(group))
    return next(rollout for rollout in group if rollout.score.reward == best)


def _gradient(bench: Bench, norm: float, largest: dict[str, float]) -> Finding:
    name = "gradient"
    artificial = ", rewards made up" if bench.artificial else ""
    broken = [name for name, value in largest.items() if not math.isfinite(value)]
    silent = [name for name, value in largest.items() if not value]
    figure = f"norm {norm:.2g} for a batch with mixed rewards{artificial}; {len(largest)} tensors learn"
    if not largest:
        return Finding.failed(name, "no tensor of the model learns", "let some weights require a gradient")
    if broken or not math.isfinite(norm):
        where = f"{broken[0]!r}" if broken else "the norm"
        return Finding.failed(
            name, f"{where} is not finite", "look for an overflow: train in fp32, or lower the logits"
        )
    if not norm:
        advice = "no token carries a weight, or the loss does not reach the weights: look at the lines above"
        return Finding.failed(name, f"{figure}, and none gets any", advice)
    if silent:
        advice = "freeze what is not to learn (requires_grad = False), or find what cuts the graph"
        return Finding.failed(name, f"{figure}, and {len(silent)} get none: {', '.join(silent[:3])}", advice)
    return Finding.passed(name, f"{figure}, each gets one")


def _update(bench: Bench, groups: Sequence[Group], rate: float) -> Finding:
    """Takes steps that make some rollouts likelier, loads the weights into the sampler, and compares log-probabilities.

    Args:
        bench: the components and their rollouts.
        groups: groups of rollouts; the steps reward the best of each.
        rate: learning rate of the steps.
    """
    name, parts = "update to sampler", bench.parts
    favoured = [_favoured(group) for group in groups]
    batch = _batch(bench, [[rollout] for rollout in favoured], [[1.0] for _ in favoured])
    learner, sampler = _likely(parts, favoured), _likely_to_sampler(parts, favoured)
    for _ in range(CANARY_STEPS):
        parts.learner.step(batch, rate)
    wait_for(parts.host.load_weights(REHEARSED, parts.learner.weights()))
    rise = _likely(parts, favoured) - learner
    figure = f"log-probability of what was rewarded: learner {rise:+.2g}"
    if rise <= 0:
        advice = "a step must make what was rewarded likelier: look at the sign of the loss, or lower the learning rate"
        return Finding.failed(name, f"{figure} after {CANARY_STEPS} steps at rate {rate:g}", advice)
    how = replace(parts.settings.sampling, max_tokens=min(8, parts.settings.max_tokens))
    fresh = wait_for(parts.sampler.extend(asked(parts.task, favoured[0].problem), how))
    named = {str(span.policy) for span in fresh if span.author is Author.MODEL}
    advice = (
        "let the sampler's `load_weights` replace its weights: it writes with old ones, and learning would be "
        "off-policy"
    )
    if named != {REHEARSED}:
        return Finding.failed(name, f"it still names its weights {', '.join(sorted(named))}, not {REHEARSED}", advice)
    now = _likely_to_sampler(parts, favoured)
    if sampler is not None and now is not None:
        figure += f", sampler {now - sampler:+.2g}"
        if now <= sampler:
            return Finding.failed(name, figure, advice)
    gap = fmean([abs(gap) for gap in _gaps(parts, fresh)] or [math.inf])
    if gap > max(BOUNDS[parts.precision], 0.1 * rise):
        return Finding.failed(name, f"{figure}; its fresh words differ by {gap:.1e} nats a token", advice)
    return Finding.passed(name, f"{figure}; fresh words name the new version")


def _likely(parts: Parts, rollouts: Sequence[Rollout]) -> float:
    """Returns the learner's mean log-probability of the rollouts' MODEL tokens."""
    values: list[float] = []
    for rollout in rollouts:
        said = _said(parts, rollout.transcript)
        values += [said[place] for place in own_tokens(rollout)]
    return fmean(values)


def _likely_to_sampler(parts: Parts, rollouts: Sequence[Rollout]) -> float | None:
    """Returns the sampler's mean log-probability of the rollouts' MODEL tokens; None if it cannot score."""
    values: list[float] = []
    for rollout in rollouts:
        try:
            said = wait_for(parts.sampler.score(rollout.transcript, parts.settings.temperature))
        except SamplerError:
            return None
        values += [said[place] for place in own_tokens(rollout)]
    return fmean(values)
