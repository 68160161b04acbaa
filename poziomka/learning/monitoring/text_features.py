"""What can be seen in a reply that a reward does not ask for: repetition, a thought that is none, an early answer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from poziomka.core.problem import Verdict
from poziomka.core.rollout import Group, Rollout
from poziomka.core.rollouts.answers import split_thought
from poziomka.core.rollouts.cross_check import LEADS
from poziomka.core.transcript import CLOSE, THINK, Author, Transcript

NGRAM = 4  # tokens that count as said before when they stood in this order before
SHORT = 16  # tokens of a reply that is too short to repeat itself
LOOP = 0.5  # repeated share from which a reply is called looping
STUB_WORDS, STUB_LETTERS = 2, 16  # a thought with less than either is a stub: some scripts put no space between words
MARKS = ".,;:!?*`'\"$()"


@dataclass(frozen=True, slots=True)
class Signs:
    """What one reply shows.

    Attributes:
        repeated: share of its tokens that end four tokens which stood in this order before; 0 in a short reply.
        empty: the thought is empty, a stub of one word, or absent.
        early: the answer stands before the thought, or is what the thought begins with.
        truncated: it ran into its limit and has no right answer.
        length: tokens the model wrote.
        answer: what was read as its answer; None where nothing was.
    """

    repeated: float
    empty: bool
    early: bool
    truncated: bool
    length: int
    answer: str | None

    @property
    def looping(self) -> bool:
        """Whether half of the reply or more was said before."""
        return self.repeated >= LOOP


def signs_of(rollout: Rollout) -> Signs:
    """Returns what a judged rollout shows."""
    transcript, score = rollout.transcript, rollout.score
    reply = transcript.reply
    thought = split_thought(reply)[0] if THINK in reply or CLOSE in reply else ""
    return Signs(
        repeated=repeated_share(_units(transcript)),
        empty=len(thought.split()) < STUB_WORDS and len(thought) < STUB_LETTERS,
        early=_early(reply, thought, score.answer),
        truncated=score.verdict is Verdict.TRUNCATED,
        length=transcript.cost,
        answer=score.answer,
    )


def _units(transcript: Transcript) -> list[object]:
    """Returns the tokens that the model wrote, or its words where a sampler gave no tokens."""
    units: list[object] = []
    for span in transcript:
        if span.author is Author.MODEL:
            units.extend(span.text.split() if span.tokens is None else span.tokens)
    return units


def repeated_share(units: Sequence[object]) -> float:
    """Returns which share of the runs of NGRAM units stood there before; 0 for less than SHORT units."""
    if len(units) < SHORT:
        return 0.0
    runs = len(units) - NGRAM + 1
    return 1 - len(set(zip(*(units[start : start + runs] for start in range(NGRAM)), strict=True))) / runs


def _early(reply: str, thought: str, answer: str | None) -> bool:
    before, opened, _ = reply.partition(THINK)
    if opened and before.strip():
        return True
    words = [word for part in thought.split(maxsplit=8)[:8] if (word := part.strip(MARKS).lower())]
    said = (answer or "").lower().split()
    while words and words[0] in LEADS and words[: len(said)] != said:
        words.pop(0)
    return bool(said) and len(thought.split()) > len(said) and words[: len(said)] == said


def most_common_answer(groups: Sequence[Group]) -> str | None:
    """Returns the answer that most attempts gave, whatever they were asked; None where none was read."""
    answers = Counter(r.score.answer for group in groups for r in group if r.score.answer is not None)
    return min(answers, key=lambda answer: (-answers[answer], answer)) if answers else None
