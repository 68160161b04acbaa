"""Requests to an endpoint: sampling parameters as JSON fields, without those that it was found not to accept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poziomka.core.errors import SamplerError
from poziomka.core.sampler import SamplingParams
from poziomka.inference.endpoint.faults import Refused

SEEDS = 2**31  # seeds that every server reads


@dataclass
class Dialect:
    """Fields that an endpoint accepts, as its refusals show.

    Settings without effect are sent, too: vLLM and llama.cpp would otherwise use defaults of the model or of their own,
    such as top_k 20 or min_p 0.05. They are left out where an endpoint refuses them.

    Attributes:
        url: the endpoint's URL, for errors.
        extra: further fields of every request.
        refused: fields that the endpoint does not accept.
    """

    url: str
    extra: Mapping[str, Any]
    refused: set[str] = field(default_factory=set)

    def body(
        self, sampling: SamplingParams, *, stream: bool, limited: bool, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Returns the JSON object of a request.

        Args:
            sampling: parameters of the request. Stop strings and bounds of thoughts are no fields of it.
            stream: whether the reply is returned token by token.
            limited: whether the reply is bounded by `sampling.max_tokens`, or by the context only.
            fields: further fields: model, messages and the like. Objects in them are merged with those of `extra`.
        """
        values: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed % SEEDS,
            "top_k": -1 if sampling.top_k is None else sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": 1.0,
        }
        if stream:
            usage = {"include_usage": True, "continuous_usage_stats": True}
            options = {name: value for name, value in usage.items() if name not in self.refused}
            values |= {"stream": True, "stream_options": options}
        if "max_tokens" in self.refused:
            values["max_completion_tokens"] = values["max_tokens"]
        if not limited:
            values = {name: value for name, value in values.items() if not name.endswith("_tokens")}
        values = {name: value for name, value in values.items() if name not in self.refused}
        return values | _merged(self.extra, fields)

    def learn(self, refused: Refused, sampling: SamplingParams) -> bool:
        """Notes the fields that a refusal names; returns whether the request can be repeated without them.

        Raises:
            SamplerError: the reply would then be sampled in another way than `sampling` asks for.
        """
        dispensable = {
            "continuous_usage_stats": True,
            "stream_options": True,
            "max_tokens": True,  # max_completion_tokens in its place
            "seed": True,
            "repetition_penalty": True,
            "top_k": sampling.top_k is None,
            "min_p": sampling.min_p == 0,
            "top_p": sampling.top_p == 1,
            "temperature": sampling.temperature == 1,
        }
        chosen = next((name for name in self.extra if refused.names(name)), None)
        if chosen is not None:
            message = f"{self.url} does not accept the field {chosen!r}: {refused.said}"
            raise SamplerError(message)
        named = [name for name in dispensable if name not in self.refused and refused.names(name)]
        if "continuous_usage_stats" in named:
            named = [name for name in named if name != "stream_options"]
        for name in named:
            if not dispensable[name]:
                message = f"{self.url} does not accept {name}={getattr(sampling, name):g}: {refused.said}"
                raise SamplerError(message)
        self.refused.update(named)
        return bool(named)


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Returns two mappings as one; objects under the same name are merged, other values are those of the second."""
    both = {name: one[name] | other[name] for name in one if isinstance(one[name], dict) and name in other}
    return {**one, **other, **both}
