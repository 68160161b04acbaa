"""Faults of an endpoint: HTTP statuses and error objects, and whether they pass, last, or concern one request."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from poziomka.core.errors import SamplerError, TranscriptError
from poziomka.core.safety.terminal import visible
from poziomka.core.safety.untrusted import parse_json
from poziomka.inference.endpoint.address import KEY, Address

SHOWN = 300  # characters of a server's message that an error quotes
BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 529)
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "usage_limit_reached")  # 429 that no waiting changes
OVERFLOW = ("context_length_exceeded", "exceed_context_size_error")
CONTEXT = re.compile(r"context (?:length|window|size)|max_model_len", re.IGNORECASE)  # in messages about an overflow


class Passing(Exception):
    """A fault that can pass, after which the request is repeated.

    Args:
        message: sentence for the user, if the fault does not pass.
        kind: class of the error that is then raised.
        wait: seconds to wait, as the server asks for; None if it does not.
    """

    def __init__(self, message: str, kind: type[SamplerError] = TranscriptError, wait: float | None = None) -> None:
        """Stores the arguments."""
        super().__init__(message)
        self.kind, self.wait = kind, wait


class Lasting(Exception):
    """A fault of the endpoint that every request meets."""


class Refused(Exception):
    """A request that the endpoint does not accept.

    Args:
        status: HTTP status; None within a stream.
        said: the server's message.
        error: the server's error object; {} if it sent none.
    """

    def __init__(self, status: int | None, said: str, error: Mapping[str, Any]) -> None:
        """Stores the arguments."""
        super().__init__(said)
        self.status, self.said, self.error = status, said, error

    @property
    def overflows(self) -> bool:
        """Whether the prompt and the reply are longer than the context."""
        codes = (self.error.get("code"), self.error.get("type"))
        return any(code in OVERFLOW for code in codes) or CONTEXT.search(self.said) is not None

    def names(self, setting: str) -> bool:
        """Returns whether the endpoint refused a field of the request, by the name of the field."""
        return self.error.get("param") == setting or re.search(rf"\b{re.escape(setting)}\b", self.said) is not None


def fault_of(address: Address, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """Returns the fault of an answer whose status is not 200.

    Args:
        address: the endpoint.
        status: HTTP status.
        headers: headers of the answer.
        body: body of the answer.
    """
    url = address.url
    said, error = _said(address, body)
    if 300 <= status < 400:
        goal = urlsplit(headers.get("location", "")).netloc or "another path"
        return Lasting(f"{url} redirects to {visible(goal)[:80]!r}, where no request is sent: give that URL instead")
    if status in (401, 403):
        given = "no API key was given" if address.key is None else "it does not accept the API key"
        return Lasting(f"{url} refuses access (status {status}): {given}; set the variable {KEY}")
    if error.get("code") in NO_MONEY or error.get("type") in NO_MONEY:
        return Lasting(f"{url} refuses more requests: {said}")
    if status in BUSY:
        return Passing(f"{url} could not reply (status {status}): {said}", wait=_wait(headers))
    return Refused(status, said, error)


def fault_within(address: Address, answer: Mapping[str, Any]) -> Exception:
    """Returns the fault of an error object with status 200, as it occurs after the first byte of a stream."""
    said, error = _told(address, answer)
    refused = Refused(None, said, error)
    return refused if refused.overflows else Passing(f"{address.url} could not complete a reply: {said}")


def _said(address: Address, body: bytes) -> tuple[str, Mapping[str, Any]]:
    """Returns (the server's message, its error object) of a body, which may be no JSON."""
    with suppress(SamplerError):
        found = parse_json(body, "the answer", SamplerError, strict=False)
        if isinstance(found, dict):
            return _told(address, found)
    return _shown(address, body.decode("utf-8", "replace")), {}


def _told(address: Address, answer: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Returns (the server's message, its error object) of an answer; servers write {"error": {…}}, or {"detail": …}."""
    error = answer.get("error")
    error = error if isinstance(error, dict) else answer
    said = next((error[name] for name in ("message", "detail", "error") if error.get(name)), error)
    return _shown(address, str(said)), error


def _shown(address: Address, text: str) -> str:
    """Returns a server's text as an error quotes it: short, without control characters and without the key."""
    return " ".join(visible(address.redacted(text)).split())[:SHOWN] or "no reason given"


def _wait(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds of the header Retry-After; None without one, or if it is a date."""
    with suppress(ValueError):
        seconds = float(headers.get("retry-after", ""))
        return seconds if seconds >= 0 else None  # also None for NaN
    return None
