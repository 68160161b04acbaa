"""Journals: rollouts in Parquet files, one row each, readable by pandas, DuckDB and `datasets`.

The first branch of a rollout is in top-level columns, further ones are in `branches` with the same fields. Durations
are in the column `seconds` alone, so that two identical runs are equal in all other columns.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from poziomka.core.errors import RunError
from poziomka.core.problem import Problem, Score, Verdict
from poziomka.core.rollout import Branch, Cost, Group, Rollout
from poziomka.core.safety.untrusted import open_regular, parse_json
from poziomka.core.transcript import Author, Correction, Message, Span, Stop, Transcript, Tried, compact, compact_floats
from poziomka.runs.storage.disk import in_words, replace_file
from poziomka.runs.storage.schema import SCHEMA, demand_schema

# Errors of parsing the values of a damaged file.
MALFORMED = (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Journal:
    """Contents of one journal file.

    Attributes:
        step: training step of the rollouts.
        groups: the rollouts by group: attempts at one problem.
        advantages: advantages of branches: one number for each MODEL token of the branch. The key is the rollout's id
            for its first branch and "ID#k" for its branch k; a branch without advantages is absent.
    """

    step: int
    groups: list[list[Rollout]]
    advantages: dict[str, list[float]]

    @property
    def rollouts(self) -> list[Rollout]:
        """All rollouts, in the order of the file."""
        return list(chain.from_iterable(self.groups))


def write_journal(
    path: Path, groups: Sequence[Group], advantages: Mapping[str, Sequence[float]] | None = None, step: int = 0
) -> None:
    """Writes scored groups of rollouts to a journal file, atomically.

    Lone surrogates in texts become "?", because UTF-8, and so Parquet, cannot encode them.

    Args:
        path: the file, replaced if it exists.
        groups: the rollouts.
        advantages: advantages of branches: one number for each MODEL token of the branch. The key is the rollout's id
            for its first branch and "ID#k" for its branch k. None if there are none.
        step: training step of the rollouts.

    Raises:
        RunError: ids are not unique, the advantages do not match the rollouts, a problem's facts are not JSON values,
            or the file cannot be written.
    """
    advantages = advantages or {}
    rollouts = list(chain.from_iterable(groups))
    _demand_fit(path, rollouts, advantages)
    rows = [
        {"schema_version": SCHEMA, "step": step, "group": number, **_row(rollout, advantages)}
        for number, group in enumerate(groups)
        for rollout in group
    ]
    pa, pq = _arrow()
    sink = pa.BufferOutputStream()
    metadata = {"schema_version": str(SCHEMA), "step": str(step)}
    table = pa.Table.from_pylist(rows, _schema(pa, metadata))
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    with in_words(f"write the journal {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, sink.getvalue().to_pybytes())


def read_journal(path: Path) -> Journal:
    """Returns the contents of a journal file written by `write_journal`.

    All fields of the rollouts are restored, except `Transcript.tools`, which is not stored and is None.

    Raises:
        RunError: the file is missing, truncated or no journal, or of another schema_version.
    """
    step = journal_step(path)
    pa, pq = _arrow()
    try:
        with open_regular(path, RunError) as file:  # an open file, because pyarrow supports only paths in UTF-8
            rows = pq.read_table(file, page_checksum_verification=True).to_pylist()
        groups: dict[int, list[Rollout]] = {}
        for row in rows:
            groups.setdefault(row["group"], []).append(_rollout(row))
        kept = {name: values for row in rows for name, values in _advantages(row) if values is not None}
    except (OSError, pa.ArrowException, *MALFORMED) as error:
        raise _unreadable(path, error) from error
    return Journal(step, list(groups.values()), kept)


def journal_step(path: Path) -> int:
    """Returns the training step of a journal; reads only the metadata of the Parquet file, not the rollouts.

    Raises:
        RunError: the file is missing, truncated or no journal, or of another schema_version.
    """
    pa, pq = _arrow()
    try:
        with open_regular(path, RunError) as file:
            metadata = pq.read_metadata(file).metadata or {}
        version, step = (int(metadata[name]) if name in metadata else None for name in (b"schema_version", b"step"))
    except (OSError, pa.ArrowException, *MALFORMED) as error:
        raise _unreadable(path, error) from error
    demand_schema(version, f"journal {path}")
    return step or 0


def _arrow() -> tuple[Any, Any]:
    """Returns the modules pyarrow and pyarrow.parquet, imported only here because their import is slow."""
    import pyarrow as pa  # noqa: PLC0415 the slowest part of opening a run
    import pyarrow.parquet as pq  # noqa: PLC0415 the slowest part of opening a run

    return pa, pq


def _unreadable(path: Path, error: Exception) -> RunError:
    if isinstance(error, FileNotFoundError):
        return RunError(f"there is no journal {path}: give a journal's file, or the folder that holds some")
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return RunError(f"journal {path} is truncated or damaged ({reason}): restore it from a copy, or remove it")


def _schema(pa: Any, metadata: dict[str, str]) -> Any:
    text, count = pa.string(), pa.int64()
    span = pa.struct(
        {
            "author": text,
            "text": text,
            "tokens": pa.list_(pa.int32()),
            "logprobs": pa.list_(pa.float32()),
            "stop": text,
            "policy": text,
            "reward": pa.float64(),
            "feedback": text,
            "usage": count,
        }
    )
    tried = pa.struct({"fork_at": count, "spans": pa.list_(span)})
    correction = pa.struct({"sampled": count, "read": count, "judged": pa.float64(), "latency": count})
    branch = {
        "role": text,
        "parent": count,
        "fork_at": count,
        "trainable": pa.bool_(),
        "judged_as": count,
        "strategy_reward": pa.float64(),
        "reward": pa.float64(),
        "verdict": text,
        "why": text,
        "parsed_answer": text,
        "parts": text,
        "tokenizer": text,
        "spans": pa.list_(span),
        "tried": pa.list_(tried),
        "correction": correction,
        "advantages": pa.list_(pa.float64()),
    }
    columns = {
        "schema_version": count,
        "step": count,
        "id": text,
        "group": count,
        "task": text,
        "key": text,
        "level": count,
        "prompt": pa.list_(pa.struct({"role": text, "content": text})),
        "answer": text,
        "facts": text,
        "policy": text,
        "cost": count,
        "read": count,
        "judged": pa.float64(),
        "latency": count,
        "chosen": count,
        **branch,
        "branches": pa.list_(pa.struct(branch)),
        "seconds": pa.list_(pa.float64()),
    }
    return pa.schema(columns, metadata=metadata)


def _demand_fit(path: Path, rollouts: Sequence[Rollout], advantages: Mapping[str, Sequence[float]]) -> None:
    """Checks that the rollouts' ids are unique and that the advantages match the rollouts.

    Raises:
        RunError: an id occurs twice, a key of `advantages` names no branch, or their number is not that of MODEL
            tokens.
    """
    by_id = {_name(rollout, index): branch for rollout in rollouts for index, branch in enumerate(rollout.branches)}
    ids = {rollout.id for rollout in rollouts}
    if len(ids) != len(rollouts):
        message = f"journal {path} would hold {len(rollouts)} rollouts under {len(ids)} ids: give each its own id"
        raise RunError(message)
    for name, values in advantages.items():
        if name not in by_id:
            message = f"advantages name rollout {name!r}, which is not among the groups kept in {path}"
            raise RunError(message)
        count = sum(by_id[name].transcript.by(Author.MODEL))
        if len(values) != count:
            message = f"rollout {name!r} needs one advantage a model token: {count} tokens, {len(values)} advantages"
            raise RunError(message)


def _name(rollout: Rollout, index: int) -> str:
    """Returns the key of a branch's advantages: the rollout's id for its first branch, "ID#k" for branch k."""
    return f"{rollout.id}#{index}" if index else rollout.id


def _row(rollout: Rollout, advantages: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    problem = rollout.problem
    first, *others = (
        _branch_row(branch, rollout.id, advantages.get(_name(rollout, index)))
        for index, branch in enumerate(rollout.branches)
    )
    return {
        "id": rollout.id,
        "task": problem.task,
        "key": _text(problem.key),
        "level": problem.level,
        "prompt": [{"role": message.role, "content": _text(message.content)} for message in problem.prompt],
        "answer": _text(problem.answer),
        "facts": _json(problem.facts, f"the facts of problem {problem.task}/{problem.key}"),
        "policy": rollout.policy,
        "cost": rollout.cost.sampled,
        **_spent(rollout.spent),
        "chosen": rollout.answer,
        **first,
        "branches": others,
        "seconds": [span.seconds for branch in rollout.branches for span in _all_spans(branch.transcript)],
    }


def _all_spans(transcript: Transcript) -> Iterator[Span]:
    """Yields the spans of a transcript, then those in `tried`: the order of the `seconds` column."""
    yield from transcript.spans
    for tried in transcript.tried:
        yield from tried.spans


def _branch_row(branch: Branch, rollout: str, advantages: Sequence[float] | None) -> dict[str, Any]:
    score, transcript = branch.score, branch.transcript
    return {
        "role": branch.role,
        "parent": branch.parent,
        "fork_at": branch.fork_at,
        "trainable": branch.trainable,
        "judged_as": branch.judged_as,
        "strategy_reward": branch.reward,
        "reward": score and score.reward,
        "verdict": score and score.verdict.value,
        "why": score and _text(score.why),
        "parsed_answer": score and _text(score.answer),
        "parts": score and _json(score.parts, f"the reward's parts of rollout {rollout}"),
        "tokenizer": transcript.tokenizer,
        "spans": [span_row(span) for span in transcript.spans],
        "tried": [
            {"fork_at": tried.fork_at, "spans": [span_row(span) for span in tried.spans]} for tried in transcript.tried
        ],
        "correction": None if transcript.correction is None else asdict(transcript.correction),
        "advantages": None if advantages is None else [float(value) for value in advantages],
    }


def span_row(span: Span) -> dict[str, Any]:
    """Returns a span as plain values, without its seconds."""
    return {
        "author": span.author.value,
        "text": _text(span.text),
        "tokens": None if span.tokens is None else span.tokens.tolist(),
        "logprobs": None if span.logprobs is None else span.logprobs.tolist(),
        "stop": span.stop and span.stop.value,
        "policy": span.policy,
        "reward": span.reward,
        "feedback": _text(span.feedback),
        "usage": span.usage,
    }


def _spent(cost: Cost | None) -> dict[str, float | None]:
    """Returns the columns of a cost that a strategy measured; all null if the cost follows from the branches."""
    names = ("read", "judged", "latency")
    return {name: None if cost is None else getattr(cost, name) for name in names}


def _advantages(row: Mapping[str, Any]) -> Iterator[tuple[str, list[float] | None]]:
    """Yields (key, advantages) of each branch of a row; the advantages are None if the branch has none.

    Older journals have advantages of the first branch only.
    """
    yield row["id"], row["advantages"]
    for index, branch in enumerate(row["branches"], 1):
        yield f"{row['id']}#{index}", branch.get("advantages")


def _text(text: str | None) -> str | None:
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _json(values: Mapping[str, object], what: str) -> str:
    try:
        return json.dumps(dict(values), sort_keys=True, default=_plain)
    except (TypeError, ValueError) as error:
        message = f"{what} must be plain JSON values to be kept in a journal: {error}"
        raise RunError(message) from error


def _plain(value: object) -> object:
    """Returns a number or an array of numpy as Python's own numbers.

    Raises:
        TypeError: the value is anything else.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    message = f"received a {type(value).__name__}"
    raise TypeError(message)


def _rollout(row: Mapping[str, Any]) -> Rollout:
    _demand_texts(row["id"], row["answer"], row["task"], row["key"])
    _demand_texts(*(each[name] for each in row["prompt"] for name in ("role", "content")))
    prompt = tuple(Message(message["role"], message["content"]) for message in row["prompt"])
    facts = parse_json(row["facts"], "facts", RunError, strict=False)
    problem = Problem(prompt, row["answer"], task=row["task"], key=row["key"], facts=facts, level=row["level"])
    seconds = iter(row["seconds"])
    branches = tuple(_branch(part, seconds) for part in (row, *row["branches"]))
    return Rollout(row["id"], problem, branches, row["policy"], row.get("chosen") or 0, _cost(row))


def _cost(row: Mapping[str, Any]) -> Cost | None:
    """Returns the cost that a strategy measured; None if there is none, as in older journals."""
    if row.get("judged") is None:
        return None
    return Cost(sampled=row["cost"], read=row["read"], judged=row["judged"], latency=row["latency"])


def _branch(row: Mapping[str, Any], seconds: Iterator[float]) -> Branch:
    score = None
    if row["verdict"] is not None:
        parts = parse_json(row["parts"], "parts", RunError, strict=False)
        parts = {name: value for name, value in parts.items() if isinstance(value, int | float)}  # older ones had texts
        score = Score(row["reward"], Verdict(row["verdict"]), row["parsed_answer"], row["why"], parts)
    spans = tuple(span_of(span, seconds) for span in row["spans"])
    tried = tuple(
        Tried(each["fork_at"], tuple(span_of(span, seconds) for span in each["spans"])) for each in row["tried"]
    )
    correction = row.get("correction")  # absent from older journals
    transcript = Transcript(
        spans, row["tokenizer"], tried, correction=None if correction is None else Correction(**correction)
    )
    forked = row["parent"], row["fork_at"], row["role"], row["trainable"]
    return Branch(transcript, score, *forked, row.get("strategy_reward"), row.get("judged_as"))


def _demand_texts(*texts: object) -> None:
    """Checks that values are strings, which they may not be in a damaged file.

    Raises:
        TypeError: a value is no string.
    """
    for text in texts:
        if not isinstance(text, str):
            message = f"a text is a {type(text).__name__}"
            raise TypeError(message)


def span_of(row: Mapping[str, Any], seconds: Iterator[float]) -> Span:
    """Returns the span of a row that `span_row` made; its seconds are the next ones."""
    _demand_texts(row["text"], row.get("feedback") or "")
    span = Span(Author(row["author"]), row["text"], stop=row["stop"] and Stop(row["stop"]), policy=row["policy"])
    tokens = None if row["tokens"] is None else compact(row["tokens"])
    logprobs = None if row["logprobs"] is None else compact_floats(row["logprobs"])
    turn = replace(span, reward=row.get("reward"), feedback=row.get("feedback"), usage=row.get("usage") or 0)
    return replace(turn, tokens=tokens, logprobs=logprobs, seconds=next(seconds))
