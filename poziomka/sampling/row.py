"""One request on its way through the engine."""

from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from poziomka.core.sampler import Sampling
from poziomka.core.transcript import Author, Stop


@dataclass(slots=True)
class Piece:
    """What one author wrote under one policy: becomes a span."""

    author: Author
    policy: str
    tokens: "array[int]" = field(default_factory=lambda: array("i"))
    logprobs: "array[float]" = field(default_factory=lambda: array("f"))
    stop: Stop | None = None


@dataclass(eq=False, slots=True)
class Request:
    """A prefix to be continued.

    Attributes:
        tokens: the prefix, at least one token.
        sampling: its settings.
        thought: thinking tokens written so far; None where the thought is not open.
        done: called once with the pieces that were written.
        cancelled: nobody waits for it any more.
    """

    tokens: "array[int]"
    sampling: Sampling
    thought: int | None
    done: "Callable[[list[Piece]], None]"
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """Token sequences with a meaning: the end tokens, and how a thought is closed."""

    end: frozenset[int]
    close: tuple[int, ...]


class Row:
    """A request while it is being written."""

    __slots__ = ("forced", "left", "next", "pieces", "place", "request", "seed", "tail", "tail_size", "thought")

    def __init__(self, request: Request) -> None:
        """Starts after the request's tokens."""
        sampling = request.sampling
        self.request = request
        self.pieces: list[Piece] = []
        self.next = request.tokens[-1]  # the token to read in the coming step
        self.place = len(request.tokens)  # where the coming token will stand
        self.seed = sampling.seed
        self.left = sampling.tokens
        self.thought = request.thought
        self.forced: deque[int] = deque()
        self.tail: deque[int] = deque(maxlen=max(map(len, sampling.stop), default=0) + 4)
        self.tail_size = len(sampling.stop)

    @property
    def written(self) -> "array[int]":
        """All tokens so far, the prefix included."""
        tokens = array("i", self.request.tokens)
        for piece in self.pieces:
            tokens.extend(piece.tokens)
        return tokens

    def force(self, close: tuple[int, ...]) -> None:
        """Queues the end of the thought once its budget is spent."""
        most = self.request.sampling.think_most
        if self.thought is not None and most is not None and self.thought >= most and not self.forced:
            self.forced.extend(close)
            self.thought = None

    def forbids(self, marks: Marks) -> list[int]:
        """Returns the tokens that may not come next: those that would end a thought below its least length."""
        if self.thought is None or self.thought >= self.request.sampling.think_least:
            return []
        before = marks.close[:-1]
        closing = not before or (bool(self.pieces) and tuple(self.pieces[-1].tokens[-len(before) :]) == before)
        return [*marks.end, *([marks.close[-1]] if closing else [])]

    def write(
        self, token: int, logprob: float, policy: str, marks: Marks, decode: "Callable[[list[int]], str]"
    ) -> bool:
        """Takes the coming token; returns whether the request is finished."""
        forced = bool(self.forced)
        author = Author.FORCED if forced else Author.MODEL
        piece = self.pieces[-1] if self.pieces else None
        if piece is None or piece.author is not author or piece.policy != policy or piece.stop is not None:
            if piece is not None and piece.author is Author.MODEL and piece.stop is None:
                piece.stop = Stop.LENGTH if forced else Stop.SWAP
            piece = Piece(author, policy)
            self.pieces.append(piece)
        self.next = token
        self.place += 1
        piece.tokens.append(token)
        if forced:
            self.forced.popleft()
            return False
        piece.logprobs.append(logprob)
        self.left -= 1
        piece.stop = self._stop(token, piece, marks, decode)
        return piece.stop not in (None, Stop.THOUGHT)

    def _stop(self, token: int, piece: Piece, marks: Marks, decode: "Callable[[list[int]], str]") -> Stop | None:
        if token in marks.end:
            return Stop.END
        closed = False
        if self.thought is not None:
            closed = token == marks.close[-1] and tuple(piece.tokens[-len(marks.close) :]) == marks.close
            self.thought = None if closed else self.thought + 1
        if self.tail_size:
            self.tail.append(token)
            text = decode(list(self.tail))
            if any(stop in text for stop in self.request.sampling.stop):
                return Stop.PHRASE
        if self.left <= 0:
            return Stop.LENGTH
        return Stop.THOUGHT if closed else None
