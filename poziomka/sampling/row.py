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
        thought: thinking tokens written so far, in thoughts that were closed too.
        thinking: whether a thought is open.
        done: called once with the pieces that were written.
        cancelled: nobody waits for it any more.
    """

    tokens: "array[int]"
    sampling: Sampling
    thought: int
    thinking: bool
    done: "Callable[[list[Piece]], None]"
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """Token sequences with a meaning: the end tokens, and how a thought is opened and closed."""

    end: frozenset[int]
    open: tuple[int, ...]
    close: tuple[int, ...]


class Row:
    """A request while it is being written."""

    __slots__ = (
        "forced",
        "left",
        "next",
        "pieces",
        "place",
        "request",
        "seed",
        "swapped",
        "tail",
        "thinking",
        "thought",
        "words",
    )

    def __init__(self, request: Request) -> None:
        """Starts after the request's tokens."""
        sampling = request.sampling
        self.request = request
        self.pieces: list[Piece] = []
        self.next = request.tokens[-1]  # the token to read in the coming step
        self.place = len(request.tokens)  # where the coming token will stand
        self.seed = sampling.seed % 2**64
        self.left = sampling.tokens
        self.thought, self.thinking = request.thought, request.thinking
        self.swapped = False  # whether the weights changed since its first token was read
        self.forced: deque[int] = deque()
        self.words: tuple[int, ...] = ()  # the model's latest tokens, as many as open or close a thought
        self.tail: deque[int] = deque(maxlen=max(map(len, sampling.stop), default=0) + 4)

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
        if self.thinking and most is not None and self.thought >= most and not self.forced:
            self.forced.extend(close)
            self.thinking = False
            self.words = ()
            self.tail.clear()

    def forbids(self, marks: Marks) -> list[int]:
        """Returns the tokens that may not come next: those that would end a thought below its least length."""
        if not self.thinking or self.thought >= self.request.sampling.think_least:
            return []
        closing = _ends(self.words, marks.close[:-1])
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
        piece.stop = self._stop(token, marks, decode)
        return piece.stop not in (None, Stop.THOUGHT)

    def _think(self, token: int, marks: Marks) -> bool:
        """Counts a token of the thought; returns whether it closed it.

        A thought that is opened again goes on with what it has spent, so that no budget can be had twice.
        """
        self.words = (*self.words, token)[-max(len(marks.open), len(marks.close)) :]
        if not self.thinking:
            self.thinking = _ends(self.words, marks.open)
            return False
        self.thinking = not _ends(self.words, marks.close)
        self.thought += self.thinking
        return not self.thinking

    def _stop(self, token: int, marks: Marks, decode: "Callable[[list[int]], str]") -> Stop | None:
        if token in marks.end:
            return Stop.END
        closed = self._think(token, marks)
        if self.request.sampling.stop:
            self.tail.append(token)
            text = decode(list(self.tail))
            if any(stop in text for stop in self.request.sampling.stop):
                return Stop.PHRASE
        if self.left <= 0:
            return Stop.LENGTH
        return Stop.THOUGHT if closed else None


def _ends(words: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    """Whether `words` end with `phrase`."""
    return not phrase or words[-len(phrase) :] == phrase
