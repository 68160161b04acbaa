"""Requests of the engine, their state during generation, and the control tokens of thoughts and ends."""

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from poziomka.core.sampler import FloorWatch, OnToken, SamplingParams
from poziomka.core.transcript import CLOSE, THINK, Author, Stop

CHARACTER = 4  # maximum bytes of a UTF-8 character, each of which may be a token
HALF = "\ufffd"  # replacement character, to which incomplete UTF-8 sequences decode


@dataclass(slots=True)
class Piece:
    """Generated tokens of one author and one policy, which become a span of the transcript.

    Attributes:
        author: Author.MODEL (sampled) or Author.FORCED (inserted, "</think>" for example).
        policy: version of the weights.
        tokens: token ids.
        logprobs: log-probability of each sampled token, in nats; empty for FORCED.
        stop: stop reason; None for FORCED, and while the piece is unfinished.
    """

    author: Author
    policy: str
    tokens: "array[int]" = field(default_factory=lambda: array("i"))
    logprobs: "array[float]" = field(default_factory=lambda: array("f"))
    stop: Stop | None = None


@dataclass(eq=False, slots=True)
class Request:
    """A request to the engine to continue a transcript.

    Attributes:
        tokens: token ids of the transcript so far, at least one.
        sampling: sampling parameters.
        thought: number of thinking tokens in `tokens` that count toward `max_thinking_tokens`, those of closed thoughts
            included.
        thinking: whether a thought is open at the end of `tokens`.
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
    """Control tokens: end tokens, and the marks of a thought ("<think>" and "</think>") as token sequences.

    A subword vocabulary can tokenize "</think>" in many ways (".</" + "think" + ">"), so marks are found in the decoded
    text there.

    Attributes:
        end: ids of tokens that end a reply.
        open: token ids of "<think>", as the tokenizer encodes it.
        close: token ids of "</think>", as the tokenizer encodes it; inserted to force the end of a thought.
        spelled: tokens that can be the last of another tokenization of a mark, as texts by id.
    """

    end: frozenset[int]
    open: tuple[int, ...]
    close: tuple[int, ...]
    spelled: Mapping[int, str] = field(default_factory=dict)

    @property
    def reach(self) -> int:
        """Maximum number of tokens of "<think>" or "</think>", in any tokenization."""
        return max(len(self.open), len(self.close), len(CLOSE) if self.spelled else 0)

    def found(self, words: tuple[int, ...], decode: "Callable[[list[int]], str]", *, thinking: bool) -> bool:
        """Returns whether the latest tokens end with "</think>" if `thinking`, else with "<think>".

        Args:
            words: latest token ids, at most `reach`.
            decode: decodes token ids into text.
            thinking: whether a thought is open.
        """
        if _ends(words, self.close if thinking else self.open):
            return True
        return words[-1] in self.spelled and (CLOSE if thinking else THINK) in decode(list(words))

    def closing(self, words: tuple[int, ...], decode: "Callable[[list[int]], str]") -> list[int]:
        """Returns the ids of next tokens that would complete "</think>".

        Args:
            words: latest token ids, at most `reach`.
            decode: decodes token ids into text.
        """
        tokens = [self.close[-1]] if _ends(words, self.close[:-1]) else []
        text = decode(list(words)) if self.spelled else ""
        if "<" in text:
            tokens += [token for token, last in self.spelled.items() if CLOSE in text + last]
        return tokens


class Row:
    """State of a request during generation; its decode state is one row of the batch.

    Attributes:
        request: the request.
        pieces: pieces generated so far.
        next: token id that the model reads in the next step.
        place: position of the next token in the transcript.
        seed: seed of the request, as an unsigned 64-bit integer.
        left: number of tokens that may still be sampled.
        confidence: log-probabilities of the latest sampled tokens, which may end the reply.
        context: maximum length of the transcript, in tokens; None for no maximum.
        thought: number of thinking tokens that count toward `max_thinking_tokens`.
        thinking: whether a thought is open.
        swapped: whether the weights changed since the first token was read.
        forced: token ids to insert next, instead of sampling.
        words: latest sampled token ids, in which "<think>" and "</think>" are searched.
        tail: latest sampled token ids, in which stop strings are searched.
    """

    __slots__ = (
        "confidence",
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
        """Creates the state before the first new token; the reply ends when the transcript has `context` tokens."""
        sampling = request.sampling
        self.request = request
        self.pieces: list[Piece] = []
        self.next = request.tokens[-1]
        self.place = len(request.tokens)
        self.seed = sampling.seed % 2**64
        self.left = sampling.max_tokens
        self.confidence = FloorWatch(sampling.floor)
        self.context = context
        self.thought, self.thinking = request.thought, request.thinking
        self.swapped = False
        self.forced: deque[int] = deque()
        self.words: tuple[int, ...] = ()
        longest = max((len(stop.encode("utf-8", "replace")) for stop in sampling.stop), default=0)
        self.tail: deque[int] = deque(maxlen=longest + CHARACTER)  # a token with text has a byte or more

    @property
    def written(self) -> "array[int]":
        """Token ids of the transcript: those of the request, then the generated ones."""
        tokens = array("i", self.request.tokens)
        for piece in self.pieces:
            tokens.extend(piece.tokens)
        return tokens

    @property
    def full(self) -> bool:
        """Whether the transcript has reached the context length."""
        return self.context is not None and self.place >= self.context

    def force(self, close: tuple[int, ...]) -> None:
        """Queues the tokens `close` to be inserted next if an open thought has used up `max_thinking_tokens`."""
        most = self.request.sampling.max_thinking_tokens
        if self.thinking and most is not None and self.thought >= most and not self.forced:
            self.forced.extend(close)
            self.thinking = False
            self.words = ()
            self.tail.clear()

    def forbids(self, marks: SpecialTokens, decode: "Callable[[list[int]], str]") -> list[int]:
        """Returns the ids of tokens not allowed next: those that would end a thought before `min_thinking_tokens`.

        Args:
            marks: control tokens.
            decode: decodes token ids into text.
        """
        if not self.thinking or self.thought >= self.request.sampling.min_thinking_tokens:
            return []
        return [*marks.end, *marks.closing(self.words, decode)]

    def write(
        self, token: int, logprob: float, policy: str, marks: SpecialTokens, decode: "Callable[[list[int]], str]"
    ) -> bool:
        """Appends the next token, updates the state, and returns whether the request is finished.

        Args:
            token: token id; the first one of `forced` if there are any, else a sampled one.
            logprob: log-probability of a sampled token, in nats; ignored for a forced one.
            policy: version of the weights.
            marks: control tokens.
            decode: decodes token ids into text, to find the marks of thoughts and stop strings.
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
        goes_on = goes_on and not self.confidence.ends(logprob)
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
    """Returns whether the text of the latest tokens contains a stop string.

    With byte-fallback tokens, a run of bytes that begins inside a character decodes to U+FFFD only, so decoding is
    repeated from each of the next bytes.

    Args:
        tail: the latest token ids.
        stops: the stop strings.
        decode: decodes token ids into text.
    """
    for start in range(CHARACTER):
        text = decode(tail[start:])
        if any(stop in text for stop in stops):
            return True
        if HALF not in text:
            break
    return False


def nothing(policy: str) -> Piece:
    """Returns an empty piece with Stop.LENGTH, the whole reply to a prompt that fills the context."""
    return Piece(Author.MODEL, policy, stop=Stop.LENGTH)


def _ends(words: tuple[int, ...], phrase: tuple[int, ...]) -> bool:
    """Returns whether the token ids `words` end with the token ids `phrase`; True for an empty phrase."""
    return not phrase or words[-len(phrase) :] == phrase
