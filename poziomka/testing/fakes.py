"""A scripted sampler for tests, with the tokens, budgets, stops and versions of a real one."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

from poziomka.core.errors import SamplerError, SettingsError
from poziomka.core.sampler import Capabilities, FloorWatch, NextTokens, OnToken, Sampler, SamplingParams
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript, compact, compact_floats

Script = Sequence[str] | Callable[[Transcript, SamplingParams], str]

TOKENIZER = "scripted-words"
END = 0  # id of the end token, which has no text
FILLER = " wait"  # written while a thought is below its minimal length
PIECE = re.compile(rf"\s*(?:{THINK}|{CLOSE}|(?:(?!{THINK}|{CLOSE})\S)+)|\s+\Z")


def pieces(text: str) -> list[str]:
    """Tokenizes a text into words, each with the white space before it; thought tags are always separate tokens.

    If texts begin with white space, the tokens of their concatenation are the tokens of the parts.
    """
    return PIECE.findall(text)


def token_of(piece: str) -> int:
    """Returns the id of a token, a hash of its text that is the same in every process."""
    return 1 + crc32(piece.encode("utf-8", "surrogatepass")) % (2**31 - 2)


class ScriptedSampler(Sampler):
    """A sampler that replies from a script and follows the rules of `SamplingParams` as a model would.

    A thought that reaches `max_thinking_tokens` is closed by a FORCED span, and the script continues after its own
    "</think>". A thought that ends before `min_thinking_tokens` is padded with " wait". Thinking tokens are counted
    since the last user message, across requests and thoughts.

    Args:
        script: texts, used in the order of the requests and repeated cyclically; or a function of (transcript,
            sampling). Repeated requests with the same text and seed get the same reply.
        policy: version in the spans until `load_weights` is called.

    Attributes:
        requests: all requests so far, oldest first.
        versions: `policy` and all loaded versions, oldest first.

    Raises:
        SettingsError: the script is empty, or a single string.
    """

    def __init__(self, script: Script, policy: str = "script") -> None:
        """Stores the script."""
        if isinstance(script, str) or not (callable(script) or script):
            message = f"a script is a list of replies or a function: received {script!r}; write ['…'] for one reply"
            raise SettingsError(message)
        self.requests: list[tuple[Transcript, SamplingParams]] = []
        self.versions: list[str] = [policy]
        self._script = script
        self._given: dict[tuple[str, int], str] = {}
        self._words: dict[int, str] = {END: ""}  # texts of tokens

    @property
    def capabilities(self) -> Capabilities:
        """Token ids, log-probabilities and scoring; no dtype and no limit of the context."""
        return Capabilities(token_ids=True, logprobs=True, scoring=True, tokenizer=TOKENIZER)

    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns `transcript` followed by the script's next reply.

        Raises:
            SamplerError: the transcript has tokens of another tokenizer, or the script returned no text.
        """
        self.requests.append((transcript, sampling))
        transcript = _read(transcript)
        writing = _Writing(sampling, *_thought(transcript))
        self._learn(piece for span in transcript for piece in pieces(span.text))
        tokens = transcript.tokens
        before = tokens[-1] if tokens else None
        spans: list[Span] = []
        watch = FloorWatch(sampling.floor)
        for author, words, stop in writing.write(pieces(self._reply(transcript, sampling))):
            span = self._span(author, words, stop, before, sampling.temperature)
            heard, ended = _streamed(span, watch, on_token)
            cut = heard < len(span) or (ended and stop is Stop.THOUGHT)
            spans.append(_broken_off(span, words, heard) if cut else span)
            before = spans[-1].tokens[-1] if spans[-1].tokens else before
            if ended:
                break
        return transcript + spans

    async def score(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the log-probability of each token; for tokens of this sampler, the ones that their spans store.

        Raises:
            SamplerError: the transcript has tokens of another tokenizer.
        """
        tokens = _read(transcript).tokens
        return [_logprob(before, token, temperature) for before, token in zip([None, *tokens], tokens, strict=False)]

    async def certainty(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns a fake certainty at each token, from its id and the one before it, 0 or more; 0 for the first.

        Raises:
            SamplerError: the transcript has tokens of another tokenizer.
        """
        return [-logprob for logprob in await self.score(transcript, temperature)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of token ids that this sampler read or wrote.

        Raises:
            SamplerError: a token id is unknown.
        """
        unknown = [token for token in tokens if token not in self._words]
        if unknown:
            message = f"this script has no token {unknown[0]}; decode tokens that it read or wrote"
            raise SamplerError(message)
        return "".join(self._words[token] for token in tokens)

    async def next_logprobs(self, transcript: Transcript, texts: Sequence[str]) -> NextTokens:
        """Returns the log-probabilities that `score` returns for the transcript followed by each text.

        Raises:
            SamplerError: the transcript has tokens of another tokenizer, or a text is not one word.
        """
        tokens = _read(transcript).tokens
        for text in texts:
            if pieces(text) != [text]:
                message = f"a candidate for the next token is one token: received {text!r}; give one word"
                raise SamplerError(message)
        before = tokens[-1] if tokens else None
        return NextTokens(tuple(_logprob(before, token_of(text), 1.0) for text in texts), len(tokens))

    async def load_weights(self, version: str, weights: Mapping[str, Any]) -> None:
        """Records `version`; the weights are ignored."""
        self.versions.append(version)

    async def release_weights(self) -> None:
        """Does nothing: a script has no weights."""

    def _reply(self, transcript: Transcript, sampling: SamplingParams) -> str:
        request = (transcript.text, sampling.seed)
        if request not in self._given:
            if callable(self._script):
                reply = self._script(transcript, sampling)
            else:
                reply = self._script[len(self._given) % len(self._script)]
            if not isinstance(reply, str):
                message = f"a script is made of texts: received {type(reply).__name__}; return a str"
                raise SamplerError(message)
            self._given[request] = reply
        return self._given[request]

    def _learn(self, words: Iterable[str]) -> None:
        self._words.update((token_of(word), word) for word in words)

    def _span(
        self, author: Author, words: list[str], stop: Stop | None, before: int | None, temperature: float
    ) -> Span:
        tokens = [token_of(word) for word in words]
        self._learn(words)
        if stop is Stop.END:
            tokens.append(END)
        if author is not Author.MODEL:
            return Span(author, "".join(words), compact(tokens))
        logprobs = [_logprob(last, token, temperature) for last, token in zip([before, *tokens], tokens, strict=False)]
        return Span(author, "".join(words), compact(tokens), compact_floats(logprobs), stop, self.versions[-1])


def _streamed(span: Span, watch: FloorWatch, on_token: OnToken | None) -> tuple[int, bool]:
    """Passes the tokens of a span on; returns (how many were passed, whether `watch` or `on_token` ended the reply)."""
    logprobs = span.logprobs or [0.0] * len(span)
    for count, (token, logprob) in enumerate(zip(span.tokens or (), logprobs, strict=True), 1):
        goes_on = on_token is None or on_token(span.author, token)
        if not goes_on or (span.author is Author.MODEL and watch.ends(logprob)):
            return count, True
    return len(span), False


def _broken_off(span: Span, words: list[str], count: int) -> Span:
    """Returns the span cut after its first `count` tokens, with the stop reason LENGTH."""
    logprobs = None if span.logprobs is None else span.logprobs[:count]
    tokens = None if span.tokens is None else span.tokens[:count]
    return replace(span, text="".join(words[:count]), tokens=tokens, logprobs=logprobs, stop=Stop.LENGTH)


def _read(transcript: Transcript) -> Transcript:
    """Returns the transcript with token ids on every span."""
    if transcript.tokenizer not in (None, TOKENIZER):
        message = f"this script reads {TOKENIZER!r} tokens: received {transcript.tokenizer!r}; pass it without tokens"
        raise SamplerError(message)
    spans = tuple(
        replace(span, tokens=compact(map(token_of, pieces(span.text)))) if span.tokens is None else span
        for span in transcript
    )
    return replace(transcript, spans=spans, tokenizer=TOKENIZER)


def _thought(transcript: Transcript) -> tuple[int, bool]:
    """Returns the number of thinking tokens since the last user message, and whether a thought is open."""
    thought, thinking = 0, False
    for span in transcript:
        if span.author in (Author.USER, Author.SYSTEM):
            thought, thinking = 0, False
            continue
        for piece in pieces(span.text):
            if piece.strip() in (THINK, CLOSE):
                thinking = piece.strip() == THINK
            else:
                thought += thinking and span.author is Author.MODEL
    return thought, thinking


def _logprob(before: int | None, token: int, temperature: float) -> float:
    """Returns a fake log-probability of a token after another, from their ids; 0 for the first or temperature 0."""
    if before is None or temperature == 0:
        return 0.0
    return -(crc32(f"{before} {token}".encode()) % 997) / 200 / temperature


@dataclass
class _Writing:
    """State of one request while its spans are written."""

    sampling: SamplingParams
    thought: int  # thinking tokens so far
    thinking: bool  # a thought is open
    written: int = 0  # tokens so far
    words: list[str] = field(default_factory=list)  # of the current span
    said: str = ""  # text of the request since the last forced span

    def write(self, script: list[str]) -> Iterator[tuple[Author, list[str], Stop | None]]:
        """Yields (author, tokens, stop reason) of each span of the reply.

        Args:
            script: tokens that the sampler would write without limits.
        """
        rest = list(reversed(script))
        least, most = self.sampling.min_thinking_tokens, self.sampling.max_thinking_tokens
        while True:
            if self.thinking and most is not None and self.thought >= most:
                yield from self._flush(Stop.LENGTH)
                yield Author.FORCED, [f" {CLOSE}"], None
                self.thinking, self.said = False, ""
                while rest and rest.pop().strip() != CLOSE:
                    pass
            if self.written == self.sampling.max_tokens:
                yield from self._flush(Stop.LENGTH)
                return
            over = not rest or rest[-1].strip() == CLOSE
            if over and self.thinking and self.thought < least:
                rest.append(FILLER)
            if not rest:
                yield Author.MODEL, self.words, Stop.END
                return
            thinking = self.thinking
            if self._say(rest.pop()):
                yield from self._flush(Stop.PHRASE)
                return
            if thinking and not self.thinking and self.written < self.sampling.max_tokens:
                yield from self._flush(Stop.THOUGHT)

    def _say(self, word: str) -> bool:
        """Writes one token, truncated at the end of a stop string; returns whether that completed one."""
        self.said += word
        ends = [self.said.index(phrase) + len(phrase) for phrase in self.sampling.stop if phrase in self.said]
        if ends:
            word = word[: len(word) - (len(self.said) - min(ends))]
        self.words.append(word)
        self.written += 1
        if word.strip() in (THINK, CLOSE):
            self.thinking = word.strip() == THINK
        else:
            self.thought += self.thinking
        return bool(ends)

    def _flush(self, stop: Stop) -> Iterator[tuple[Author, list[str], Stop | None]]:
        if self.words:
            yield Author.MODEL, self.words, stop
        self.words = []
