"""Compaction: a long conversation is summarised, and goes on in a new branch from its prompt and the summary."""

from dataclasses import dataclass, replace
from itertools import pairwise

from poziomka.core.environment import Handover, Session, opened
from poziomka.core.errors import EnvironmentFailure, SettingsError, TranscriptError
from poziomka.core.problem import Problem, Score
from poziomka.core.rollout import Branch, Cost
from poziomka.core.rollouts.conversation import SINGLE_REPLY, answered, speak
from poziomka.core.safety.failures import failures_of
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.seeds import seed_of
from poziomka.core.strategy import Attempt, OpenSession, Strategy
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript
from poziomka.thinking.ensemble import asked_with

CHARACTERS = 4  # of a text without token ids, counted as one token
ASK = (
    "The conversation will be cut here, and goes on with nothing but the problem and your summary. Write the summary: "
    "what is to be done, what was done and found so far, word for word where it matters, and what comes next."
)


def restated(prompt: Transcript, summary: str, turns: str) -> Transcript:
    """Returns a prompt with the summary of the work so far, and the last turns if there are any, appended to it."""
    text = f"Summary of the work so far:\n{summary}"
    return asked_with(prompt, f"{text}\n\nThe last turns, word for word:\n{turns}" if turns else text)


HANDOVER = Handover(ASK, restated)


@dataclass(frozen=True)
class Compaction(Strategy):
    """Conversation with a session whose transcript is summarised whenever it has `limit` tokens.

    Algorithm, for a transcript x that begins as the prompt p:

        repeat: the model writes a turn in x; the session replies
        until the conversation ends, or x has `limit` tokens after a turn: then
            the model writes a summary s at the end of x, which becomes a branch
            x ← p, s and the last `keep` turns as text: a branch with the old one as its parent

    The session's `handover` says how a summary is asked for, and how the conversation goes on from it; without one, the
    model is asked in words. The session itself always reads the whole conversation, without the summaries. The whole
    conversation is also the last branch, which answers, and which is not trained; the others are parts of it: they have
    its score, and are trained. Without a summary, the attempt is that of `SingleReply`.

    A summary that is empty, does not end within `summary` tokens, or leaves no room below `limit` is the model's
    mistake: it ends the attempt with reward 0, the verdict UNPARSED and the reason. An attempt whose session fails, or
    whose first prompt leaves no room, has a failure, with the branches so far. `max_tokens` bounds the tokens of all
    turns and summaries together; a thinking budget holds in each branch.

    Attributes:
        limit: tokens of a transcript, prompt included, after the model's turn, from which it is summarised after the
            session's reply. A sampler with a limited context needs room for that reply and the summary above it.
        summary: maximum tokens of a summary.
        keep: number of last turns, with their replies, that the new prompt repeats, if `handover` has a place for them.

    Raises:
        SettingsError: a number is out of range.
    """

    limit: int
    summary: int = 256
    keep: int = 0

    def __post_init__(self) -> None:
        """Raises SettingsError if a number is out of range."""
        if self.limit < 2 or self.summary < 1 or self.keep < 0:
            message = (
                "compaction needs a limit of 2 tokens or more, summaries of 1 token or more and 0 or more kept turns: "
                f"received {self.limit}, {self.summary} and {self.keep}"
            )
            raise SettingsError(message)

    async def attempt(
        self,
        sampler: Sampler,
        prompt: Transcript,
        params: SamplingParams,
        *,
        open_session: OpenSession | None = None,
        problem: Problem | None = None,
    ) -> Attempt:
        """Returns an attempt with a branch for each part of the conversation and one for the whole.

        The arguments and exceptions are those of `Strategy.attempt`. Without `open_session`, this is a single reply.
        """
        if open_session is None:
            return await SINGLE_REPLY.attempt(sampler, prompt, params, problem=problem)
        with opened(open_session) as session:
            work = _Work(self, sampler, session, prompt, params)
            try:
                await work.run()
            except (EnvironmentFailure, TranscriptError) as error:
                return work.attempt(str(error))
        return work.attempt(None)


class _Work:
    """State of one attempt.

    Args:
        settings: the strategy.
        sampler: samples turns and summaries.
        session: replies to turns.
        prompt: prompt of the attempt.
        params: parameters of the attempt.
    """

    def __init__(
        self, settings: Compaction, sampler: Sampler, session: Session, prompt: Transcript, params: SamplingParams
    ) -> None:
        self.settings, self.sampler, self.session, self.prompt = settings, sampler, session, prompt
        self.params, self.left = params, params.max_tokens
        self.parts: list[Transcript] = []  # finished parts, each with its summary
        self.part = prompt  # the present part
        self.began = len(prompt.spans)  # spans of the present part that are its prompt
        self.before: Transcript | None = None  # the whole conversation before the present part; None in the first one
        self.turns: list[str] = []  # texts of all turns with their replies
        self.score: Score | None = None  # of an attempt that ended with a summary that cannot be used

    @property
    def whole(self) -> Transcript:
        """The whole conversation, without summaries."""
        return self.part if self.before is None else self.before + self.part.spans[self.began :]

    async def run(self) -> None:
        """Makes turns and summaries until the conversation ends.

        Raises:
            EnvironmentFailure: the session failed.
            TranscriptError: a part of the conversation cannot be continued.
        """
        handover = handover_of(self.session)
        while self.left > 0:
            waits = await self._turn()
            long = length_of(self.part) >= self.settings.limit
            if not waits or await self._replied():
                return
            if long and self.left > 0:
                summary = await self._summary(handover)
                if summary is None or self.left <= 0:
                    return
                self._restart(handover, summary)

    async def _turn(self) -> bool:
        """Samples one turn; returns whether the session replies to it.

        It does not if the prompt of a new part leaves no room below the limit, which is then the score's reason.

        Raises:
            TranscriptError: even the prompt without a summary leaves no room.
        """
        fresh = len(self.part.spans) == self.began
        self.part, self.left, waits = await speak(self.sampler, self.session, self.part, self._params())
        self.turns.append("".join(span.text for span in _last(self.part)))
        if fresh and self.parts:  # now the new prompt has tokens, and perhaps further spans of the chat format
            self.began = len(self.part.spans) - len(_last(self.part))
            read, limit = length_of(replace(self.part, spans=self.part.spans[: self.began])), self.settings.limit
            if read >= limit:
                self._demand_room()
                self.score = Score.unparsed(f"a prompt with its summary has {read} tokens, of a limit of {limit}")
                return False
        return waits

    def _demand_room(self) -> None:
        """Raises TranscriptError if the prompt of the attempt, without a summary, leaves no room below the limit."""
        first, limit = self.parts[0], self.settings.limit
        written = next(number for number, span in enumerate(first) if span.author is Author.MODEL)
        read = length_of(replace(first, spans=first.spans[:written]))
        if read >= limit:
            message = f"a conversation whose prompt has {read} tokens cannot be cut at {limit}: raise the limit"
            raise TranscriptError(message)

    async def _replied(self) -> bool:
        """Adds the session's reply, which reads the whole conversation; returns whether the conversation is over."""
        whole = self.whole
        longer, over = await answered(self.session, whole)
        heard = longer.spans[len(whole.spans) :]
        self.part += heard
        self.turns[-1] += "".join(span.text for span in heard)
        return over

    async def _summary(self, handover: Handover) -> str | None:
        """Lets the model write a summary; returns its text, or None if that ended the conversation.

        The conversation ends if the model's next turn was to be the summary and ended its reply, if `max_tokens` were
        spent, or if the summary is empty or did not end within its limit of tokens, which is then the score's reason.
        """
        asked = self.part + Span(Author.USER, handover.ask) if handover.ask else self.part
        most = min(self.settings.summary, self.left)
        self.part = await self.sampler.extend(asked, replace(self._params(), max_tokens=most))
        self.left -= max(self.part.cost - asked.cost, 1)
        stop = self.part.stop
        if (stop is Stop.LENGTH and self.left <= 0) or (stop is Stop.END and not handover.ask):
            return None
        if stop is Stop.LENGTH:
            self.score = Score.unparsed(f"the summary after {len(self.turns)} turns did not end within {most} tokens")
            return None
        text = "".join(span.text for span in _last(self.part)).rpartition(CLOSE)[2].replace(THINK, "")
        for phrase in self.params.stop:
            text = text.removesuffix(phrase)
        if not text.strip():
            self.score = Score.unparsed(f"the summary after {len(self.turns)} turns is empty")
            return None
        return text.strip()

    def _restart(self, handover: Handover, summary: str) -> None:
        """Begins a new part with the prompt of the handover.

        Raises:
            EnvironmentFailure: the handover raised, or returned no transcript.
        """
        turns = "".join(self.turns[-self.settings.keep :]) if self.settings.keep else ""
        with failures_of("the handover of the session"):
            prompt: object = handover.restart(self.prompt, summary, turns)
        if not isinstance(prompt, Transcript):
            message = f"the handover of a session returns a Transcript: received a {type(prompt).__name__}"
            raise EnvironmentFailure(message)
        heard = max(number for number, span in enumerate(self.part) if span.author is Author.ENVIRONMENT) + 1
        self.before = (
            replace(self.part, spans=self.part.spans[:heard])
            if self.before is None
            else (self.before + self.part.spans[self.began : heard])
        )
        self.parts.append(self.part)
        self.part, self.began = prompt, len(prompt.spans)

    def _params(self) -> SamplingParams:
        """Returns the parameters of the next request; each part has a seed of its own."""
        seed = seed_of(self.params.seed, "compaction", len(self.parts)) if self.parts else self.params.seed
        return replace(self.params, max_tokens=self.left, seed=seed)

    def attempt(self, failure: str | None) -> Attempt:
        """Returns the attempt; `failure` is the reason why it could not be finished, None if it was."""
        parts = [*self.parts, self.part]
        if len(parts) == 1:
            return Attempt((Branch(self.part, self.score),), failure=failure)
        branches = [Branch(parts[0], judged_as=len(parts))]
        for number, (old, new) in enumerate(pairwise(parts)):
            branches.append(Branch(new, parent=number, fork_at=_shared(old, new), judged_as=len(parts)))
        whole = Branch(self.whole, self.score, trainable=False)
        spent = replace(Cost.of([*branches, whole]), latency=sum(part.cost for part in parts))
        return Attempt((*branches, whole), len(parts), failure, spent)


def handover_of(session: Session) -> Handover:
    """Returns how a conversation with a session is summarised: as the session says, or by asking in words.

    Raises:
        EnvironmentFailure: the session's `handover` is no Handover.
    """
    found: object = getattr(session, "handover", HANDOVER)
    if not isinstance(found, Handover):
        message = f"a session's `handover` is of type Handover: received a {type(found).__name__}"
        raise EnvironmentFailure(message)
    return found


def length_of(transcript: Transcript) -> int:
    """Returns the number of tokens of a transcript; four characters of a text without token ids count as one."""
    return sum(len(span) or span.usage or len(span.text) // CHARACTERS for span in transcript)


def _last(transcript: Transcript) -> tuple[Span, ...]:
    """Returns the spans that the model wrote, or that were forced into its reply, at the end of a transcript."""
    spans = transcript.spans
    own = [span.author in (Author.MODEL, Author.FORCED) for span in spans]
    return spans[len(own) - own[::-1].index(False) :] if False in own else spans


def _shared(old: Transcript, new: Transcript) -> int:
    """Returns the number of leading tokens that two parts share, at most those of the prompts."""
    count = 0
    for one, other, own, theirs in zip(
        old.tokens, new.tokens, old.by(Author.MODEL), new.by(Author.MODEL), strict=False
    ):
        if one != other or own or theirs:
            break
        count += 1
    return count
