"""Late scores: joins the rollouts of a journal with the scores of a scores.jsonl by id.

A line of scores.jsonl is {"id": …, "reward": -1 to 1, "why": …}, optionally with "verdict" and "answer". Without a
verdict, reward 1 is CORRECT and any lower reward is WRONG. `"reward": null` means that the check failed, which never
counts as a reward. The last line for an id takes effect, and it replaces a score in the journal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError, TaskError
from poziomka.core.problem import Score, Verdict
from poziomka.core.rollout import Rollout
from poziomka.core.safety.untrusted import LARGE, parse_json, read_regular
from poziomka.runs.storage.disk import TEMPORARY
from poziomka.runs.storage.journal import read_journal

EXAMPLES = 3  # ids or lines shown in a note


@dataclass(frozen=True)
class Scores:
    """Contents of a scores.jsonl, a file with scores that were computed after the rollouts were sampled.

    Attributes:
        by_id: score of each rollout, by the rollout's id; the last one if there are several.
        duplicates: ids that were scored more than once.
        refused: one sentence for each invalid line.
    """

    by_id: Mapping[str, Score]
    duplicates: Sequence[str] = ()
    refused: Sequence[str] = ()


@dataclass(frozen=True)
class Judged:
    """Rollouts with the scores of a scores.jsonl applied.

    Attributes:
        rollouts: all rollouts, with or without a score.
        notes: sentences for the user about scores that were left out, and why.
        counts: number of unknown, duplicate and refused scores, by metric name: `scores/unknown`, `scores/duplicate`
            and `scores/refused`.
    """

    rollouts: Sequence[Rollout]
    notes: Sequence[str] = ()
    counts: Mapping[str, float] = field(default_factory=dict)


def rollouts_in(path: Path) -> tuple[list[Rollout], list[str]]:
    """Returns the rollouts of one journal file, or of all journals in a folder in order of their names.

    Of several rollouts with one id, the first is used. Files that are still being written are skipped.

    Args:
        path: a journal file or a folder.

    Returns:
        (rollouts, ids of rollouts that were left out because the id occurred before).

    Raises:
        RunError: there is no journal, or a journal cannot be read.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith(TEMPORARY))
        if not files:
            message = f"there is no journal in {path}: it holds no .parquet file; give a journal's file or its folder"
            raise RunError(message)
    found: dict[str, Rollout] = {}
    twice = []
    for file in files:
        for rollout in read_journal(file).rollouts:
            if rollout.id in found:
                twice.append(rollout.id)
            else:
                found[rollout.id] = rollout
    return list(found.values()), twice


def read_scores(path: Path) -> Scores:
    """Returns the scores in a JSON Lines file; an invalid line is skipped and reported in `Scores.refused`.

    A line is {"id": …, "reward": -1 to 1, "why": …}, optionally with "verdict" and "answer". Without a verdict, reward
    1 is CORRECT and any other reward is WRONG. `"reward": null` means that the check failed.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        lines = read_regular(path, RunError, LARGE).split(b"\n")
    except FileNotFoundError as error:
        message = f"cannot read the scores {path}: there is no such file; give a file with a JSON object a line"
        raise RunError(message) from error
    found: dict[str, Score] = {}
    duplicates, refused = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            name, score = _score(parse_json(line, "it", TaskError))
        except (TaskError, ValueError) as error:
            refused.append(f"line {number} of {path.name} is no score: {error}")
            continue
        if name in found:
            duplicates.append(name)
        found[name] = score
    return Scores(found, duplicates, refused)


def _score(line: Any) -> tuple[str, Score]:
    """Returns (id, score) of a parsed line of a scores.jsonl.

    Raises:
        TaskError: the line is no object with an id and a reward, or its verdict contradicts its reward.
        ValueError: the verdict is unknown.
    """
    if not isinstance(line, dict) or not isinstance(line.get("id"), str):
        message = 'it must be an object with an "id" and a "reward"'
        raise TaskError(message)
    name, why, answer = line["id"], str(line.get("why") or ""), line.get("answer")
    if "reward" not in line:
        message = f"rollout {name!r} has no reward"
        raise TaskError(message)
    reward = line["reward"]
    if reward is not None and (isinstance(reward, bool) or not isinstance(reward, int | float)):
        message = f"the reward of {name!r} must be a number from -1 to 1, or null: received {reward!r}"
        raise TaskError(message)
    if "verdict" in line:
        verdict = Verdict(line["verdict"])
    elif reward is None:
        verdict = Verdict.ERROR
    else:
        verdict = Verdict.CORRECT if reward == 1 else Verdict.WRONG
    _demand_consistent(name, reward, verdict)
    return name, Score(None if reward is None else float(reward), verdict, None if answer is None else str(answer), why)


def _demand_consistent(name: str, reward: float | None, verdict: Verdict) -> None:
    """Checks that a verdict and a reward agree.

    Raises:
        TaskError: they do not: for example, a reward with verdict ERROR, or reward 1 with verdict WRONG.
    """
    if verdict in (Verdict.ERROR, Verdict.TIMEOUT):
        sound, wanted = reward is None, "null"
    elif verdict is Verdict.CORRECT:
        sound, wanted = reward is not None, "a number"
    elif verdict is Verdict.WRONG:
        sound, wanted = reward is not None and reward < 1, "below 1"
    else:
        sound, wanted = reward == 0, "0"
    if not sound:
        message = f"the reward of {name!r} with the verdict {verdict.value!r} must be {wanted}: received {reward!r}"
        raise TaskError(message)


def judge(rollouts: Sequence[Rollout], scores: Scores) -> Judged:
    """Returns the rollouts with scores of a scores.jsonl, which replace earlier scores of their first branches.

    Scores without a rollout, duplicates and invalid lines are reported in the result's `notes` and `counts`.
    """
    known = {rollout.id for rollout in rollouts}
    unknown = [name for name in scores.by_id if name not in known]
    judged = [_with(rollout, scores.by_id.get(rollout.id)) for rollout in rollouts]
    notes = list(scores.refused[:EXAMPLES])
    if len(scores.refused) > EXAMPLES:
        notes.append(f"{len(scores.refused) - EXAMPLES} more lines are no scores and were left out")
    if unknown:
        notes.append(f"{_named(unknown)} not in the journal: those scores were left out")
    if scores.duplicates:
        notes.append(f"{_named(scores.duplicates)} scored more than once: the last score counts")
    counts = {
        "scores/unknown": len(unknown),
        "scores/duplicate": len(scores.duplicates),
        "scores/refused": len(scores.refused),
    }
    return Judged(judged, notes, {name: float(count) for name, count in counts.items()})


def _with(rollout: Rollout, score: Score | None) -> Rollout:
    if score is None:
        return rollout
    first, *others = rollout.branches
    return replace(rollout, branches=(replace(first, score=score), *others))


def _named(names: Sequence[str]) -> str:
    """Returns ids as the beginning of a sentence: "3 rollouts ('a', 'b', 'c') were"."""
    shown = ", ".join(map(repr, names[:EXAMPLES])) + (", …" if len(names) > EXAMPLES else "")
    return f"{len(names)} rollout{'s' if len(names) > 1 else ''} ({shown}) {'were' if len(names) > 1 else 'was'}"
