"""Verdict forms: the question that a learned judge reads after a reply or a step, and the words that answer it.

The judge's value is the expected value of its answer, over the probabilities of the words alone:

    value = Σ_w p(w) v(w) / Σ_w p(w)

An outcome verifier answers no (0) or yes (1), so its value is p(yes) / (p(yes) + p(no)); a step value model answers
with one of B bins of equal width, whose values are the centres (i + 1/2) / B. Both train with the next-token loss
(generative verifiers: Zhang et al. 2024, arXiv 2408.15240).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from poziomka.core.errors import SettingsError, TranscriptError, nearest
from poziomka.core.problem import Problem
from poziomka.core.transcript import Author, Span, Stop, Transcript

Kind = Literal["outcome", "value"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A transcript of known correctness, from which a judge is trained or measured.

    Attributes:
        problem: problem that was attempted.
        transcript: prompt with a complete reply, or with its first steps.
        correct: 1 for a correct reply and 0 for any other; for first steps, the share of continuations that are
            correct.
    """

    problem: Problem
    transcript: Transcript
    correct: float


@dataclass(frozen=True)
class VerdictForm:
    """A question about a reply or its first steps, and the words that answer it.

    Attributes:
        kind: "outcome" (is the reply correct?) or "value" (how often does the reply end in a correct answer?).
        question: text that the judge reads after the transcript, as a message of the user.
        words: answers, one token of the judge's tokenizer each: (no, yes) for an outcome, the bins from lowest to
            highest for a value.

    Raises:
        SettingsError: the kind is unknown, or the number of words does not fit it, or two words are equal.
    """

    kind: Kind
    question: str
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        """Checks the kind and the words."""
        if self.kind not in get_args(Kind):
            message = f"unknown kind of judge {self.kind!r}{nearest(str(self.kind), get_args(Kind))}"
            raise SettingsError(message)
        fits = len(self.words) == 2 if self.kind == "outcome" else len(self.words) >= 2
        if not fits or len({word.strip() for word in self.words}) != len(self.words):
            count = "two different words, for no and yes" if self.kind == "outcome" else "two or more different words"
            message = f"a judge of kind {self.kind!r} answers with {count}: received {self.words!r:.80}"
            raise SettingsError(message)

    @property
    def values(self) -> tuple[float, ...]:
        """Value of each word, 0 to 1: 0 and 1 for an outcome, the bins' centres for a value."""
        if self.kind == "outcome":
            return 0.0, 1.0
        return tuple((number + 0.5) / len(self.words) for number in range(len(self.words)))

    def value(self, logprobs: Sequence[float]) -> float:
        """Returns the expected value, 0 to 1, of the answer; NaN if a log-probability is NaN, or all are -inf.

        Args:
            logprobs: natural log-probability of each word.
        """
        most = max(logprobs)
        if not all(logprob < math.inf for logprob in logprobs) or most == -math.inf:
            return math.nan
        weights = [math.exp(logprob - most) for logprob in logprobs]
        return sum(w * v for w, v in zip(weights, self.values, strict=True)) / sum(weights)

    def word(self, value: float) -> str:
        """Returns the word for a label, 0 to 1: the bin that contains it; for an outcome, yes from 1/2 on."""
        return self.words[min(int(value * len(self.words)), len(self.words) - 1)]

    def asked(self, transcript: Transcript, tokenizer: str | None) -> Transcript:
        """Returns a transcript followed by the question, ready to be read by a judge.

        Its tokens are kept if the judge has the same tokenizer; otherwise the judge reads its text.

        Args:
            transcript: prompt with a complete reply, or with its first steps.
            tokenizer: fingerprint of the judge's tokenizer; None if unknown.

        Raises:
            TranscriptError: the judge has another tokenizer, and a part of the transcript has tokens but no text.
        """
        own = transcript if transcript.tokenizer in (None, tokenizer) else as_text(transcript)
        return replace(own + Span(Author.USER, self.question), tried=())

    def plain(self) -> dict[str, Any]:
        """Returns the form as JSON values, from which `of` restores it."""
        return {"kind": self.kind, "question": self.question, "words": list(self.words)}

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> "VerdictForm":
        """Restores a form from the values of `plain`; `where` names their origin in error messages.

        Raises:
            SettingsError: a value is missing or cannot be used.
        """
        kind, question, words = values.get("kind"), values.get("question"), values.get("words")
        texts = isinstance(words, list) and all(isinstance(word, str) for word in words)
        if not isinstance(kind, str) or not isinstance(question, str) or not isinstance(words, list) or not texts:
            message = f"{where} must have a kind, a question and a list of words: received {dict(values)!r:.120}"
            raise SettingsError(message)
        return cls(kind, question, tuple(words))  # type: ignore[arg-type]  # __post_init__ checks the kind


OUTCOME = VerdictForm("outcome", "Is this reply correct? Answer yes or no.", ("no", "yes"))
VALUE = VerdictForm(
    "value",
    "How likely is it that this reply ends in a correct answer? Answer with a digit from 0 (never) to 9 (always).",
    tuple("0123456789"),
)


def as_text(transcript: Transcript) -> Transcript:
    """Returns a transcript without tokens, for a sampler with another tokenizer, which encodes its text.

    The chat format's own tokens are left out, because the other sampler has a chat format of its own; its visible text,
    such as an opened "<think>", becomes a forced part of the reply.

    Raises:
        TranscriptError: a part has tokens but no text: it was cut by tokens, and only its tokenizer can spell it.
    """
    spans = []
    for span in transcript:
        if span.author is Author.TEMPLATE and not span.text:
            continue
        if span.tokens and not span.text and span.stop is not Stop.END:
            message = (
                f"a transcript of tokenizer {transcript.tokenizer} was cut after {len(span)} tokens of a "
                f"{span.author} span, whose text only that tokenizer can spell: use a judge with the same tokenizer"
            )
            raise TranscriptError(message)
        author = Author.FORCED if span.author is Author.TEMPLATE else span.author
        spans.append(Span(author, span.text, stop=span.stop))
    return Transcript(tuple(spans), tools=transcript.tools)
