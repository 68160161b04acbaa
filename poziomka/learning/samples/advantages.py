"""Advantage estimators: the reward of an attempt relative to its group.

Notation: `G` attempts at one problem with rewards R. Attempts whose check failed have no reward and are ignored. In a
group whose rewards are all equal, every attempt gets None, which leaves it out of the batch, of its normaliser and of
the standard deviation over the batch.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev

from poziomka.core.errors import SettingsError, nearest
from poziomka.core.rollout import Judged, Rollout, rewards_of
from poziomka.core.transcript import Author
from poziomka.learning.samples.branches import Line

EPSILON = 1e-6
Advantages = list[list[float | None]]  # by group and attempt; None leaves an attempt out of the batch
Groups = Sequence[Sequence[Judged]]  # judged attempts, or lines of them, by group
Estimator = Callable[[Groups], Advantages]


def informative(group: Sequence[Judged]) -> bool:
    """Returns whether the rewards of a group differ, by more than 1e-6; failed checks have no reward."""
    rewards = rewards_of(group)
    return len(rewards) > 1 and max(rewards) - min(rewards) > EPSILON


def _centred(group: Sequence[Judged]) -> list[float | None]:
    """Returns R_i - mean(R) of each attempt; None without a reward, and for all if the rewards do not differ."""
    if not informative(group):
        return [None] * len(group)
    mean = fmean(rewards_of(group))
    return [None if r.score.reward is None else r.score.reward - mean for r in group]


def _scaled(centred: Sequence[float | None], factor: float) -> list[float | None]:
    return [None if value is None else value * factor for value in centred]


def dr_grpo(groups: Groups) -> Advantages:
    """Returns A_i = R_i - mean(R) over each group's rewards R: Dr. GRPO (Liu et al. 2025, arXiv 2503.20783).

    Attempts without a reward, and groups whose rewards are all equal, get None.
    """
    return [_centred(group) for group in groups]


def group_std(groups: Groups) -> Advantages:
    """Returns A_i = (R_i - mean(R)) / std(R) over each group's rewards R: GRPO (arXiv 2402.03300, section 4.1).

    Attempts without a reward, and groups whose rewards are all equal, get None.
    """
    return [
        _scaled(_centred(group), 1 / (pstdev(rewards_of(group)) + EPSILON) if informative(group) else 1.0)
        for group in groups
    ]


def batch_std(groups: Groups) -> Advantages:
    """Returns A_i = R_i - mean(R), divided by the std of all these differences in the batch (ScaleRL).

    R are the rewards of the attempt's group (arXiv 2510.13786). Attempts without a reward, and groups whose rewards are
    all equal, get None and do not count in the standard deviation.
    """
    centred = [_centred(group) for group in groups]
    values = [value for group in centred for value in group if value is not None]
    std = math.sqrt(fmean(value * value for value in values)) if values else 1.0
    return [_scaled(group, 1 / (std + EPSILON)) for group in centred]


def rloo(groups: Groups) -> Advantages:
    """Returns A_i = R_i - mean reward of the other attempts in the group: RLOO, REINFORCE leave-one-out.

    It is G/(G-1) (R_i - mean(R)) in a group of G rewards R (Ahmadian et al. 2024, arXiv 2402.14740). Attempts without a
    reward, and groups whose rewards are all equal, get None.
    """
    return [_scaled(_centred(group), len(rewards_of(group)) / max(len(rewards_of(group)) - 1, 1)) for group in groups]


def expert(groups: Groups) -> Advantages:
    """Returns A_i = 1 for each correct attempt, and None for any other: expert iteration.

    With the "reinforce" surrogate this is fine-tuning on the model's own correct attempts (Anthony et al. 2017, arXiv
    1705.08439), as in STaR (Zelikman et al. 2022, arXiv 2203.14465).
    """
    return [[1.0 if rollout.score.correct else None for rollout in group] for group in groups]


ADVANTAGES: dict[str, Estimator] = {
    "batch": batch_std,
    "group": group_std,
    "rloo": rloo,
    "dr_grpo": dr_grpo,
    "expert": expert,
}


def advantage_named(name: str) -> Estimator:
    """Returns the advantage estimator called `name`.

    Raises:
        SettingsError: the name is unknown; the message suggests the nearest.
    """
    if name not in ADVANTAGES:
        message = f"unknown advantage {name!r}{nearest(name, ADVANTAGES)}"
        raise SettingsError(message)
    return ADVANTAGES[name]


def by_token(groups: Sequence[Sequence[Rollout | Line]], advantages: Advantages) -> dict[str, list[float]]:
    """Returns the advantage of each MODEL token by id of the attempt or line, for the journal.

    Attempts whose advantage is None are left out.
    """
    return {
        attempt.id: [value] * sum(attempt.transcript.by(Author.MODEL))
        for group, values in zip(groups, advantages, strict=True)
        for attempt, value in zip(group, values, strict=True)
        if value is not None
    }
