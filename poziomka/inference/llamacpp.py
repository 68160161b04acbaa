"""LlamaCppSampler: the sampler interface over llama.cpp, for chat and serving with a GGUF file, one request at a time.

llama.cpp computes the logits. Token sampling, thinking budgets and stop strings are the engine's code, so a request has
the same meaning as there; log-probabilities are those of the quantised weights. The sampler is no WeightHost. For many
concurrent requests the engine is faster.
"""

import asyncio
import os
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poziomka.core.errors import SamplerError
from poziomka.core.sampler import Capabilities, OnToken, Sampler, SamplingParams
from poziomka.core.transcript import Transcript
from poziomka.inference.sequence import Piece, Request, Row, nothing
from poziomka.inference.spans import marks_of, read_by, spans_of, thought_in
from poziomka.inference.token_sampling import Cuts, choose, uniforms
from poziomka.models.base import masked
from poziomka.models.text.chat import ChatFormat

READ_AT_ONCE = 512  # prompt tokens in one pass; llama.cpp allocates a buffer of logits for as many


class LlamaCppSampler(Sampler):
    """Sampler that runs a GGUF file by llama.cpp.

    Requests run one after the other in a thread, so the event loop is not blocked. A request that extends the last one,
    such as the next turn of a conversation, prefills only its new tokens. Any other is prefilled from its first token:
    with another division of the prefill, llama.cpp's log-probabilities differ by some 1e-3 nats, and equal requests
    must repeat. For the same reason the sampler does not score.

    Args:
        path: path of the GGUF file.
        chat: tokenizer and chat format of the same model.
        policy: version of the weights, recorded on spans; None for the file's name.
        context: maximum length of a transcript, in tokens; None for the model's context length.
        threads: number of CPU threads; None for one per core.

    Raises:
        SamplerError: llama-cpp-python is not installed, the file cannot be loaded, or its vocabulary differs from the
            tokenizer's.
    """

    def __init__(
        self,
        path: Path,
        chat: ChatFormat,
        policy: str | None = None,
        *,
        context: int | None = 4096,
        threads: int | None = None,
    ) -> None:
        """Loads the GGUF file and checks its vocabulary."""
        self._library = _llama_cpp()
        self.chat, self.policy = chat, policy or Path(path).stem
        self._llama = self._open(Path(path), context, threads or os.cpu_count() or 1)
        reads = int(self._library.llama_model_n_ctx_train(self._llama.model))
        self.context = min(context or reads, reads)
        self._demand_vocabulary(Path(path))
        unused = chat.tokenizer.unused(self._llama.n_vocab())
        self._unused = torch.tensor(unused, dtype=torch.long) if unused else None
        self.marks = marks_of(chat.tokenizer)
        self._read: array[int] = array("i")  # tokens in llama.cpp's KV cache
        self._lock = Lock()

    def _open(self, path: Path, context: int | None, threads: int) -> Any:
        if not path.is_file():
            message = f"there is no file {path}: give a GGUF file, from `poziomka export RUN --gguf` for one"
            raise SamplerError(message)
        settings = {"n_threads": threads, "n_threads_batch": threads, "n_batch": READ_AT_ONCE, "verbose": False}
        try:
            return self._library.Llama(model_path=str(path), n_ctx=context or 0, **settings)
        except (ValueError, RuntimeError) as error:
            message = f"llama.cpp cannot load {path}: {error}"
            raise SamplerError(message) from error

    def _demand_vocabulary(self, path: Path) -> None:
        """Raises SamplerError if the file's vocabulary differs from the tokenizer's, which would decode other text."""
        vocabulary = self._library.llama_model_get_vocab(self._llama.model)
        size, inner = self._llama.n_vocab(), self.chat.tokenizer.inner
        text = self._library.llama_vocab_get_text
        for token, word in sorted((token, word) for word, token in inner.get_vocab().items()):
            theirs = text(vocabulary, token).decode("utf-8", "replace") if token < size else "nothing"
            if theirs != word:
                message = (
                    f"the vocabulary of {path} is not the tokenizer's: token {token} is {theirs!r} there and {word!r} "
                    "here; give the tokenizer that belongs to the file"
                )
                raise SamplerError(message)

    @property
    def capabilities(self) -> Capabilities:
        """Features of this sampler: token ids, log-probabilities and the context; it does not score."""
        fingerprint = self.chat.tokenizer.fingerprint
        return Capabilities(token_ids=True, logprobs=True, context=self.context, tokenizer=fingerprint)

    async def extend(
        self, transcript: Transcript, sampling: SamplingParams, on_token: OnToken | None = None
    ) -> Transcript:
        """Returns `transcript` followed by the model's reply; see `Sampler.extend` for the arguments.

        `on_token` is called in another thread.

        Raises:
            TranscriptError: the chat format rejects the messages, or the tokenizer cannot encode the text.
            SamplerError: the logits are not finite.
        """
        transcript = read_by(self.chat, transcript)
        tokens = transcript.tokens
        started = time.perf_counter()
        pieces: list[Piece] = []
        thought = thought_in(transcript, self.chat.tokenizer)
        request = Request(tokens, sampling, *thought, pieces.extend, on_token=on_token)
        try:
            await asyncio.to_thread(self._write, request)
        except asyncio.CancelledError:
            request.cancelled = True
            raise
        return transcript + spans_of(pieces, self.chat.tokenizer.decode, time.perf_counter() - started)

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of token ids, decoded as the middle of a longer text."""
        return self.chat.tokenizer.decode(tokens)

    def _write(self, request: Request) -> None:
        """Samples tokens until the request is finished or cancelled, and calls its `done`."""
        with self._lock:
            row, sampling = Row(request, self.context), request.sampling
            over = row.full
            row.pieces += [nothing(self.policy)] if over else []
            logits = None if request.cancelled or over else self._logits(request.tokens)
            while logits is not None and not over and not request.cancelled:
                row.force(self.marks.close)
                for token in row.forbids(self.marks, self.chat.tokenizer.decode):
                    logits[0, token] = -torch.inf
                token, logprob = self._choose(logits, row, sampling)
                over = row.write(token, logprob, self.policy, self.marks, self.chat.tokenizer.decode)
                if not over:
                    logits = self._logits(row.written)
        request.done(row.pieces)

    def _choose(self, logits: Tensor, row: Row, sampling: SamplingParams) -> tuple[int, float]:
        """Returns the next token id, forced or sampled, and the log-probability of the sampled one in nats.

        Args:
            logits: [1, V].
            row: state of the request.
            sampling: parameters of the request.
        """
        uniform = uniforms(np.array([row.seed], np.uint64), np.array([row.place], np.uint64))
        token, logprob = choose(
            logits,
            torch.from_numpy(uniform),
            torch.tensor([sampling.temperature]),
            Cuts.of([sampling], logits.shape[1], logits.device),
        )
        if logprob.isnan():
            message = (
                f"the logits of {self.policy!r} are not finite: its weights hold NaN or infinity; export them again"
            )
            raise SamplerError(message)
        return (row.forced[0] if row.forced else int(token)), float(logprob)

    def _logits(self, tokens: "array[int]") -> Tensor:
        """Returns the logits [1, V] after `tokens`; computes only tokens that are not in llama.cpp's KV cache.

        Logits of ids that are not in the tokenizer are masked.
        """
        held = len(self._read)
        shared = held if held < len(tokens) and tokens[:held] == self._read else 0
        self._read = array("i")  # if eval fails, the cache is in an unknown state
        self._llama.n_tokens = shared
        self._llama.eval(tokens[shared:])
        self._read = array("i", tokens)
        values = self._library.llama_get_logits_ith(self._llama.ctx, -1)
        logits = torch.from_numpy(np.ctypeslib.as_array(values, shape=(1, self._llama.n_vocab())).copy())
        return masked(logits, self._unused)

    def close(self) -> None:
        """Frees the model's memory; the sampler cannot be used afterwards."""
        with self._lock:
            self._llama.close()


def _llama_cpp() -> Any:
    """Imports and returns llama-cpp-python, an optional dependency; raises SamplerError if it is not installed."""
    try:
        import llama_cpp  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        message = "running a GGUF file by llama.cpp needs llama-cpp-python: pip install 'poziomka[llamacpp]'"
        raise SamplerError(message) from error
    return llama_cpp
