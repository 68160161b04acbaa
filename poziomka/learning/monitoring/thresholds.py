"""Whether what changed is suspicious: pure comparisons of two times, each with the sentence that says what was seen."""

from dataclasses import dataclass

from poziomka.core.settings import setting
from poziomka.learning.monitoring.clustered_stats import Moments, change_of_mean, change_of_share
from poziomka.learning.monitoring.detectors import Drift, Record

FEWEST = 32  # groups on either side of a comparison: with fewer, intervals clustered by group are too narrow
SECOND = 0.99  # confidence of what must hold beside: that accuracy does not follow
CARRIED = 0.25  # share of a rise in training that held-out accuracy must show


@dataclass(frozen=True, kw_only=True)
class AlarmSettings:
    """When a change alarms; each threshold may be none, which leaves that change unwatched."""

    stop: bool = setting(False, "an alarm stops the run, its state saved; resumed, it goes on past that alarm")
    beginning: int = setting(4, "first steps, with which later ones are compared; more where problems are few", low=1)
    recent: int = setting(4, "last steps that are taken together; more where problems are few", low=1)
    confidence: float = setting(0.9999, "of the intervals that must leave out no change", low=0.5, high=0.999999)
    unearned: float | None = setting(0.05, "rise of the mean reward that the audit refuses", low=0.0, high=1.0)
    held_out: float | None = setting(
        0.1, "rise of the reward in training of which held-out accuracy shows less than a quarter", low=0.0, high=1.0
    )
    repetition: float | None = setting(0.2, "rise of the share of replies that repeat themselves", low=0.0, high=1.0)
    empty: float | None = setting(0.3, "rise of the share of thoughts that are empty", low=0.0, high=1.0)
    early: float | None = setting(0.2, "rise of the share of answers before the thought", low=0.0, high=1.0)
    length: float | None = setting(2.0, "factor by which the mean length grows or shrinks", low=1.0)
    truncation: float | None = setting(0.3, "rise of the share of replies that are cut off", low=0.0, high=1.0)
    sameness: float | None = setting(0.3, "rise of the share of the answer given most", low=0.0, high=1.0)
    gain: float = setting(0.05, "rise of accuracy that explains any drift", low=0.0, high=1.0)


def unearned(now: Record, before: Record, when: str, settings: AlarmSettings) -> str | None:
    """Says it where the reward that the audit refuses rose for certain, and the audit's accuracy less than FOLLOWS it.

    So it does not matter whether the reward rose and accuracy stayed, or the reward stayed and accuracy fell. Two
    honest scorers may differ by a share of what is right: both then rise, and accuracy by far more.
    """
    if settings.unearned is None or not _enough(now, before, "unearned"):
        return None
    change = change_of_share(now["unearned"], before["unearned"], settings.confidence)
    beyond = change_of_mean(now["beyond"], before["beyond"], SECOND)
    if change.mean < settings.unearned or change.low <= 0 or beyond.low <= 0:
        return None
    return (
        f"since {when} the reward {went(before, now, 'audited_reward')} while accuracy under the audit "
        f"{went(before, now, 'audit')}: {now['unearned'].mean:.2f} of the reward is for answers that the audit "
        f"refuses, {before['unearned'].mean:.2f} before"
    )


def no_gain(now: Record, first: Record, recent: Record, beginning: Record, settings: AlarmSettings) -> str | None:
    """Says it where training pays, on problems no easier than before, and nothing of it is seen on held-out ones.

    Args:
        now: of this held-out evaluation.
        first: of the first one.
        recent: of the last steps of training.
        beginning: of its first steps.
        settings: see there.
    """
    accuracy = _accuracy(now, first)
    if settings.held_out is None or not _enough(recent, beginning, "reward") or not _enough(now, first, accuracy):
        return None
    paid = change_of_share(recent["reward"], beginning["reward"], settings.confidence)
    gained = change_of_share(now[accuracy], first[accuracy], settings.confidence)
    easier = change_of_mean(recent["level"], beginning["level"], settings.confidence).high < 0
    if paid.mean < settings.held_out or paid.low <= 0 or gained.high >= CARRIED * paid.mean or easier:
        return None
    return (
        f"the reward in training {went(beginning, recent, 'reward')} while held-out accuracy"
        f"{_whose(accuracy)} {went(first, now, accuracy)}"
    )


def drifted(drift: Drift, now: Record, before: Record, when: str, settings: AlarmSettings) -> str | None:
    """Says it where a drift is large, certain, and not explained."""
    most = getattr(settings, drift.setting)
    if most is None or not _enough(now, before, drift.quantity):
        return None
    if not _far(drift, now[drift.quantity], before[drift.quantity], most, settings.confidence):
        return None
    if explained(now, before, settings):
        return None
    if drift.pays and not (_enough(now, before, "reward") and now["reward"].mean >= before["reward"].mean):
        return None
    accuracy = _accuracy(now, before)
    return (
        f"since {when} {drift.about} "
        f"{went(before, now, drift.quantity, digits=1 if drift.factor else 2)} while accuracy{_whose(accuracy)} "
        f"{went(before, now, accuracy)}"
    )


def _far(drift: Drift, new: Moments, old: Moments, most: float, confidence: float) -> bool:
    """Whether a quantity changed by as much as it may not, and certainly changed."""
    if not drift.factor:
        change = change_of_share(new, old, confidence)
        return change.mean >= most and change.low > 0
    change = change_of_mean(new, old, confidence)
    if drift.factor > 0:
        return new.mean >= most * old.mean and change.low > 0
    return new.mean * most <= old.mean and change.high < 0


def explained(now: Record, before: Record, settings: AlarmSettings) -> bool:
    """Whether accuracy rose, or problems got harder: whatever else changed may be what that took.

    Where nothing is known of accuracy, anything may be.
    """
    accuracy = _accuracy(now, before)
    if not _enough(now, before, accuracy):
        return True
    change = change_of_share(now[accuracy], before[accuracy], settings.confidence)
    if change.mean >= settings.gain or change.low > 0:
        return True
    return change_of_mean(now["level"], before["level"], settings.confidence).low > 0


def _enough(now: Record, before: Record, quantity: str) -> bool:
    return all(record.get(quantity, Moments()).count >= FEWEST for record in (now, before))


def _accuracy(now: Record, before: Record) -> str:
    """Returns which accuracy counts: the audit's, or where it is unknown the scorer's own."""
    return "audit" if "audit" in now and "audit" in before else "correct"


def _whose(accuracy: str) -> str:
    return " under the audit" if accuracy == "audit" else ""


def went(before: Record, now: Record, quantity: str, digits: int = 2) -> str:
    """Returns "rose from 0.21 to 0.37", or as it was."""
    old, new = (f"{record[quantity].mean:.{digits}f}" for record in (before, now))
    if old == new:
        return f"stayed at {new}"
    return f"{'rose' if now[quantity].mean > before[quantity].mean else 'fell'} from {old} to {new}"
