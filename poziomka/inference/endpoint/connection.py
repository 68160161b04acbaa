"""HTTP connection to an OpenAI-compatible endpoint: bounded requests, retries, and faults as errors of one sentence."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from poziomka.core.errors import SamplerError, TranscriptError
from poziomka.core.safety.untrusted import parse_object
from poziomka.inference.endpoint.address import Address
from poziomka.inference.endpoint.faults import Lasting, Passing, fault_of, fault_within

MOST = 1 << 26  # largest answer, bytes
CONNECTING = 10.0  # longest time to open a connection, seconds
WAITING = 120.0  # longest time that a server can ask to wait before the next try, seconds

Take = Callable[[Mapping[str, Any]], bool]  # a JSON object of the answer → False to end the answer


@dataclass(frozen=True)
class Limits:
    """Bounds of the requests to an endpoint.

    Attributes:
        timeout: seconds for one try, from its first byte to the end of the answer.
        tries: number of tries after faults that can pass: a busy server, a broken connection.
        pause: seconds before the second try, doubled before each further one, where the server names no time.
        concurrency: largest number of concurrent requests of one event loop; the others wait.
    """

    timeout: float = 600.0
    tries: int = 4
    pause: float = 1.0
    concurrency: int = 32


@dataclass
class Pool:
    """HTTP client of the concurrent requests of one event loop; it is closed when the last of them has ended."""

    client: Any
    slots: asyncio.Semaphore
    users: int = 0


@dataclass
class Connection:
    """Connection to an endpoint, for concurrent requests from any event loop.

    Redirects are not followed, so that neither prompts nor the key reach another host.

    Attributes:
        address: URL and key.
        limits: timeout, retries and concurrent requests.
        met: whether the endpoint has answered before.
    """

    address: Address
    limits: Limits
    met: bool = field(default=False, init=False)
    _pools: dict[asyncio.AbstractEventLoop, Pool] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Imports the HTTP client, and loads the certificates once for all connections, where they are needed."""
        self._http = _httpx()
        secure = self.address.url.startswith("https:")
        self._tls = self._http.create_ssl_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def get(self, path: str) -> Mapping[str, Any]:
        """Returns the JSON object at a path below the base URL; the exceptions are those of `post`."""
        found: dict[str, Any] = {}

        def take(answer: Mapping[str, Any]) -> bool:
            found.update(answer)
            return True

        await self._tried("GET", path, None, take)
        return found

    async def post(self, path: str, body: Mapping[str, Any], take: Take) -> None:
        """Sends a JSON object, and passes the answer to `take`: one object, or each chunk of a stream.

        A try that failed is repeated only if nothing of its answer was passed on.

        Args:
            path: path below the base URL.
            body: the JSON object.
            take: called for each object of the answer; if it returns False, the connection is closed, at which a server
                stops to generate.

        Raises:
            Refused: the endpoint does not accept this request.
            TranscriptError: the request failed, for example by a timeout; others can succeed.
            SamplerError: the endpoint cannot be used.
        """
        await self._tried("POST", path, json.dumps(body).encode(), take)

    async def _tried(self, method: str, path: str, body: bytes | None, take: Take) -> None:
        pause = self.limits.pause
        for left in range(self.limits.tries - 1, -1, -1):
            taken: list[None] = []

            def heard(chunk: Mapping[str, Any], taken: list[None] = taken) -> bool:
                taken.append(None)
                return take(chunk)

            try:
                return await self._bounded(method, path, body, heard)
            except Passing as fault:
                wait = pause if fault.wait is None else fault.wait
                if taken or not left or wait > WAITING or not (self.met or fault.kind is TranscriptError):
                    raise fault.kind(str(fault)) from fault.__cause__
            except Lasting as fault:
                raise SamplerError(str(fault)) from fault.__cause__
            await asyncio.sleep(wait)
            pause *= 2
        return None

    async def _bounded(self, method: str, path: str, body: bytes | None, take: Take) -> None:
        """Makes one try within the timeout, when one of the concurrent requests is free."""
        async with self._pool() as pool, pool.slots:
            try:
                async with asyncio.timeout(self.limits.timeout):
                    await self._once(pool.client, method, path, body, take)
            except TimeoutError as error:
                message = (
                    f"{self.address.url} did not complete a reply within {self.limits.timeout:g} s: ask for fewer "
                    "tokens, or for fewer replies at a time"
                )
                raise TranscriptError(message) from error

    async def _once(self, client: Any, method: str, path: str, body: bytes | None, take: Take) -> None:
        url, http = self.address.url, self._http
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self.address.headers}
        try:
            async with client.stream(method, url + path, content=body, headers=headers) as answer:
                self.met = True
                streams = answer.headers.get("content-type", "").startswith("text/event-stream")
                if answer.status_code != 200:
                    raise fault_of(self.address, answer.status_code, answer.headers, await _body(answer))
                if streams:
                    await self._streamed(answer, take)
                else:
                    take(self._object(await _body(answer), answer.headers.get("content-type", "")))
        except (http.ConnectError, http.ConnectTimeout) as error:
            message = f"no server answers at {url} ({error or 'timeout'}): start it, or correct the endpoint's URL"
            raise Passing(message, SamplerError) from error
        except (http.TransportError, http.DecodingError, http.StreamError) as error:
            message = f"the connection to {url} broke: {type(error).__name__} {error}".strip()
            raise Passing(message) from error
        except http.InvalidURL as error:
            message = f"the endpoint's URL {url} is not valid: {error}"
            raise Lasting(message) from error

    async def _streamed(self, answer: Any, take: Take) -> None:
        """Passes the objects of an event stream to `take` until [DONE]."""
        size = 0
        async with aclosing(aiter(self._http.EventSource(answer))) as events:
            async for event in events:
                size += len(event.data)
                if size > MOST:
                    raise Passing(_too_large(self.address.url))
                data = event.data.strip()
                if data == "[DONE]" or (data and not take(self._object(data.encode(), "text/event-stream"))):
                    return

    def _object(self, content: bytes, kind: str) -> Mapping[str, Any]:
        """Returns the JSON object of an answer or event.

        Raises:
            Passing: it is not JSON, or an error that occurred after the first byte of a stream.
            Lasting: it is a page of HTML, from another server than an endpoint.
            Refused: it is an error that another request does not meet.
        """
        if kind.startswith("text/html"):
            message = f"{self.address.url} answers with a web page: give the URL of the API, which mostly ends in /v1"
            raise Lasting(message)
        try:
            found = parse_object(content, f"an answer of {self.address.url}", TranscriptError)
        except TranscriptError as error:
            raise Passing(self.address.redacted(str(error))) from error
        if found.get("error"):
            raise fault_within(self.address, found)
        return found

    @asynccontextmanager
    async def _pool(self) -> AsyncIterator[Pool]:
        """Context manager of this event loop's HTTP client, which exists while a request needs it."""
        loop = asyncio.get_running_loop()
        if loop not in self._pools:
            client = self._http.AsyncClient(
                verify=self._tls, timeout=self._http.Timeout(None, connect=CONNECTING), follow_redirects=False
            )
            self._pools[loop] = Pool(client, asyncio.Semaphore(self.limits.concurrency))
        pool = self._pools[loop]
        pool.users += 1
        try:
            yield pool
        finally:
            pool.users -= 1
            if not pool.users:
                del self._pools[loop]
                await pool.client.aclose()


async def _body(answer: Any) -> bytes:
    """Returns the body of an answer of at most MOST bytes."""
    content = bytearray()
    async for part in answer.aiter_bytes():
        content += part
        if len(content) > MOST:
            raise Passing(_too_large(str(answer.url)))
    return bytes(content)


def _too_large(url: str) -> str:
    return f"{url} answered with more than {MOST >> 20} MiB"


def _httpx() -> Any:
    """Imports and returns httpx2, an optional dependency; raises SamplerError if it is not installed."""
    try:
        import httpx2  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        message = "an endpoint needs the package httpx2: pip install 'poziomka[remote]'"
        raise SamplerError(message) from error
    return httpx2
