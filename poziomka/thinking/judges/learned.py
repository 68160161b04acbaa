"""Learned judges: outcome verifiers and step value models, whose value is the probability of a verdict token.

    1  the judge's model reads the prompt, the reply or its first steps, and the question of the verdict form
    2  p(w) is the probability of each word of the form as the next token, from one forward pass
    3  value = Σ_w p(w) v(w) / Σ_w p(w)

With the form `OUTCOME` this is the verifier of Cobbe et al. 2021 (arXiv 2110.14168) in the generative form of Zhang et
al. 2024 (arXiv 2408.15240); with `VALUE`, a process reward model in the sense of Math-Shepherd (arXiv 2312.08935).
`app/public/judging.py` trains, saves and loads both.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from poziomka.core.errors import SettingsError, TranscriptError
from poziomka.core.problem import Problem
from poziomka.core.rollout import Cost
from poziomka.core.rollouts.verdict_form import OUTCOME, VerdictForm
from poziomka.core.sampler import Sampler
from poziomka.core.transcript import Transcript
from poziomka.thinking.judges.judge import Judge, Judgement


@dataclass(frozen=True)
class LearnedJudge(Judge):
    """A judge that asks a language model for the probability of a verdict.

    The model may be the policy itself, other weights of the same architecture (LoRA adapters, for example), or a model
    with another tokenizer, which then reads the text of the transcript. A transcript that it cannot read gets a failed
    judgement. The cost is the number of tokens that the model read: transcripts that are judged together share the
    prompt, and it counts once.

    Attributes:
        sampler: sampler of the judge's model.
        form: question, and words that answer it.

    Raises:
        SettingsError: the sampler gives no log-probabilities of next tokens.
    """

    sampler: Sampler
    form: VerdictForm = OUTCOME

    def __post_init__(self) -> None:
        """Raises SettingsError if the sampler gives no log-probabilities of next tokens."""
        if not self.sampler.capabilities.scoring:
            message = (
                f"a learned judge needs log-probabilities, and {type(self.sampler).__name__} does not score: use a "
                "local sampler, such as pz.load(…).sampler()"
            )
            raise SettingsError(message)

    @property
    def parameters(self) -> int | None:
        """Number of parameters of the judge's model; None if unknown."""
        return self.sampler.capabilities.parameters

    async def judge(
        self, transcripts: Sequence[Transcript], *, problem: Problem | None = None, seed: int = 0
    ) -> list[Judgement]:
        """Returns one judgement per transcript, in order; it reads neither the problem nor the seed.

        Raises:
            SamplerError: the sampler cannot compute log-probabilities at all, or a word of the form is not one token.
        """
        tokenizer = self.sampler.capabilities.tokenizer
        return list(await asyncio.gather(*(self._judged(transcript, tokenizer) for transcript in transcripts)))

    async def _judged(self, transcript: Transcript, tokenizer: str | None) -> Judgement:
        try:
            asked = self.form.asked(transcript, tokenizer)
            found = await self.sampler.next_logprobs(asked, self.form.words)
        except TranscriptError as error:
            return Judgement.failed(str(error))
        value, cost = self.form.value(found.logprobs), Cost(judged=found.read)
        if math.isnan(value):
            return Judgement(None, cost, f"the log-probabilities of the verdict are {list(found.logprobs)}")
        return Judgement(value, cost)
