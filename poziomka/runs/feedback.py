"""Rollouts that were judged later: a journal's on one side, scores.jsonl on the other, joined by id.

A line of scores.jsonl is {"id": …, "reward": 0 to 1, "why": …}; "verdict" and "answer" may stand beside. Without a
verdict, reward 1 is CORRECT and less is WRONG. `"reward": null` says that the check failed, which is never a reward.
The last line about an id counts, and it replaces a score that the journal had.
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

EXAMPLES = 3  # of what was left out, shown in a sentence


@dataclass(frozen=True)
class Scores:
    """What a file of scores says.

    Attributes:
        by_id: the last score given to each rollout.
        duplicates: ids that were scored more than once.
        refused: a sentence about each line that is no score.
    """

    by_id: Mapping[str, Score]
    duplicates: Sequence[str] = ()
    refused: Sequence[str] = ()


@dataclass(frozen=True)
class Judged:
    """Rollouts with their scores, whether they came early or late.

    Attributes:
        rollouts: all of them, judged or not.
        notes: what a person should know: who was left out, and why.
        counts: the same as numbers, by name (`scores/unknown` for one).
    """

    rollouts: Sequence[Rollout]
    notes: Sequence[str] = ()
    counts: Mapping[str, float] = field(default_factory=dict)


def rollouts_in(path: Path) -> tuple[list[Rollout], list[str]]:
    """Returns the rollouts of a journal file, or of all in a folder by name, and the ids that came twice.

    Of two rollouts with one id the first counts. Files that are still being written are passed over.

    Raises:
        RunError: there is no journal, or one cannot be read.
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
    """Returns the scores in a JSONL file; a line that is none is refused by itself and said.

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
    """Returns the id and the score that a line gives; raises TaskError or ValueError for what is none."""
    if not isinstance(line, dict) or not isinstance(line.get("id"), str):
        message = 'it must be an object with an "id" and a "reward"'
        raise TaskError(message)
    name, why, answer = line["id"], str(line.get("why") or ""), line.get("answer")
    if "reward" not in line:
        message = f"rollout {name!r} has no reward"
        raise TaskError(message)
    reward = line["reward"]
    if reward is not None and (isinstance(reward, bool) or not isinstance(reward, int | float)):
        message = f"the reward of {name!r} must be a number from 0 to 1, or null: received {reward!r}"
        raise TaskError(message)
    if "verdict" in line:
        verdict = Verdict(line["verdict"])
    elif reward is None:
        verdict = Verdict.ERROR
    else:
        verdict = Verdict.CORRECT if reward == 1 else Verdict.WRONG
    return name, Score(None if reward is None else float(reward), verdict, None if answer is None else str(answer), why)


def judge(rollouts: Sequence[Rollout], scores: Scores) -> Judged:
    """Returns the rollouts with the scores that came later; says which found no partner."""
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
    """Returns "3 rollouts ('a', 'b', 'c') were"."""
    shown = ", ".join(map(repr, names[:EXAMPLES])) + (", …" if len(names) > EXAMPLES else "")
    return f"{len(names)} rollout{'s' if len(names) > 1 else ''} ({shown}) {'were' if len(names) > 1 else 'was'}"
