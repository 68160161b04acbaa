"""Requests of the engine, their state during generation, and the control tokens of thoughts and ends."""

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from poziomka.core.sampler import OnToken, SamplingParams
from poziomka.core.transcript import CLOSE, THINK, Author, Stop

CHARACTER = 4  # maximum bytes of a UTF-8 character, each of which may be a token
HALF = "\ufffd"  # replacement character, to which incomplete UTF-8 sequences decode


@dataclass(slots=True)
class Piece:
    """Generated tokens of one author and one policy, which become a span.

    Attributes:
        author: MODEL or FORCED.
        policy: version of the weights.
        tokens: token ids.
        logprobs: log-probability of each sampled token; empty for FORCED.
        stop: stop reason; None for FORCED, and while the piece is unfinished.
    """

    author: Author
    policy: str
    tokens: "array[int]" = field(default_factory=lambda: array("i"))
    logprobs: "array[float]" = field(default_factory=lambda: array("f"))
    stop: Stop | None = None


@dataclass(eq=False, slots=True)
class Request:
    """A request to continue a prefix.

    Attributes:
        tokens: token ids of the prefix, at least one.
        sampling: sampling parameters.
        thought: thinking tokens in the prefix that count toward the budget, those of closed thoughts included.
        thinking: whether a thought is open at the end of the prefix.
        done: callback, called once with the generated pieces.
        cancelled: set when the caller no longer awaits the reply.
        on_token: callback (author, token id) for each generated token; if it returns False, the reply ends.
    """

    tokens: "array[int]"
    sampling: SamplingParams
    thought: int
    thinking: bool
    done: "Callable[[list[Piece]], None]"
    cancelled: bool = False
    on_token: OnToken | None = None


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Control tokens: end tokens, and the token sequences that open and close a thought.

    A subword vocabulary can tokenize "</think>" in many ways (".</" + "think" + ">"), so the decoded text is matched
    there.

    Attributes:
        end: ids of tokens that end a reply.
        open: token ids of the canonical "<think>".
        close: token ids of the canonical "</think>", used to force the end of a thought.
        spelled: text by id of tokens that can be the last of another tokenization of a mark.
    """

    end: frozenset[int]
    open: tuple[int, ...]
    close: tuple[int, ...]
    spelled: Mapping[int, str] = field(default_factory=dict)

    @property
    def reach(self) -> int:
        """Maximum number of tokens in a mark."""
        return max(len(self.open), len(self.close), len(CLOSE) if self.spelled else 0)

    def found(self, words: tuple[int, ...], decode: "Callable[[list[int]], str]", *, thinking: bool) -> bool:
        """Returns whether `words` end with the closing mark if `thinking`, else with the opening mark.

        Args:
            words: latest token ids, at most `reach`.
            decode: decodes token ids into text.
            thinking: whether a thought is open.
        """
        if _ends(words, self.close if thinking else self.open):
            return True
        return words[-1] in self.spelled and (CLOSE if thinking else THINK) in decode(list(words))

    def closing(self, words: tuple[int, ...], decode: "Callable[[list[int]], str]") -> list[int]:
        """Returns the ids of next tokens that would close a thought after `words`."""
        tokens = [self.close[-1]] if _ends(words, self.close[:-1]) else []
        text = decode(list(words)) if self.spelled else ""
        if "<" in text:
            tokens += [token for token, last in self.spelled.items() if CLOSE in text + last]
        return tokens


class Row:
    """State of a request during generation, one row of the batch.

    Attributes:
        request: the request.
        pieces: pieces generated so far.
        next: token id that the model reads in the next step.
        place: position of the next token in the transcript.
        seed: seed of the request, as an unsigned 64-bit integer.
        left: number of tokens that may still be sampled.
        context: maximum length of the transcript, in tokens; None for no maximum.
        thought: thinking tokens that count toward the budget.
        thinking: whether a thought is open.
        swapped: whether the weights changed since the first token was read.
        forced: token ids to insert next.
        words: latest MODEL token ids, as many as a mark may have, to find marks.
        tail: latest MODEL token ids, to find stop strings.
    """

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
        """Starts after the request's tokens; the reply ends when the transcript has `context` tokens."""
        sampling = request.sampling
        self.request = request
        self.pieces: list[Piece] = []
        self.next = request.tokens[-1]
        self.place = len(request.tokens)
        self.seed = sampling.seed % 2**64
        self.left = sampling.max_tokens
        self.context = context
        self.thought, self.thinking = request.thought, request.thinking
        self.swapped = False
        self.forced: deque[int] = deque()
        self.words: tuple[int, ...] = ()
        longest = max((len(stop.encode("utf-8", "replace")) for stop in sampling.stop), default=0)
        self.tail: deque[int] = deque(maxlen=longest + CHARACTER)  # a token with text has a byte or more

    @property
    def written(self) -> "array[int]":
        """Token ids so far, those of the prefix included."""
        tokens = array("i", self.request.tokens)
        for piece in self.pieces:
            tokens.extend(piece.tokens)
        return tokens

    @property
    def full(self) -> bool:
        """Whether the transcript has reached the context length."""
        return self.context is not None and self.place >= self.context

    def force(self, close: tuple[int, ...]) -> None:
        """Queues the tokens `close` if a thought is open and its budget (`max_thinking_tokens`) is spent."""
        most = self.request.sampling.max_thinking_tokens
        if self.thinking and most is not None and self.thought >= most and not self.forced:
            self.forced.extend(close)
            self.thinking = False
            self.words = ()
            self.tail.clear()

    def forbids(self, marks: SpecialTokens, decode: "Callable[[list[int]], str]") -> list[int]:
        """Returns the ids of tokens that are not allowed next: those that would end a thought before `min_thinking_tokens`."""
        if not self.thinking or self.thought >= self.request.sampling.min_thinking_tokens:
            return []
        return [*marks.end, *marks.closing(self.words, decode)]

    def write(
        self, token: int, logprob: float, policy: str, marks: SpecialTokens, decode: "Callable[[list[int]], str]"
    ) -> bool:
        """Appends the next token, updates the state, and returns whether the request is finished.

        Args:
            token: token id, sampled or forced.
            logprob: log-probability of a sampled token; ignored for a forced one.
            policy: version of the weights.
            marks: control tokens.
            decode: decodes token ids into text, to find marks and stop strings.
        """
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

    def _think(self, token: int, marks: SpecialTokens, decode: "Callable[[list[int]], str]") -> bool:
        """Updates the state of the thought with a sampled token; returns whether the token closed it.

        A thought that is opened again continues the count, so that the budget bounds all thoughts together.
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

    def _stop(self, token: int, marks: SpecialTokens, decode: "Callable[[list[int]], str]") -> Stop | None:
        if token in marks.end:
            return Stop.END
        closed = self._think(token, marks, decode)
        if self.request.sampling.stop:
            if decode([token]):  # tokens without text must not displace others from the tail
                self.tail.append(token)
            if _holds(list(self.tail), self.request.sampling.stop, decode):
                return Stop.PHRASE
        if self.left <= 0 or self.full:
            return Stop.LENGTH
        return Stop.THOUGHT if closed else None


def _holds(tail: list[int], stops: Sequence[str], decode: Callable[[list[int]], str]) -> bool:
    """Returns whether the text of the latest tokens contains one of `stops`.

    With byte-fallback tokens, a run of bytes that begins inside a character decodes to U+FFFD only, so decoding is
    repeated from each of the next bytes.
    """
    for start in range(CHARACTER):
        text = decode(tail[start:])
        if any(stop in text for stop in stops):
            return True
        if HALF not in text:
            break
    return False


def nothing(policy: str) -> Piece:
    """Returns the empty piece, with Stop.LENGTH, of a reply to a prompt that fills the context."""
    return Piece(Author.MODEL, policy, stop=Stop.LENGTH)


def _ends(words: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    """Returns whether `words` end with `phrase`."""
    return not phrase or words[-len(phrase) :] == phrase
