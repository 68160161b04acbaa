"""Off-policy updates from the journal: rollouts that were sampled earlier and scored later.

    1  rollouts of a journal, without those that are unscored, failed their check or were trained on before
    2  attempts at one problem are a group; single attempts form one group per task, whose mean reward is their
       baseline
    3  A_i as in on-policy training; each MODEL token gets weight A_i / (problems × tokens of its problem)
    4  refuse if KL(sampling policy ‖ learner) is above the bound, in nats per token
    5  one AdamW step on  - Σ weight · sg(min(ρ, cap)) · log π(token);  ρ is relative to the stored probabilities
    6  log, keep, save; the sampler loads the new weights

Unlike in on-policy training, older weights may have sampled the rollouts: the truncated importance weight of (5)
corrects for that (MiniMax 2025, arXiv 2506.13585, eq. 4), and (4) bounds the correction. The baseline of single
attempts does not account for a problem's difficulty, so attempts at easy problems get a positive advantage.

Stored log-probabilities must be at the learner's temperature, of the full distribution (`SamplingParams.plain`). A
journal does not record the sampling parameters: another temperature increases the measured KL, top-k and top-p do not.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Literal, NamedTuple

import torch

from poziomka.core.errors import LearningError, RunError, SettingsError
from poziomka.core.rollout import Group, Rollout
from poziomka.core.sampler import WeightHost
from poziomka.core.settings import setting
from poziomka.core.transcript import Author
from poziomka.learning.learner import Learner, LearnerSettings
from poziomka.learning.loops.stage import NAME, StageSettings
from poziomka.learning.monitoring.stop_conditions import describe
from poziomka.learning.objectives.logprobs import logprobs_of
from poziomka.learning.objectives.losses import mismatch_kl
from poziomka.learning.samples.advantages import Advantages, advantage_named, by_token
from poziomka.learning.samples.weighting import Aggregation, Example, policy_examples
from poziomka.learning.session import Clock, TrainingSession
from poziomka.runs.feedback import Judged
from poziomka.runs.run import Run

USED = "rollouts/used"  # metric that only off-policy updates log
EXAMPLES = 3  # damaged rollouts listed in a note


@dataclass(frozen=True, kw_only=True)
class OfflineSettings(LearnerSettings, StageSettings):
    """Settings of a stage of off-policy learning from stored rollouts."""

    kind: Literal["offline"] = "offline"
    name: str = setting("offline", NAME)
    journal: str | None = setting(None, "journal, or folder of journals, with the rollouts")
    scores: str | None = setting(None, "file of JSON lines with later scores; none: those of the journal")
    temperature: float = setting(1.0, "temperature of the sampler of the rollouts", low=1e-6)
    steps: int = setting(1, "optimizer steps on the same rollouts; saved together or not at all", low=1)
    mismatch: float = setting(
        0.1, "largest KL between the policy of the rollouts and the learner, nats per token", low=0.0
    )
    advantage: str = setting("batch", "advantage estimator: batch, group, rloo, dr_grpo or expert")
    aggregation: Aggregation = setting(
        "prompt", "weights of the tokens in the loss: equal per prompt, token, sequence, or constant"
    )

    def __post_init__(self) -> None:
        """Raises SettingsError for an unknown advantage estimator, before training."""
        super().__post_init__()
        advantage_named(self.advantage)


class Chosen(NamedTuple):
    """Rollouts to train on, and notes and counts of those left out.

    Attributes:
        rollouts: rollouts to train on.
        notes: one sentence for each reason for which rollouts were left out.
        counts: number of rollouts by metric name: "rollouts/used", and "rollouts/unjudged" and so on by reason.
    """

    rollouts: list[Rollout]
    notes: list[str]
    counts: dict[str, float]


def learn_from(
    progress: TrainingSession,
    host: WeightHost | None,
    judged: Judged,
    settings: OfflineSettings | None = None,
    *,
    rate: float | None = None,
    after: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Takes off-policy updates from stored rollouts and loads the new weights into the sampler.

    A serving process calls this in the thread of its event loop: unfinished replies continue with the new weights, in a
    new span. The update is atomic: if the process is killed before the end, the run is unchanged.

    Args:
        progress: training session; its learner takes the steps.
        host: sampler that loads the new weights; None if no sampler is running.
        judged: rollouts with tokens, log-probabilities and policy, and the scores that exist.
        settings: steps, bound on the KL, advantage estimator; None gives `OfflineSettings()`. Its optimizer and loss
            settings are ignored: the learner has its own.
        rate: learning rate; None gives `learning_rate` of the learner's optimizer settings.
        after: callback with the number of updates taken, before they are saved.

    Returns:
        Metrics of the last step.

    Logged besides reinforcement's metrics: rollouts/used, and rollouts/unjudged, rollouts/failed,
    rollouts/without_tokens, rollouts/damaged, rollouts/learned_before and rollouts/overlong, which were left out;
    scores/unknown, scores/duplicate and scores/refused, if there are late scores; policy/age_mean and policy/age_most,
    in steps, over rollouts whose policy is a step of this run, and policy/age_unknown, the share of the others.

    Raises:
        LearningError: a rollout is of another tokenizer or of a later policy, no rollout has an advantage, the KL is
            above `settings.mismatch`, or a loss is not finite; nothing was saved.
        SettingsError: the learner's correction is "none", or its surrogate "reinforce", which is on-policy only.
    """
    settings = settings or OfflineSettings()
    _demand_correcting(progress.learner)
    chosen = choose(progress, judged.rollouts, own=settings.journal is None)
    groups = by_problem(chosen.rollouts)
    advantages = advantages_of(groups, settings.advantage)
    examples = policy_examples(groups, advantages, settings.aggregation, _longest(chosen.rollouts))
    _demand_something(examples, chosen, judged.notes)
    rate = progress.learner.settings.optimizer.learning_rate if rate is None else rate
    metrics: dict[str, float] = {}
    begun = progress.step
    batch = progress.learner.pack(examples)
    if settings.steps > 1:
        (batch,) = progress.learner.with_old([batch])
    for update in range(settings.steps):
        clock = Clock()
        far = _mismatch(progress.learner, examples)
        if not far <= settings.mismatch:
            if update == 0:
                raise LearningError(_too_far(far, settings, chosen.rollouts, progress.version))
            message = f"{update} of {settings.steps} updates were taken: the writers are {far:.3g} nats a token behind"
            progress.run.note(message)
            break
        metrics = ages(chosen.rollouts, progress.step) | chosen.counts | judged.counts | describe(groups)
        clock.lap("checking")
        metrics |= progress.learner.step(batch, rate)
        progress.step += 1
        clock.lap("learning")
        progress.spend(learn_flops=progress.learner.flops(batch), learn_tokens=float(batch.real))
        progress.log(settings.name, metrics | clock.seconds)
    progress.keep(groups, by_token(groups, advantages))
    for sentence in [*judged.notes, *chosen.notes]:
        progress.run.note(sentence)
    if after is not None:
        after(progress.step - begun)
    progress.save()
    if host is not None:
        progress.publish_weights(host)
    return metrics


# --------------------------------------------------------------------------------------------------- choice of rollouts
def choose(progress: TrainingSession, rollouts: Sequence[Rollout], *, own: bool = True) -> Chosen:
    """Returns the rollouts that can be trained on, with notes and counts of those left out.

    Args:
        progress: training session of the run.
        rollouts: stored rollouts, with or without scores.
        own: whether this run sampled them, so that a policy later than its newest step is an error.

    Raises:
        LearningError: a rollout has tokens of another tokenizer or, if `own`, a policy later than this run's step.
    """
    before = learned_before(progress.run)
    kinds: dict[str, list[Rollout]] = {
        name: [] for name in ("used", "unjudged", "failed", "without_tokens", "damaged", "learned_before", "overlong")
    }
    context = progress.learner.model.context
    for rollout in rollouts:
        kinds[_kind(rollout, before, context)].append(rollout)
    ours = [rollout for rollout in kinds["used"] if rollout.transcript.tokenizer == progress.tokenizer.fingerprint]
    known = {*progress.tokenizer.inner.get_vocab().values()}
    damage = {rollout.id: said for rollout in ours if (said := _damage(rollout, known))}
    kinds["damaged"] = [rollout for rollout in kinds["used"] if rollout.id in damage]
    used = kinds["used"] = [rollout for rollout in kinds["used"] if rollout.id not in damage]
    _demand_ours(progress, used, own=own)
    why = {
        "unjudged": "not judged yet",
        "failed": "their check failed, which is never a reward",
        "without_tokens": "they carry no tokens with log-probabilities",
        "damaged": "; ".join([*islice(damage.values(), EXAMPLES), *["…"] * (len(damage) > EXAMPLES)]),
        "learned_before": "this run has learned from them before",
        "overlong": f"they are longer than the {progress.learner.model.context} tokens that the model reads",
    }
    notes = [f"{len(kinds[kind])} of {len(rollouts)} rollouts left out: {why[kind]}" for kind in why if kinds[kind]]
    return Chosen(used, notes, {f"rollouts/{kind}": float(len(found)) for kind, found in kinds.items()})


def _kind(rollout: Rollout, before: set[str], context: int | None) -> str:
    score = rollout.branches[0].score
    if rollout.id in before:
        return "learned_before"
    if score is None:
        return "unjudged"
    if score.reward is None:
        return "failed"
    own = [span for span in rollout.transcript if span.author is Author.MODEL]
    if context is not None and any(rollout.transcript.by(Author.MODEL)[context:]):
        return "overlong"
    whole = own and all(span.logprobs is not None for span in own)
    return "used" if whole and all(span.tokens is not None for span in rollout.transcript) else "without_tokens"


def _damage(rollout: Rollout, vocabulary: set[int]) -> str:
    """Returns a description of tokens or log-probabilities that no sampler of this run can produce; "" if none."""
    spans = [span for branch in rollout.branches for span in branch.transcript]
    strange = next((token for span in spans for token in span.tokens or () if token not in vocabulary), None)
    if strange is not None:
        return f"rollout {rollout.id!r} holds the token {strange}, outside the vocabulary of {len(vocabulary):,}"
    values = (value for span in spans for value in span.logprobs or ())
    wrong = next((value for value in values if not -math.inf < value <= 1e-3), None)  # rounding may exceed 0
    return "" if wrong is None else f"rollout {rollout.id!r} holds {wrong:g} as the logarithm of a probability"


def learned_before(run: Run) -> set[str]:
    """Returns the ids of rollouts that earlier off-policy updates of a run used; notes unreadable journals in it."""
    ids: set[str] = set()
    for step in sorted({line["step"] for line in run.metrics() if USED in line}):
        try:
            ids.update(run.journal(f"step-{step:06d}").advantages)
        except RunError as error:
            if "there is no journal" not in str(error):  # of several updates, only the last has one
                run.note(f"what step {step} learned from is not known: {error}")
    return ids


def _demand_ours(progress: TrainingSession, rollouts: Sequence[Rollout], *, own: bool) -> None:
    ours = progress.tokenizer.fingerprint
    for rollout in rollouts:
        if rollout.transcript.tokenizer != ours:
            message = (
                f"rollout {rollout.id!r} was written with tokenizer {rollout.transcript.tokenizer}, and this run's is "
                f"{ours}: learn from it in the run that served it"
            )
            raise LearningError(message)
        later = [policy for policy in _policies([rollout]) if (_step_of(policy) or 0) > progress.step]
        if own and later:
            message = (
                f"rollout {rollout.id!r} was written by {later[0]}, and this run stands at {progress.version}: "
                "give the run that served it"
            )
            raise LearningError(message)


def _demand_correcting(learner: Learner) -> None:
    how = learner.settings
    if how.correction.kind == "none":
        message = (
            "correction.kind is 'none', and what other weights wrote needs an importance weight: set it to "
            "'token' or 'sequence'"
        )
        raise SettingsError(message)
    if how.surrogate.kind == "reinforce":
        message = "the surrogate 'reinforce' is right for tokens that these weights wrote, and others did: use 'cispo'"
        raise SettingsError(message)


def _demand_something(examples: Sequence[Example], chosen: Chosen, notes: Sequence[str]) -> None:
    if not any(any(example.policy) for example in examples):
        found = f"among {len(chosen.rollouts)} rollouts no two that compare differ in reward"
        said = "; ".join([found if chosen.rollouts else "no rollout is left", *notes, *chosen.notes])
        message = f"there is nothing to learn from: {said}; nothing was changed"
        raise LearningError(message)


def by_problem(rollouts: Iterable[Rollout]) -> list[Group]:
    """Groups rollouts by problem, in the order of each problem's first rollout."""
    groups: dict[tuple[str, str], list[Rollout]] = {}
    for rollout in rollouts:
        groups.setdefault((rollout.problem.task, rollout.problem.key), []).append(rollout)
    return list(groups.values())


def advantages_of(groups: Sequence[Group], name: str) -> Advantages:
    """Returns the advantages by group and attempt; problems with a single attempt form one group per task.

    Args:
        groups: judged attempts by problem.
        name: name of the advantage estimator, "batch" for example.
    """
    lone: dict[str, list[Rollout]] = {}
    for group in groups:
        if len(group) == 1:
            lone.setdefault(group[0].problem.task, []).append(group[0])
    compared = [group for group in groups if len(group) > 1] + list(lone.values())
    found = {
        rollout.id: value
        for group, values in zip(compared, advantage_named(name)(compared), strict=True)
        for rollout, value in zip(group, values, strict=True)
    }
    return [[found[rollout.id] for rollout in group] for group in groups]


def _longest(rollouts: Iterable[Rollout]) -> int:
    return max((rollout.transcript.cost for rollout in rollouts), default=1)


# ------------------------------------------------------------------------------------------- KL to the sampling policy
def _mismatch(learner: Learner, examples: Iterable[Example]) -> float:
    """Returns the k3 estimate of KL(sampling policies ‖ learner), nats per token, over tokens with a policy weight."""
    total, count = 0.0, 0
    for example in examples:
        own = torch.tensor(example.policy) != 0
        own[0] = False  # the first token has no log-probability
        logp = logprobs_of(learner.model, example.tokens, learner.temperature, own)
        total += float(mismatch_kl(logp, torch.tensor(example.logprobs)[own].to(logp.device)))
        count += len(logp)
    return total / max(count, 1)


def _too_far(far: float, settings: OfflineSettings, rollouts: Sequence[Rollout], version: str) -> str:
    writers = ", ".join(str(policy) for policy in _policies(rollouts))
    return (
        f"the rollouts were written by {writers}, {far:.3g} nats a token from {version} where {settings.mismatch:g} is "
        "the bound: nothing was changed; serve newer weights at the learner's temperature, or raise the bound"
    )


def _policies(rollouts: Iterable[Rollout]) -> list[str | None]:
    """Returns the distinct policies of MODEL spans, in order of appearance."""
    spans = (span for rollout in rollouts for span in rollout.transcript if span.author is Author.MODEL)
    return list(dict.fromkeys(span.policy for span in spans))


def _step_of(policy: str | None) -> int | None:
    """Returns the step in a policy's name, 12 for "step-000012"; None for any other name."""
    named = re.fullmatch(r"step-(\d+)", policy or "")
    return int(named[1]) if named else None


def ages(rollouts: Iterable[Rollout], step: int) -> Mapping[str, float]:
    """Returns metrics of the age of rollouts: how many steps before `step` the oldest policy of each was.

    policy/age_mean, policy/age_most: over rollouts whose policies are all steps of a run (left out if there are none) ·
    policy/age_unknown: share of the other rollouts.
    """
    oldest = [[_step_of(policy) for policy in _policies([rollout])] for rollout in rollouts]
    known = [step - min(s for s in steps if s is not None) for steps in oldest if steps and None not in steps]
    found = {"policy/age_unknown": 1 - len(known) / max(len(oldest), 1)}
    if known:
        found |= {"policy/age_mean": fmean(known), "policy/age_most": float(max(known))}
    return found
