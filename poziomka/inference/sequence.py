"""One request on its way through the engine."""

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from poziomka.core.sampler import OnToken, Sampling
from poziomka.core.transcript import CLOSE, THINK, Author, Stop

CHARACTER = 4  # most bytes of a character, each of which may be a token
HALF = "\ufffd"  # what bytes read as that are no character


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
        on_token: called with the author and the id of each token as it is written; False ends the reply.
    """

    tokens: "array[int]"
    sampling: Sampling
    thought: int
    thinking: bool
    done: "Callable[[list[Piece]], None]"
    cancelled: bool = False
    on_token: OnToken | None = None


@dataclass(frozen=True, slots=True)
class Marks:
    """Token sequences with a meaning: the end tokens, and how a thought is opened and closed.

    A vocabulary of pieces can spell "</think>" in many ways (".</" + "think" + ">"), so there the text decides.

    Attributes:
        end: any of them ends a reply.
        open, close: how a thought is opened and closed when we write it.
        spelled: tokens that can be the last of a mark spelled otherwise, with their texts.
    """

    end: frozenset[int]
    open: tuple[int, ...]
    close: tuple[int, ...]
    spelled: Mapping[int, str] = field(default_factory=dict)

    @property
    def reach(self) -> int:
        """Most tokens that a mark is made of."""
        return max(len(self.open), len(self.close), len(CLOSE) if self.spelled else 0)

    def found(self, words: tuple[int, ...], decode: "Callable[[list[int]], str]", *, thinking: bool) -> bool:
        """Whether `words` end with the mark that is awaited: the close where one thinks, else the opening."""
        if _ends(words, self.close if thinking else self.open):
            return True
        return words[-1] in self.spelled and (CLOSE if thinking else THINK) in decode(list(words))

    def closing(self, words: tuple[int, ...], decode: "Callable[[list[int]], str]") -> list[int]:
        """Returns the tokens that would close a thought after `words`."""
        tokens = [self.close[-1]] if _ends(words, self.close[:-1]) else []
        text = decode(list(words)) if self.spelled else ""
        if "<" in text:
            tokens += [token for token, last in self.spelled.items() if CLOSE in text + last]
        return tokens


class Row:
    """A request while it is being written."""

    __slots__ = (
        "context",
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

    def __init__(self, request: Request, context: int | None = None) -> None:
        """Starts after the request's tokens; the reply ends where the transcript has `context` tokens."""
        sampling = request.sampling
        self.request = request
        self.pieces: list[Piece] = []
        self.next = request.tokens[-1]  # the token to read in the coming step
        self.place = len(request.tokens)  # where the coming token will stand
        self.seed = sampling.seed % 2**64
        self.left = sampling.tokens
        self.context = context
        self.thought, self.thinking = request.thought, request.thinking
        self.swapped = False  # whether the weights changed since its first token was read
        self.forced: deque[int] = deque()
        self.words: tuple[int, ...] = ()  # the model's latest tokens, as many as open or close a thought
        longest = max((len(stop.encode("utf-8", "replace")) for stop in sampling.stop), default=0)
        self.tail: deque[int] = deque(maxlen=longest + CHARACTER)  # a token that can be read has a byte at least

    @property
    def written(self) -> "array[int]":
        """All tokens so far, the prefix included."""
        tokens = array("i", self.request.tokens)
        for piece in self.pieces:
            tokens.extend(piece.tokens)
        return tokens

    @property
    def full(self) -> bool:
        """Whether the transcript has as many tokens as the context."""
        return self.context is not None and self.place >= self.context

    def force(self, close: tuple[int, ...]) -> None:
        """Queues the end of the thought once its budget is spent."""
        most = self.request.sampling.think_most
        if self.thinking and most is not None and self.thought >= most and not self.forced:
            self.forced.extend(close)
            self.thinking = False
            self.words = ()
            self.tail.clear()

    def forbids(self, marks: Marks, decode: "Callable[[list[int]], str]") -> list[int]:
        """Returns the tokens that may not come next: those that would end a thought below its least length."""
        if not self.thinking or self.thought >= self.request.sampling.think_least:
            return []
        return [*marks.end, *marks.closing(self.words, decode)]

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
        goes_on = self.request.on_token is None or self.request.on_token(author, token)
        if forced:
            self.forced.popleft()
            if self.full:
                self.pieces.append(nothing(policy))
            return self.full or not goes_on
        piece.logprobs.append(logprob)
        self.left -= 1
        piece.stop = self._stop(token, marks, decode)
        if not goes_on and piece.stop in (None, Stop.THOUGHT):
            piece.stop = Stop.LENGTH
        return piece.stop not in (None, Stop.THOUGHT)

    def _think(self, token: int, marks: Marks, decode: "Callable[[list[int]], str]") -> bool:
        """Counts a token of the thought; returns whether it closed it.

        A thought that is opened again goes on with what it has spent, so that no budget can be had twice.
        """
        self.words = (*self.words, token)[-marks.reach :]
        found = marks.found(self.words, decode, thinking=self.thinking)
        if found:
            self.words = ()
        if not self.thinking:
            self.thinking = found
            return False
        self.thinking = not found
        self.thought += self.thinking
        return found

    def _stop(self, token: int, marks: Marks, decode: "Callable[[list[int]], str]") -> Stop | None:
        if token in marks.end:
            return Stop.END
        closed = self._think(token, marks, decode)
        if self.request.sampling.stop:
            if decode([token]):  # one that reads as nothing must not push others out
                self.tail.append(token)
            if _holds(list(self.tail), self.request.sampling.stop, decode):
                return Stop.PHRASE
        if self.left <= 0 or self.full:
            return Stop.LENGTH
        return Stop.THOUGHT if closed else None


def _holds(tail: list[int], stops: Sequence[str], decode: Callable[[list[int]], str]) -> bool:
    """Whether the text of the latest tokens holds one of `stops`.

    A vocabulary with bytes as a fallback reads a run of them as nothing but U+FFFD where the run begins in the middle
    of a character, so the run is also read from each of the next bytes on.
    """
    for start in range(CHARACTER):
        text = decode(tail[start:])
        if any(stop in text for stop in stops):
            return True
        if HALF not in text:
            break
    return False


def nothing(policy: str) -> Piece:
    """Returns the piece of a model that had no room to write a token."""
    return Piece(Author.MODEL, policy, stop=Stop.LENGTH)


def _ends(words: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    """Whether `words` end with `phrase`."""
    return not phrase or words[-len(phrase) :] == phrase
