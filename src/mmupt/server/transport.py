"""The HTTP client: bounded replies, no redirects, a pace, and only the headers that are meant.

The hooks see every attempt, those that the `openai` client repeats by itself included.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from mmupt.config_server import ServerConfig
from mmupt.errors import ConfigError

if TYPE_CHECKING:
    import openai

NO_KEY = "none"
"""The client insists on a key; where there is none this one stands in, and is not sent."""

_CONNECT = 10.0
"""Seconds after which a server that takes no connection is not there."""


def installed() -> Any:
    """The `openai` package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import aiolimiter
        import openai
    except ImportError:
        raise ConfigError("asking a server needs a package more: pip install mmupt[server]") from (
            None
        )
    del aiolimiter
    return openai


def make_client(
    url: str,
    config: ServerConfig,
    key: str | None,
    most: Callable[[], int],
    sent: Callable[[], None],
) -> openai.AsyncOpenAI:
    """A client for one server, to be used in one event loop.

    Args:
        url: base address.
        config: timeout, retries, concurrency and pace are read.
        key: sent as a bearer token; None: nothing is sent.
        most: longest body of a reply in bytes, asked for whenever one comes.
        sent: called for each question that is sent, repeated ones included.
    """
    installed()
    import httpx2
    import openai
    from aiolimiter import AsyncLimiter

    class Bounded(httpx2.AsyncByteStream):
        """A body that ends in an error once it is too long or takes too long.

        The client's own timeout is of each read: a server that sends a byte now and then would
        hold it for ever.
        """

        def __init__(self, stream: Any, request: Any) -> None:
            self.stream, self.request = stream, request

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size, until = 0, time.monotonic() + config.timeout
            async for chunk in self.stream:
                size += len(chunk)
                if size > most():
                    raise httpx2.ReadError(f"more than {most()} bytes", request=self.request)
                if time.monotonic() > until:
                    raise httpx2.ReadTimeout("the reply took too long", request=self.request)
                yield chunk

        async def aclose(self) -> None:
            await self.stream.aclose()

    pace = (
        AsyncLimiter(1, 60.0 / config.requests_per_minute) if config.requests_per_minute else None
    )

    async def before(request: Any) -> None:
        # Taken from the environment by the client; they are another server's business.
        for name in ("openai-organization", "openai-project"):
            request.headers.pop(name, None)
        if key is None:
            request.headers.pop("authorization", None)
        # A packed body could be small on the way and huge in memory.
        request.headers["accept-encoding"] = "identity"
        if pace is not None:
            await pace.acquire()
        if request.method == "POST":
            sent()

    async def after(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.ReadError("a packed reply, which was not asked for")
        response.stream = Bounded(response.stream, response.request)

    http = openai.DefaultAsyncHttpxClient(
        timeout=httpx2.Timeout(config.timeout, connect=min(_CONNECT, config.timeout)),
        limits=httpx2.Limits(
            max_connections=config.concurrency, max_keepalive_connections=config.concurrency
        ),
        follow_redirects=False,
        event_hooks={"request": [before], "response": [after]},
    )
    return openai.AsyncOpenAI(
        api_key=key or NO_KEY, base_url=url, max_retries=config.max_retries, http_client=http,
        timeout=httpx2.Timeout(config.timeout, connect=min(_CONNECT, config.timeout)),
    )  # fmt: skip
