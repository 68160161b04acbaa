"""A sampler behind a real HTTP server that speaks the OpenAI chat protocol, for tests of clients and strategies.

The server listens on this machine only, and reads one request per connection thread. Faults can be put before its
replies: a status, a body that breaks off, an answer that never comes.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

from poziomka.core.errors import reason_of
from poziomka.core.sampler import Sampler, SamplingParams
from poziomka.core.transcript import CLOSE, THINK, Author, Message, Span, Stop, Transcript

MODEL = "scripted"
REASONS = {Stop.LENGTH: "length"}  # all other replies end with "stop"
TURN = 3  # tokens that the server's chat format adds to each message


@dataclass(frozen=True)
class Fault:
    """An answer that the server gives in place of a reply.

    Attributes:
        status: HTTP status; None sends nothing until the server stops.
        body: bytes of the body.
        headers: further headers.
        promised: announced length of the body; a longer one than the body has is never complete. None for its length.
    """

    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int | None = None

    @classmethod
    def of(cls, status: int, message: str, **error: object) -> "Fault":
        """Returns an error as endpoints send it: {"error": {"message": …, …}}."""
        return cls(status, json.dumps({"error": {"message": message, **error}}).encode())


@dataclass
class Endpoint:
    """A running server.

    Attributes:
        sampler: writes the replies.
        model: name of the model.
        key: API key that requests must have; None for none.
        thoughts: name of the field in which thoughts are returned; None leaves them in the text.
        continues: whether a final assistant message is continued if the request asks for it; otherwise it is a complete
            message.
        unknown: fields that the server refuses.
        most: largest `n` of a request.
        context: largest number of tokens of a prompt and its reply; None for no limit.
        faults: answers to the next requests, in place of replies.
        requests: JSON bodies of all requests for a reply, oldest first.
        headers: headers of these requests.
        url: base URL.
        over: set when the server stops.
        lock: held while a reply is written.
    """

    sampler: Sampler
    model: str = MODEL
    key: str | None = None
    thoughts: str | None = "reasoning_content"
    continues: bool = True
    unknown: tuple[str, ...] = ()
    most: int = 1
    context: int | None = None
    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    over: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    def refusal(self, asked: Mapping[str, Any]) -> Fault | None:
        """Returns the answer to a request that is not accepted; None for one that is."""
        named = next((name for name in self.unknown if name in asked), None)
        if asked.get("model") != self.model:
            return Fault.of(404, f"The model {asked.get('model')!r} does not exist.", code="model_not_found")
        if named is not None:
            return Fault.of(400, f"Unrecognized request argument supplied: {named}", param=named)
        if asked.get("n", 1) > self.most:
            return Fault.of(400, "Only one completion choice is allowed")
        limit = limit_of(asked, 1)
        prompt = tokens_of(asked, continued=self.continued(asked))
        if self.context is not None and prompt + limit > self.context:
            said = f"This model's maximum context length is {self.context} tokens. However, your request has {prompt}"
            return Fault.of(400, f"{said} input tokens.", code="context_length_exceeded")
        return None

    def continued(self, asked: Mapping[str, Any]) -> bool:
        """Returns whether the last message of a request is continued."""
        return self.continues and bool(asked.get("continue_final_message"))

    def choices(self, asked: Mapping[str, Any]) -> list[tuple[list[Span], dict[str, Any], str]]:
        """Returns (spans, message, finish reason) of each reply to a request."""
        messages = [Message(each["role"], each["content"]) for each in asked["messages"]]
        transcript = Transcript.of(messages)
        if self.continued(asked):
            last = replace(transcript.spans[-1], author=Author.MODEL, stop=Stop.LENGTH)
            transcript = replace(transcript, spans=(*transcript.spans[:-1], last))
        room = 512 if self.context is None else self.context - tokens_of(asked, continued=self.continued(asked))
        limit = limit_of(asked, room)
        thinking = self.continued(asked) and _open(messages[-1].content)
        found = []
        for number in range(asked.get("n", 1)):
            sampling = SamplingParams(
                temperature=asked.get("temperature", 1.0), max_tokens=limit, seed=asked.get("seed", 0) + number
            )
            with self.lock:
                after = asyncio.run(self.sampler.extend(transcript, sampling))
            new = list(after.spans[len(transcript.spans) :])
            found.append((new, self._message(new, thinking=thinking), REASONS.get(after.stop or Stop.END, "stop")))
        return found

    def _message(self, spans: list[Span], *, thinking: bool) -> dict[str, Any]:
        """Returns a reply as a message, with the thought in a field of its own if this server separates it.

        Args:
            spans: the reply.
            thinking: whether it continues an open thought.
        """
        text = "".join(span.text for span in spans)
        if self.thoughts is None or not (thinking or text.lstrip().startswith(THINK)):
            return {"role": "assistant", "content": text}
        thought, _, answer = text.replace(THINK, "", 1).partition(CLOSE)
        return {"role": "assistant", self.thoughts: thought, "content": answer or None}


def limit_of(asked: Mapping[str, Any], otherwise: int) -> int:
    """Returns the largest number of tokens of a reply, or `otherwise` if the request does not bound it."""
    return int(asked.get("max_tokens", asked.get("max_completion_tokens", otherwise)))


def tokens_of(asked: Mapping[str, Any], *, continued: bool) -> int:
    """Returns the number of prompt tokens: words, and TURN for each message and for the beginning of the reply."""
    words = sum(len(each["content"].split()) for each in asked["messages"])
    return words + TURN * (len(asked["messages"]) + (not continued))


@contextmanager
def endpoint(sampler: Sampler, **settings: Any) -> Iterator[Endpoint]:
    """Context manager that runs an OpenAI-compatible endpoint over a sampler in a thread.

        with endpoint(ScriptedSampler(["<think> easy </think> 42"])) as served:
            sampler = RemoteSampler(served.url, served.model)

    Args:
        sampler: writes the replies, each in an event loop of its own.
        **settings: attributes of Endpoint.
    """
    served = Endpoint(sampler, **settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"served": served}))
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection: GET /models and POST /chat/completions below /v1."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise every answer waits for an acknowledgement, 40 ms
    served: Endpoint

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name of the base class
        """Logs nothing."""

    def do_GET(self) -> None:
        """Lists the model."""
        if self.path != "/v1/models":
            self._fault(Fault.of(404, "not found"))
            return
        self._json(200, {"object": "list", "data": [{"id": self.served.model, "object": "model"}]})

    def do_POST(self) -> None:
        """Replies to a chat."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        served = self.served
        served.requests.append(asked)
        served.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.path != "/v1/chat/completions":
            self._fault(Fault.of(404, "not found"))
        elif served.faults:
            self._fault(served.faults.pop(0))
        elif served.key is not None and self.headers.get("Authorization") != f"Bearer {served.key}":
            self._fault(Fault.of(401, f"Incorrect API key provided: {self.headers.get('Authorization')}"))
        elif (refusal := served.refusal(asked)) is not None:
            self._fault(refusal)
        else:
            self._reply(asked)

    def _reply(self, asked: Mapping[str, Any]) -> None:
        try:
            choices = self.served.choices(asked)
        except Exception as error:  # noqa: BLE001 whatever a script raises, the client gets an answer
            self._fault(Fault.of(500, reason_of(error)))
            return
        written = [sum(len(span) for span in spans if span.author is Author.MODEL) for spans, _, _ in choices]
        prompt = tokens_of(asked, continued=self.served.continued(asked))
        usage = {"prompt_tokens": prompt, "completion_tokens": sum(written), "total_tokens": prompt + sum(written)}
        if asked.get("stream"):
            self._stream(choices, usage if (asked.get("stream_options") or {}).get("include_usage") else None)
            return
        replies = [
            {"index": number, "message": message, "finish_reason": reason}
            for number, (_, message, reason) in enumerate(choices)
        ]
        self._json(200, {"object": "chat.completion", "choices": replies, "usage": usage})

    def _stream(self, choices: list[tuple[list[Span], dict[str, Any], str]], usage: dict[str, int] | None) -> None:
        """Streams the replies word by word, those of several choices one after the other."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(ConnectionError):  # a client may end a reply
            for number, (_, message, reason) in enumerate(choices):
                self._event({"index": number, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
                for name in (self.served.thoughts, "content"):
                    for word in _words(message.get(name or "") or ""):
                        self._event({"index": number, "delta": {name: word}, "finish_reason": None})
                self._event({"index": number, "delta": {}, "finish_reason": reason})
            if usage is not None:
                self._event(None, usage=usage)
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, choice: dict[str, Any] | None, **more: object) -> None:
        chunk = {"object": "chat.completion.chunk", "choices": [] if choice is None else [choice], **more}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _fault(self, fault: Fault) -> None:
        if fault.status is None:
            self.served.over.wait()
            self.close_connection = True
            return
        self.send_response(fault.status)
        for name, value in ({"Content-Type": "application/json"} | dict(fault.headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(fault.body) if fault.promised is None else fault.promised))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(fault.body)
        self.close_connection = fault.promised is not None

    def _json(self, status: int, value: object) -> None:
        self._fault(Fault(status, json.dumps(value).encode()))


def _open(text: str) -> bool:
    """Returns whether a text ends inside a thought."""
    return text.rfind(THINK) > text.rfind(CLOSE)


def _words(text: str) -> Iterator[str]:
    """Yields the parts of a text that are streamed: words, each with the space before it."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or (text[place].isspace() and not text[place - 1].isspace()):
            yield text[start:place]
            start = place
