"""The settings of a model that is asked through a server instead of being loaded here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mmupt.config_votes import Fraction, Section

Positive = Annotated[int, Field(ge=1)]

OURS = frozenset(
    {
        "model", "messages", "n", "seed", "stream", "temperature", "top_p", "top_k", "min_p",
        "stop", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs",
    }
)  # fmt: skip
"""Fields of a request that other settings decide."""


class ServerConfig(Section):
    """An OpenAI-compatible server that answers in place of a local model. See docs/server.md."""

    url: str | None = None
    """Its address, such as `http://localhost:8000/v1`; `--server` on the command line."""
    model: str | None = None
    """The model's name there; None: the only one that it serves. `--server-model` on the command
    line."""
    revision: str | None = None
    """A word of yours for what the server's model is now. Replies are remembered by it, so change
    it when other weights are served under the same name."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None: no key is sent. The key itself
    stands in no file."""
    plain_http: bool = False
    """Allow an address without TLS that is neither this machine nor in a private network."""
    concurrency: Positive = 16
    """Requests at a time, at most."""
    requests_per_minute: Positive | None = None
    """At most so many requests, repeated ones included, evenly spread; None: no limit."""
    samples_per_request: Annotated[int, Field(ge=1, le=128)] = 16
    """Completions of one prompt that a request asks for (`n`), at most. A server that refuses more
    than one is asked for them one by one."""
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0
    """Seconds that a reply may take as a whole."""
    max_retries: Annotated[int, Field(ge=0, le=100)] = 5
    """How often a request that failed is repeated, with growing pauses or those that the server
    asks for."""
    max_failed: Fraction = 0.0
    """Share of the replies that may be missing in the end. With more a verb ends with exit code 2;
    when it is repeated, only the missing ones are asked for again."""
    cache: Path | None = None
    """Folder in which replies are remembered, for several runs to share; None: the run's own."""
    image_format: Literal["png", "jpeg"] = "png"
    """How pictures are sent; png loses nothing, jpeg (quality 95) is smaller."""
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls the length limit of a reply."""
    send_seed: bool = True
    """Send a seed with each request; false for servers that refuse the field."""
    logprobs: bool = False
    """Ask for the log-probability of each token, for `consensus.strategy.weights: logprob`."""
    extra_body: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it
    """Further fields of each request, as the server knows them, such as
    `{chat_template_kwargs: {enable_thinking: false}}` for vLLM. Nothing secret: they are written
    into the run's files."""

    @field_validator("extra_body")
    @classmethod
    def _adds_only(cls, fields: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(OURS & set(fields))
        if taken:
            raise ValueError(f"{', '.join(taken)}: set by other settings, not through extra_body")
        json.dumps(fields)
        return fields

    def identity(self) -> ServerConfig:
        """What the replies depend on: neither where the server stands nor how fast it is asked."""
        same = ServerConfig()
        free = (
            "url", "api_key_env", "plain_http", "concurrency", "requests_per_minute", "timeout",
            "max_retries", "max_failed", "cache",
        )  # fmt: skip
        return self.model_copy(update={name: getattr(same, name) for name in free})
