"""RemoteSampler: the sampler interface over an OpenAI-compatible endpoint (vLLM, llama.cpp, LM Studio, OpenAI, …).

Its transcripts have texts and numbers of tokens, but no token ids and no log-probabilities: evaluation, strategies and
chat run over an endpoint, training does not.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from poziomka.core.errors import SamplerError, TranscriptError, nearest
from poziomka.core.safety.terminal import visible
from poziomka.core.sampler import Failed, OnBranchToken, OnToken, Sampler, SamplingParams
from poziomka.core.transcript import CLOSE, THINK, Author, Span, Stop, Transcript
from poziomka.inference.endpoint.address import ROUTE, Address
from poziomka.inference.endpoint.budget import thinks_after, within_budget
from poziomka.inference.endpoint.connection import Connection, Limits
from poziomka.inference.endpoint.continuation import Continuation, Once, Probe, continuation_of
from poziomka.inference.endpoint.faults import Refused
from poziomka.inference.endpoint.messages import messages_of
from poziomka.inference.endpoint.replies import Reply, count, spans_of
from poziomka.inference.endpoint.request import Dialect

ONE_TOKEN = SamplingParams(temperature=0, max_tokens=1)
OF_ONE = (400, 413, 422, None)  # statuses of a refusal that concerns one transcript
NAMED = 20  # names of models that an error lists


class RemoteSampler(Sampler):
    """Sampler that requests chat completions from an OpenAI-compatible endpoint.

        sampler = RemoteSampler("http://localhost:8000/v1", "qwen3-8b")

    Every parameter is sent with each request, so that the endpoint's own defaults have no effect; an endpoint that
    refuses a needed one raises SamplerError. A thought that the endpoint returns in a field of its own becomes
    "<think>…</think>" in the text. Stop strings are found here, in the streamed text, so that they are kept and known.
    Replies that have begun (a thinking budget, a tool's result inside the reply, a search) need an endpoint that
    continues them, as vLLM, SGLang and llama.cpp do; the first such request finds out. `Span.usage` has the number of
    tokens as the endpoint reports it, or the number of streamed chunks if it does not.

    Args:
        url: base URL, "http://localhost:8000/v1" for example; "#MODEL" can follow.
        model: name of the model as the endpoint lists it; None for the only one.
        api_key: API key; None for the environment variable OPENAI_API_KEY. Only this endpoint receives it; it is not in
            transcripts, errors or the repr.
        opens_thought: whether every reply begins with "<think>", for a model that thinks if that is written for it.
        extra: further fields of every request, {"reasoning_effort": "low"} for example.
        together: largest number of replies in one request of `branch` (`n`), for an endpoint that charges for every
            prompt. Their seeds then follow from the first one, so that a reply depends on how many were asked for.
        limits: timeout, retries and concurrent requests; None for the defaults.

    Raises:
        SettingsError: the URL or the key cannot be used.
        SamplerError: the HTTP client, an optional dependency, is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        opens_thought: bool = False,
        extra: Mapping[str, Any] | None = None,
        together: int = 1,
        limits: Limits | None = None,
    ) -> None:
        """Checks the arguments; connects to nothing."""
        self.address = Address.of(url, model, api_key)
        self.opens_thought, self.together = opens_thought, together
        self._connection = Connection(self.address, limits or Limits())
        self._dialect = Dialect(self.address.url, dict(extra or {}))
        self._model = Once(self._find_model)
        self._continuation = Once(partial(continuation_of, self._probe))
        self._parses = False  # whether a thought came in a field of its own

    @classmethod
    def of(cls, url: str, model: str, *, think: bool | None) -> "RemoteSampler":
        """Returns a sampler over an endpoint.

        Args:
            url: base URL of the endpoint.
            model: name of the model.
            think: True begins each reply with a thought, False asks the chat template of the endpoint for none; None
                leaves both to the endpoint.
        """
        extra = {"chat_template_kwargs": {"enable_thinking": False}} if think is False else None
        return cls(url, model, opens_thought=think is True, extra=extra)

    def __repr__(self) -> str:
        """Returns the URL and the name of the model."""
        return f"RemoteSampler({self.address.url!r}, {self.address.model!r})"

    @property
    def policy(self) -> str:
        """Name of the model, which spans have as their policy; the URL if no model was named."""
        return self.address.model or self.address.url

    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns `transcript` followed by the model's reply; see `Sampler.extend` for the arguments.

        A prompt that fills the model's context gets an empty reply with `Stop.LENGTH`.

        Raises:
            TranscriptError: this request failed: a timeout, a broken connection, a refused conversation.
            SamplerError: the endpoint cannot be used, or does not support the parameters.
        """
        if sampling.floor is not None:
            message = f"{self.address.url} returns no log-probabilities to end a reply by: use a local sampler"
            raise SamplerError(message)
        if sampling.min_thinking_tokens:
            message = f"{self.address.url} cannot keep a thought open: min_thinking_tokens needs a local sampler"
            raise SamplerError(message)
        transcript = self._opened(transcript)
        if sampling.max_thinking_tokens is None:
            return await self._extended(transcript, sampling, on_token)
        await self._demand_continuation()
        return await within_budget(self._extended, transcript, sampling, on_token)

    async def reach(self) -> None:
        """Checks that a server answers at the URL; any answer counts, since not every server lists its models.

        Raises:
            SamplerError: no server answers.
        """
        try:
            await self._connection.get("/models")
        except (Refused, TranscriptError, SamplerError):
            if not self._connection.met:
                raise

    async def try_branch(
        self, transcript: Transcript, samplings: Sequence[SamplingParams], on_token: OnBranchToken | None = None
    ) -> list[Transcript | Failed]:
        """Returns one continuation, or the error of its request, for each of `samplings`; see `Sampler.try_branch`.

        If `together` allows it, replies whose parameters differ only in the seed are requested together.
        """
        alike = len({replace(sampling, seed=0) for sampling in samplings}) == 1
        bounded = any(sampling.max_thinking_tokens is not None for sampling in samplings)
        if self.together < 2 or len(samplings) < 2 or not alike or bounded or "n" in self._dialect.refused:
            return await super().try_branch(transcript, samplings, on_token)
        hears = [None if on_token is None else partial(on_token, index) for index in range(len(samplings))]
        starts = range(0, len(samplings), self.together)
        parts = [slice(start, start + self.together) for start in starts]
        found = await asyncio.gather(*(self._together(transcript, samplings[part], hears[part]) for part in parts))
        return [reply for group in found for reply in group]

    async def _together(
        self, transcript: Transcript, samplings: Sequence[SamplingParams], hears: Sequence[OnToken | None]
    ) -> list[Transcript | Failed]:
        """Returns replies of one request; those that the endpoint leaves out, or refuses together, are asked for alone.

        A request that fails is the error of each of its replies.
        """
        opened = self._opened(transcript)
        found: list[Transcript | Failed | None] = [None] * len(samplings)
        try:
            found = [*await self._asked(opened, samplings[0], hears)]
        except Refused:
            self._dialect.refused.add("n")
        except TranscriptError as error:
            found = [error] * len(samplings)
        missing = [place for place, reply in enumerate(found) if reply is None]
        alone = await asyncio.gather(*(self._alone(transcript, samplings[each], hears[each]) for each in missing))
        for place, reply in zip(missing, alone, strict=True):
            found[place] = reply
        return [reply for reply in found if reply is not None]

    async def _alone(
        self, transcript: Transcript, sampling: SamplingParams, hear: OnToken | None
    ) -> Transcript | Failed:
        """Returns the transcript with one reply, or the error of its request."""
        try:
            return await self.extend(transcript, sampling, hear)
        except TranscriptError as error:
            return error

    def _opened(self, transcript: Transcript) -> Transcript:
        """Returns a transcript in which the next reply begins with "<think>", if this sampler opens thoughts."""
        if self.opens_thought and not messages_of(transcript)[1]:
            return transcript + Span(Author.TEMPLATE, THINK)
        return transcript

    async def _extended(self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None) -> Transcript:
        """Returns the transcript with the reply of one request."""
        try:
            (reply,) = await self._asked(transcript, sampling, [on_token])
        except Refused as refused:
            kind = TranscriptError if refused.status in OF_ONE else SamplerError
            message = f"{self.address.url} refuses the request (status {refused.status}): {refused.said}"
            raise kind(message) from refused
        if reply is None:
            message = f"an answer of {self.address.url} broke off before its end, or has no reply: ask again"
            raise TranscriptError(message)
        return reply

    async def _asked(
        self, transcript: Transcript, sampling: SamplingParams, hears: Sequence[OnToken | None]
    ) -> list[Transcript | None]:
        """Returns the replies of one request, each after the transcript; None for one that is missing or broke off.

        Raises:
            Refused: the endpoint does not accept the request.
        """
        messages, begun = messages_of(transcript)
        way = await self._demand_continuation() if begun else Continuation({})
        thinking = thinks_after(begun)
        replies = [
            Reply(
                stops=sampling.stop,
                thinking=thinking,
                closed=CLOSE in begun and not thinking,
                parses=self._parses,
                echo=begun if way.echoes else "",
                hear=hear,
            )
            for hear in hears
        ]
        model, started = await self._model.get(), time.perf_counter()
        fields: dict[str, Any] = {"model": model, "messages": messages, **way.fields}
        if len(replies) > 1:
            fields["n"] = len(replies)
        stream = bool(sampling.stop) or any(hear is not None for hear in hears)
        await self._post(sampling, fields, partial(_take, replies), stream=stream, replies=replies)
        self._parses = self._parses or any(reply.parses for reply in replies)
        seconds = time.perf_counter() - started
        return [None if reply.stop is None else transcript + spans_of(reply, model, seconds) for reply in replies]

    async def _post(
        self,
        sampling: SamplingParams,
        fields: Mapping[str, Any],
        take: Callable[[Mapping[str, Any]], bool],
        *,
        stream: bool = False,
        replies: Sequence[Reply] = (),
    ) -> None:
        """Sends a request, and repeats it without fields that the endpoint refuses.

        If the prompt and `sampling.max_tokens` are longer than the context, the request is repeated without the limit,
        which the end of the context then replaces. A prompt that fills the context gets empty replies.

        Raises:
            Refused: the endpoint does not accept the request.
        """
        limited = True
        while True:
            body = self._dialect.body(sampling, stream=stream, limited=limited, fields=fields)
            try:
                return await self._connection.post(ROUTE, body, take)
            except Refused as refused:
                if refused.status == 404:
                    raise await self._not_found(fields["model"], refused) from refused
                if refused.overflows:
                    if limited:
                        limited = False
                        continue
                    for reply in replies:
                        reply.stop = reply.stop or Stop.LENGTH
                    return None
                if not self._dialect.learn(refused, sampling):
                    raise

    async def _demand_continuation(self) -> Continuation:
        """Returns how the endpoint continues a reply.

        Raises:
            SamplerError: it cannot.
        """
        found = await self._continuation.get()
        if isinstance(found, str):
            message = (
                f"{self.address.url} cannot continue a reply that has begun, as thinking budgets, searches and tools "
                f"inside a reply need it ({found}): use vLLM, SGLang or llama.cpp, or do without"
            )
            raise SamplerError(message)
        return found

    async def _probe(self, messages: list[dict[str, str]], fields: Mapping[str, Any]) -> Probe:
        """Requests one token; returns the number of prompt tokens (0 if it is not reported) and the text."""
        reply = Reply()
        prompts: list[object] = [0]
        fields = {"model": await self._model.get(), "messages": messages, **fields}

        def take(answer: Mapping[str, Any]) -> bool:
            usage = answer.get("usage")
            prompts.extend([usage["prompt_tokens"]] if isinstance(usage, dict) and "prompt_tokens" in usage else [])
            return _take([reply], answer)

        await self._post(ONE_TOKEN, fields, take)
        prompt = prompts[-1]
        return Probe(prompt if isinstance(prompt, int) else 0, reply.text)

    async def _find_model(self) -> str:
        """Returns the name of the model: the one that was given, or the only one of the endpoint.

        Raises:
            SamplerError: the endpoint has no model, or several.
        """
        if self.address.model is not None:
            return self.address.model
        names = await self._names()
        if len(names) != 1:
            several = f"has {len(names)} models: {visible(', '.join(names[:NAMED]))}" if names else "lists no model"
            message = f"{self.address.url} {several}; name the one to use"
            raise SamplerError(message)
        return names[0]

    async def _names(self) -> list[str]:
        """Returns the names of the endpoint's models; [] if it does not list them."""
        try:
            listed = (await self._connection.get("/models")).get("data")
        except Refused:
            return []
        found = listed if isinstance(listed, list) else []
        return [str(each["id"]) for each in found if isinstance(each, dict) and "id" in each]

    async def _not_found(self, model: str, refused: Refused) -> SamplerError:
        """Returns the error for status 404: an unknown model, or a URL that is not that of an API."""
        names = await self._names()
        if names and model not in names:
            return SamplerError(f"{self.address.url} has no model {model!r}{visible(nearest(model, names[:NAMED]))}")
        said = f"{self.address.url}{ROUTE} does not exist (status 404): {refused.said}"
        return SamplerError(f"{said}; give the URL of the API, which mostly ends in /v1")


def _take(replies: Sequence[Reply], answer: Mapping[str, Any]) -> bool:
    """Adds an answer, or a chunk of a stream, to the replies; returns False if no more is needed.

    After the last chunk with text comes one with the number of tokens. It is waited for, unless a reply was ended here.
    """
    choices = answer.get("choices")
    for number, choice in enumerate(choices if isinstance(choices, list) else []):
        if isinstance(choice, dict):
            index = choice.get("index", number)
            if isinstance(index, int) and 0 <= index < len(replies):
                try:
                    replies[index].take(choice)
                except TranscriptError:  # of several replies, the one that failed is missing, and asked for alone
                    if len(replies) == 1:
                        raise
    count(replies, answer.get("usage"))
    return any(reply.stop is None for reply in replies) or not any(reply.cut for reply in replies)
