"""Address of an OpenAI-compatible endpoint: its URL, the model's name, and the API key."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from poziomka.core.errors import SettingsError

KEY = "OPENAI_API_KEY"  # environment variable of the API key
ROUTE = "/chat/completions"


@dataclass(frozen=True)
class Address:
    """Address of one model of an endpoint.

    Attributes:
        url: base URL without a slash at its end, "http://localhost:8000/v1" for example.
        model: name of the model as the endpoint lists it; None for the only model of the endpoint.
        key: API key, which only this URL's host receives; None for no key. It is not part of the repr.
    """

    url: str
    model: str | None = None
    key: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str, model: str | None = None, key: str | None = None) -> "Address":
        """Checks a URL and returns the address.

        Args:
            url: base URL, with "/v1" added if it has no path. The model's name can follow after "#".
            model: name of the model; None for the name in the URL, or else the only model of the endpoint.
            key: API key; None for the environment variable OPENAI_API_KEY, if it is set.

        Raises:
            SettingsError: the URL is not that of an endpoint, or the key cannot be part of an HTTP header.
        """
        base, _, named = url.partition("#")
        try:
            parts = urlsplit(base)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            message = f"the endpoint's URL cannot be read: {error}; write http://HOST:PORT/v1"
            raise SettingsError(message) from error
        if parts.scheme not in ("http", "https") or not host:
            message = f"an endpoint's URL begins with http:// or https:// and a host: received {_start(base)!r}"
            raise SettingsError(message)
        if parts.username is not None or parts.password is not None or parts.query:
            message = f"an endpoint's URL has no password and no query: give the key in the variable {KEY} instead"
            raise SettingsError(message)
        path = parts.path.rstrip("/").removesuffix(ROUTE)
        return cls(f"{parts.scheme}://{parts.netloc}{path or '/v1'}", model or named or None, _key(key))

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of every request."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def redacted(self, text: str) -> str:
        """Returns a text of the endpoint with the API key replaced, if the text contains it."""
        return text if self.key is None else text.replace(self.key, "[key]")


def is_url(name: str) -> bool:
    """Returns whether the name of a model is the URL of an endpoint."""
    return name.startswith(("http://", "https://"))


def _start(url: str) -> str:
    """Returns the beginning of a refused URL, without a password in it."""
    return url.rpartition("@")[2][:60]


def _key(given: str | None) -> str | None:
    """Returns the given API key, or that of the environment; None if there is none."""
    key = (os.environ.get(KEY, "") if given is None else given).strip()
    if not key.isascii() or any(ord(sign) <= 32 for sign in key):
        message = f"the API key has characters that an HTTP header cannot hold: check the variable {KEY}"
        raise SettingsError(message)
    return key or None
