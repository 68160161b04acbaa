"""Turns of attempts under way, in an append-only file from which the attempts continue after a kill.

`RecordedSampler` writes a line for each finished reply of its sampler. When the same program runs again with that file,
it makes the same requests: replies in the file are read from it, so that environments are replayed up to the turn that
was under way, which is sampled. A request that differs from the recorded one, because an environment said something
else this time, raises EnvironmentFailure, which is recorded as a failed check of that attempt.

A request is identified by its seed and its number under it: each attempt, vote or branch has a seed of its own, and
asks one request after another.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from poziomka.core.errors import EnvironmentFailure, RunError
from poziomka.core.safety.untrusted import LARGE, parse_json, read_regular
from poziomka.core.sampler import OnToken, SamplerWrapper, SamplingParams
from poziomka.core.transcript import Span, Transcript
from poziomka.runs.storage.disk import close_in_children, in_words
from poziomka.runs.storage.journal import MALFORMED, span_of, span_row
from poziomka.runs.storage.schema import SCHEMA

SYNCED = 64  # lines after which the file is synced to the disk; a kill of the process loses no line


@dataclass(frozen=True, slots=True)
class Turn:
    """A recorded reply.

    Attributes:
        request: hash of the request.
        kept: number of spans of the request with which the reply's transcript begins.
        tokenizer: fingerprint of the tokenizer of the reply's transcript.
        spans: spans of the reply's transcript after those.
    """

    request: str
    kept: int
    tokenizer: str | None
    spans: tuple[Span, ...]


class TurnLog:
    """A file of turns, open for appending and locked for this process; a context manager.

    Args:
        path: the file; created if it does not exist.
        recipe: all settings that replies depend on, as plain values: model, task, sampling, seed.

    Attributes:
        path: the file.
        known: recorded turns by (seed of the request, its number among the requests with this seed).

    Raises:
        RunError: the file belongs to another recipe, is damaged before its last line, is in use, or cannot be written.
    """

    def __init__(self, path: Path, recipe: Mapping[str, Any]) -> None:
        """Opens the file, reads it, and removes a last line that a kill cut off."""
        self.path, self._written = path, 0
        with in_words(f"write the turns of attempts to {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe would block
            self._file = os.fdopen(os.open(path, flags, 0o666), "ab", buffering=0)
        close_in_children(self._file)  # or a scorer's worker that outlives a kill would keep the lock
        try:
            self._lock()
            self.known = self._read(json.loads(json.dumps(recipe)))
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process is writing {self.path}: wait until it ends, stop it, or give another folder"
            raise RunError(message) from None

    def _read(self, recipe: Mapping[str, Any]) -> dict[tuple[int, int], Turn]:
        head = {"schema_version": SCHEMA, "recipe": recipe}
        with in_words(f"read the turns of attempts in {self.path}"):
            content = read_regular(self.path, RunError, LARGE)
        *texts, torn = content.split(b"\n")
        where = [f"line {number} of {self.path}" for number in range(1, len(texts) + 1)]
        lines = [parse_json(text, at, RunError, strict=False) for text, at in zip(texts, where, strict=True)]
        ours = lines[0] == head if lines else json.dumps(head).encode().startswith(torn)
        if not ours:
            message = f"{self.path} has the turns of a killed run with other settings: use those, or delete the file"
            raise RunError(message)
        found = dict(map(_known, where[1:], lines[1:]))
        with in_words(f"write the turns of attempts to {self.path}"):
            self._file.truncate(len(content) - len(torn))
        if not lines:
            self.write(head)
        return found

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line.

        Raises:
            RunError: the file cannot be written.
        """
        with in_words(f"write the turns of attempts to {self.path}"):
            self._file.write(json.dumps(line).encode() + b"\n")
            self._written += 1
            if self._written % SYNCED == 0:
                os.fsync(self._file.fileno())

    def delete(self) -> None:
        """Deletes the file, because its attempts are finished and saved elsewhere."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file, which another process can then continue; may be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        """Returns the log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the file."""
        self.close()


@dataclass(frozen=True)
class RecordedSampler(SamplerWrapper):
    """Sampler that records each reply in a file of turns, and returns the recorded reply to a repeated request.

    A recorded reply has the tokens, log-probabilities and seconds of the first time. A reply that is sampled after a
    kill is the one that would have been sampled, by its seed. On a model in this process its log-probabilities may
    differ in their last bits: a transcript that was read turn by turn is read at once, in another batch.

    Attributes:
        sampler: samples replies that are not recorded.
        log: open file of turns.
        asked: number of requests so far by seed.
    """

    log: TurnLog
    asked: Counter[int] = field(default_factory=Counter)

    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns the recorded reply to this request, or else the inner sampler's; see `Sampler.extend`.

        `on_token` is not called for a recorded reply.

        Raises:
            EnvironmentFailure: the recorded request is another one.
        """
        seed, number = sampling.seed, self.asked[sampling.seed]
        self.asked[seed] += 1
        request = _digest(transcript, sampling)
        known = self.log.known.get((seed, number))
        if known is None:
            reply = await self.sampler.extend(transcript, sampling, on_token)
            self.log.write({"seed": seed, "turn": number, "request": request, **_row(transcript, reply)})
            return reply
        if known.request != request:
            message = (
                f"the replay of turn {number + 1} after a kill differs from what was recorded: the environment does "
                "not repeat itself"
            )
            raise EnvironmentFailure(message)
        spans = (*transcript.spans[: known.kept], *known.spans)
        return replace(transcript, spans=spans, tokenizer=known.tokenizer)


def _known(where: str, line: Any) -> tuple[tuple[int, int], Turn]:
    """Returns ((seed, number), turn) of a line.

    Raises:
        RunError: the line is no turn that this module wrote.
    """
    try:
        seconds = map(float, line["seconds"])
        spans = tuple(span_of(row, seconds) for row in line["spans"])
        turn = Turn(line["request"], index(line["kept"]), line["tokenizer"], spans)
        return (index(line["seed"]), index(line["turn"])), turn
    except MALFORMED as error:
        message = f"{where} is no turn of an attempt: delete the file to begin anew"
        raise RunError(message) from error


def _row(transcript: Transcript, reply: Transcript) -> dict[str, Any]:
    """Returns the spans of a reply after those that it has in common with the request."""
    pairs = zip(transcript, reply, strict=False)
    kept = next((place for place, (one, other) in enumerate(pairs) if one != other), len(transcript.spans))
    spans = reply.spans[kept:]
    rows = [span_row(span) for span in spans]
    return {"kept": kept, "tokenizer": reply.tokenizer, "spans": rows, "seconds": [span.seconds for span in spans]}


def _digest(transcript: Transcript, sampling: SamplingParams) -> str:
    """Returns a hash of a request, clock readings apart."""
    spans = [span_row(span) for span in transcript]
    return blake2b(json.dumps([spans, repr(sampling)]).encode(), digest_size=16).hexdigest()
