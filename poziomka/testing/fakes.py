"""A sampler that says what it is told, with everything else as a model's: tokens, budgets, stops, versions."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

from poziomka.core.errors import SamplerError, SettingsError
from poziomka.core.sampler import Sampler, Sampling
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript, compact, compact_floats

Script = Sequence[str] | Callable[[Transcript, Sampling], str]

TOKENIZER = "scripted-words"
END = 0  # the end token's id; it stands in no text
FILLER = " wait"  # what is said while a thought may not close yet
PIECE = re.compile(rf"\s*(?:{THINK}|{CLOSE}|(?:(?!{THINK}|{CLOSE})\S)+)|\s+\Z")


def pieces(text: str) -> list[str]:
    """Returns the tokens of a text: words with the white space before them, the marks of thought always alone.

    Texts that begin with white space can be joined: the pieces of the whole are those of the parts.
    """
    return PIECE.findall(text)


def token_of(piece: str) -> int:
    """Returns a piece's id, the same in every process."""
    return 1 + crc32(piece.encode("utf-8", "surrogatepass")) % (2**31 - 2)


class ScriptedSampler(Sampler):
    """Replies by a script, and keeps the rules of a request as a model would.

    A thought that reaches `think_most` is closed by a FORCED span and the script goes on after its own
    "</think>"; one that ends before `think_least` is filled up with " wait". Thinking tokens are counted since
    the user spoke, over several requests and thoughts.

    Args:
        script: texts, given out in the order of the requests and round again after the last; or a function
            of (transcript, sampling). One request (words so far, seed) gets one reply however often it is made.
        policy: the version that spans name until weights are adopted.

    Attributes:
        requests: every request so far, oldest first.
        versions: `policy` and every version adopted since, oldest first.

    Raises:
        SettingsError: the script is empty, or a single string.
    """

    def __init__(self, script: Script, policy: str = "script") -> None:
        """Remembers the script; nothing has been said yet."""
        if isinstance(script, str) or not (callable(script) or script):
            message = f"a script is a list of replies or a function: received {script!r}; write ['…'] for one reply"
            raise SettingsError(message)
        self.requests: list[tuple[Transcript, Sampling]] = []
        self.versions: list[str] = [policy]
        self._script = script
        self._given: dict[tuple[str, int], str] = {}

    async def extend(self, transcript: Transcript, sampling: Sampling) -> Transcript:
        """Returns `transcript` with the script's next words after it.

        Raises:
            SamplerError: the transcript was read by another tokenizer, or the script returned no text.
        """
        self.requests.append((transcript, sampling))
        transcript = _read(transcript)
        writing = _Writing(sampling, *_thought(transcript))
        tokens = transcript.tokens
        before = tokens[-1] if tokens else None
        spans: list[Span] = []
        for author, words, stop in writing.write(pieces(self._reply(transcript, sampling))):
            spans.append(self._span(author, words, stop, before, sampling.temperature))
            before = spans[-1].tokens[-1] if spans[-1].tokens else before
        return transcript + spans

    async def score(self, transcript: Transcript, temperature: float = 1.0) -> list[float]:
        """Returns the log-probability of each token: those of its own words are the ones they were written with.

        Raises:
            SamplerError: the transcript was read by another tokenizer.
        """
        tokens = _read(transcript).tokens
        return [_logprob(before, token, temperature) for before, token in zip([None, *tokens], tokens, strict=False)]

    def adopt(self, version: str, weights: object) -> None:
        """Records `version`; a script has no use for the weights."""
        self.versions.append(version)

    def _reply(self, transcript: Transcript, sampling: Sampling) -> str:
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

    def _span(
        self, author: Author, words: list[str], stop: Stop | None, before: int | None, temperature: float
    ) -> Span:
        tokens = [token_of(word) for word in words]
        if stop is Stop.END:
            tokens.append(END)
        if author is not Author.MODEL:
            return Span(author, "".join(words), compact(tokens))
        logprobs = [_logprob(last, token, temperature) for last, token in zip([before, *tokens], tokens, strict=False)]
        return Span(author, "".join(words), compact(tokens), compact_floats(logprobs), stop, self.versions[-1])


def _read(transcript: Transcript) -> Transcript:
    """Returns the transcript with ids on every span."""
    if transcript.tokenizer not in (None, TOKENIZER):
        message = f"this script reads {TOKENIZER!r} tokens: received {transcript.tokenizer!r}; pass it without tokens"
        raise SamplerError(message)
    spans = tuple(
        replace(span, tokens=compact(map(token_of, pieces(span.text)))) if span.tokens is None else span
        for span in transcript
    )
    return replace(transcript, spans=spans, tokenizer=TOKENIZER)


def _thought(transcript: Transcript) -> tuple[int, bool]:
    """Returns how many tokens the model has thought since the user spoke, and whether a thought is open."""
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
    """Returns a made-up log-probability that depends on two tokens and the temperature; 0 for the first token."""
    if before is None or temperature == 0:
        return 0.0
    return -(crc32(f"{before} {token}".encode()) % 997) / 200 / temperature


@dataclass
class _Writing:
    """One request while it is being written."""

    sampling: Sampling
    thought: int  # thinking tokens so far
    thinking: bool  # a thought is open
    written: int = 0  # tokens so far
    words: list[str] = field(default_factory=list)  # of the span at hand
    said: str = ""  # of the request, since words were last forced

    def write(self, script: list[str]) -> Iterator[tuple[Author, list[str], Stop | None]]:
        """Yields author, words and stop of each span."""
        rest = list(reversed(script))
        least, most = self.sampling.think_least, self.sampling.think_most
        while True:
            if self.thinking and most is not None and self.thought >= most:
                yield from self._flush(Stop.LENGTH)
                yield Author.FORCED, [f" {CLOSE}"], None
                self.thinking, self.said = False, ""
                while rest and rest.pop().strip() != CLOSE:
                    pass
            if self.written == self.sampling.tokens:
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
            if thinking and not self.thinking and self.written < self.sampling.tokens:
                yield from self._flush(Stop.THOUGHT)

    def _say(self, word: str) -> bool:
        """Writes one word, no further than the end of a stop string; returns whether there was one."""
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
