"""A model behind an OpenAI-compatible server, as an `mmupt.asking.answerer.Answerer`."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from mmupt.asking.answerer import Draw
from mmupt.asking.prompt import Prompt
from mmupt.config_server import ServerConfig
from mmupt.data.images import printable
from mmupt.errors import ConfigError, ServerError
from mmupt.server import requests
from mmupt.server.address import base_url
from mmupt.server.cache import Replies
from mmupt.server.loop import Loop
from mmupt.server.replies import (
    Answered,
    BrokenReplyError,
    most_bytes,
    packed,
    read_reply,
    unpacked,
)
from mmupt.server.transport import installed, make_client
from mmupt.types import Completion

if TYPE_CHECKING:
    import openai

GIVE_UP_AFTER = 8
"""Requests in a row that fail for good, with none that works between them: the server is gone."""

_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a broken reply is asked for again, doubled each time (those of `openai`)."""

_SHOWN_MODELS = 5

SHOWN_FAILURES = 20
"""Of all missing replies, in the records."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Replies that did not come, after all retries.

    Attributes:
        origin: the question's place in its file.
        replies: how many completions are missing.
        reason: why, in printable words.
    """

    origin: str
    replies: int
    reason: str


@dataclass
class Tally:
    """What was asked and what came.

    Attributes:
        replies: completions that came, remembered ones included.
        remembered: of them, those that were asked for before.
        failed: completions that did not come.
        requests: requests that were sent, repeated ones included; one may bring several
            completions.
        prompt_tokens, completion_tokens: as the server counted them for these replies.
        uncounted: replies for which it told no number of tokens.
    """

    replies: int = 0
    remembered: int = 0
    failed: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0


@dataclass
class _Call:
    """One call of `complete`, while it runs."""

    prompts: Sequence[Prompt]
    draws: Sequence[Draw]
    fields: list[dict[str, Any]]
    results: list[list[list[Completion | None]]]
    digests: dict[int, list[str]] = field(default_factory=dict)
    packed: dict[int, asyncio.Task[list[str]]] = field(default_factory=dict)


class ServerAnswerer:
    """Answers prompts by asking a server.

    Every completion has its seed, and where `n` completions are asked for in one request, the
    first one's stands for all: the same question, settings and seeds give the same request, byte
    for byte. Whether the same request gives the same completions is up to the server: vLLM and
    SGLang keep a seed up to the noise of batched kernels; OpenAI calls it best effort; servers that
    do not know seeds ignore them. Greedy completions (temperature 0) carry no seed, and are asked
    for once however many are wanted, as they are copies here too.

    Use it as a context manager, or call `close`.

    Args:
        url: base address, such as ``http://localhost:8000/v1``.
        model: its name on the server; None: the only one that is served.
        config: everything else; its `url` and `model` are not looked at.
        replies: where replies are remembered; None: nowhere.
        progress: called after each request with the number of completions that it was for.

    Attributes:
        failures: completions that did not come after all retries; they are None in the results.
        tally: what was asked and what came.

    Raises:
        ConfigError: the address or the key's variable is not usable, or `mmupt[server]` is not
            installed.
        ServerError: the address names a host that nobody knows.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        config: ServerConfig | None = None,
        *,
        replies: Replies | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.config = config or ServerConfig()
        self.url = base_url(url, plain_http=self.config.plain_http)
        self.replies, self.progress = replies, progress
        self.failures: list[Failure] = []
        self.tally = Tally()
        self._key = _key(self.config.api_key_env)
        self._model = model
        self._most = most_bytes(1, 1)
        self._openai = installed()
        self._loop = Loop()
        self._client: openai.AsyncOpenAI = make_client(
            self.url, self.config, self._key, lambda: self._most, self._sent
        )
        self._gate = asyncio.Semaphore(self.config.concurrency)
        self._one_by_one = False
        self._in_a_row, self._worked = 0, False

    def __enter__(self) -> ServerAnswerer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._loop.run(self._client.close())
        self._loop.close()
        if self.replies is not None:
            self.replies.close()

    @property
    def model(self) -> str:
        """The model's name on the server.

        Raises:
            ServerError: it was not given, and the server cannot be asked for it.
        """
        return self._model if self._model is not None else self.connect()

    @property
    def name(self) -> str:
        return f"{self.model} at {self.url}"

    def connect(self) -> str:
        """Ask the server which models it serves, and return the name of the one to be asked.

        Raises:
            ServerError: it does not answer, does not let us in, or does not serve this model; or
                none was named and it serves several.
        """
        served = self._loop.run(self._served())
        if served is None:  # no such list; the first question will tell
            if self._model is None:
                raise ServerError(f"{self.url} lists no models; name one with --server-model")
            return self._model
        shown = ", ".join(printable(one, 60) for one in served[:_SHOWN_MODELS]) or "none"
        shown += f" and {len(served) - _SHOWN_MODELS} more" if len(served) > _SHOWN_MODELS else ""
        if self._model is None:
            if len(served) != 1:
                raise ServerError(f"{self.url} serves {shown}; name one with --server-model")
            self._model = served[0]
        elif self._model not in served:
            asked = printable(self._model, 60)
            raise ServerError(f'{self.url} does not serve "{asked}", but {shown}')
        return self._model

    def complete(
        self, prompts: Sequence[Prompt], draws: Sequence[Draw]
    ) -> list[list[list[Completion | None]]]:
        """Completions, ``[draw][prompt][number]``; None for those in `failures`.

        Raises:
            ServerError: the server does not let us in, does not know the model, or does not answer
                any more. What came before is remembered, if there is a memory.
            InputError: a prompt has not as many pictures as marks.
        """
        model = self.model
        call = _Call(
            prompts,
            draws,
            [requests.sampling_fields(draw.params, self.config) for draw in draws],
            [[[None] * draw.count for _ in prompts] for draw in draws],
        )
        longest = max((draw.params.max_completion_length for draw in draws), default=1)
        self._most = max(self._most, most_bytes(self.config.samples_per_request, longest))
        self._in_a_row = 0
        self._loop.run(self._complete(call, model))
        return call.results

    def _sent(self) -> None:
        self.tally.requests += 1

    async def _served(self) -> list[str] | None:
        """Names of the models on the server; None: it has no such list."""
        try:
            raw = await self._client.with_options(max_retries=1).models.with_raw_response.list()
        except self._openai.NotFoundError:
            return None
        except self._openai.OpenAIError as error:
            raise ServerError(
                f"{self.url} does not answer: {self._why(error)}; is the server running?"
            ) from None
        try:
            return [str(entry["id"]) for entry in json.loads(raw.http_response.content)["data"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ServerError(
                f"{self.url} does not answer as an OpenAI-compatible server; is it the base "
                "address, ending in /v1?"
            ) from None

    async def _complete(self, call: _Call, model: str) -> None:
        """All requests of a call, `concurrency` at a time; prompts in order."""
        waiting = self._asks(call)

        async def worker() -> None:
            for ask in waiting:
                await self._answer(call, ask, model)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.config.concurrency):
                    group.create_task(worker())
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    def _asks(self, call: _Call) -> Iterator[requests.Ask]:
        for prompt in range(len(call.prompts)):
            for number, draw in enumerate(call.draws):
                every = range(draw.count)
                if draw.params.temperature == 0:
                    yield requests.Ask(prompt, number, tuple(every), None)
                    continue
                step = self.config.samples_per_request
                for start in range(0, draw.count, step):
                    numbers = tuple(every[start : start + step])
                    yield self._ask(call, prompt, number, numbers)
            # The last worker at this prompt may still need its pictures; those before do not.
            for old in [p for p in call.packed if p < prompt - self.config.concurrency]:
                del call.packed[old]
                call.digests.pop(old, None)

    @staticmethod
    def _ask(call: _Call, prompt: int, number: int, numbers: tuple[int, ...]) -> requests.Ask:
        draw = call.draws[number]
        seed = int(draw.seeds[prompt * draw.count + numbers[0]])
        return requests.Ask(prompt, number, numbers, requests.request_seed(seed))

    async def _answer(self, call: _Call, ask: requests.Ask, model: str) -> None:
        """Put what a request brings into its place; where it brings too little, ask singly."""
        wanted = 1 if ask.seed is None else len(ask.numbers)
        fields = {**call.fields[ask.draw], "n": wanted}
        if ask.seed is not None:
            fields["seed"] = ask.seed
        digests = self._digests(call, ask.prompt)
        key = requests.key(model, call.prompts[ask.prompt], digests, fields, self.config)
        found = self.replies.get(key) if self.replies is not None else None
        if found is not None:
            self._place(call, ask, unpacked(found), remembered=True)
            return
        if wanted > 1 and self._one_by_one:
            await self._singly(call, ask, ask.numbers, model)
            return
        answered: Answered | None = None
        reason = ""
        try:
            answered = await self._request(call, ask, model, fields)
        except (self._openai.OpenAIError, BrokenReplyError) as error:
            refused = isinstance(error, self._openai.BadRequestError)
            refused = refused or isinstance(error, self._openai.UnprocessableEntityError)
            if wanted > 1 and refused:
                # Perhaps it refuses n > 1, perhaps this prompt: one completion will tell.
                if await self._singly(call, ask, ask.numbers[:1], model):
                    self._one_by_one = True
                    await self._singly(call, ask, ask.numbers[1:], model)
                else:
                    self._lost(call, ask, len(ask.numbers) - 1, self._why(error))
                return
            self._count_failure(error)
            reason = self._why(error)
        if answered is None:
            self._lost(call, ask, len(ask.numbers), reason)
            return
        self._worked, self._in_a_row = True, 0
        if len(answered.completions) < wanted:  # it does not know n
            self._one_by_one = True
            single = requests.Ask(ask.prompt, ask.draw, ask.numbers[:1], ask.seed)
            fields["n"] = 1
            key = requests.key(model, call.prompts[ask.prompt], digests, fields, self.config)
            first = Answered(answered.completions[:1], answered.broken, answered.prompt_tokens,
                             answered.completion_tokens)  # fmt: skip
            self._keep(key, first)
            self._place(call, single, first)
            await self._singly(call, ask, ask.numbers[1:], model)
            return
        self._keep(key, answered)
        self._place(call, ask, answered)

    async def _singly(
        self, call: _Call, ask: requests.Ask, numbers: Sequence[int], model: str
    ) -> bool:
        """Ask for completions one by one, each with its own seed. Whether all of them came."""
        for number in numbers:
            await self._answer(call, self._ask(call, ask.prompt, ask.draw, (number,)), model)
        # Not by `tally` or `failures`: other requests fail meanwhile.
        there = call.results[ask.draw][ask.prompt]
        return all(there[number] is not None for number in numbers)

    async def _request(
        self, call: _Call, ask: requests.Ask, model: str, fields: dict[str, Any]
    ) -> Answered:
        """One request, repeated while its replies cannot be read; `openai` repeats the rest."""
        prompt = call.prompts[ask.prompt]
        limit = call.draws[ask.draw].params.max_completion_length
        async with self._gate:
            if ask.prompt not in call.packed:
                call.packed[ask.prompt] = asyncio.create_task(asyncio.to_thread(self._pack, prompt))
            content = requests.message(prompt, await call.packed[ask.prompt])
            body = dict(fields)
            if body["n"] == 1:
                del body["n"]  # some refuse the field itself
            if not self.config.send_seed:
                body.pop("seed", None)
            pause = _PAUSE
            for left in reversed(range(self.config.max_retries + 1)):
                raw = await self._client.chat.completions.with_raw_response.create(
                    model=model, messages=cast("Any", content), extra_body=body
                )
                try:
                    return read_reply(raw.http_response.content, fields["n"], limit)
                except BrokenReplyError:
                    if not left:
                        raise
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("unreachable")

    def _pack(self, prompt: Prompt) -> list[str]:
        return [requests.data_uri(image, self.config.image_format) for image in prompt.images]

    def _digests(self, call: _Call, prompt: int) -> list[str]:
        if prompt not in call.digests:
            images = call.prompts[prompt].images
            call.digests[prompt] = [requests.picture_digest(image) for image in images]
        return call.digests[prompt]

    def _keep(self, key: bytes, answered: Answered) -> None:
        """Remember what came, unless some of it did not."""
        if self.replies is not None and None not in answered.completions:
            self.replies.put(key, packed(answered))

    def _place(
        self, call: _Call, ask: requests.Ask, answered: Answered, *, remembered: bool = False
    ) -> None:
        """Put completions into the results, and count them."""
        came = answered.completions
        if ask.seed is None:
            came = came * len(ask.numbers)
        for number, completion in zip(ask.numbers, came, strict=True):
            call.results[ask.draw][ask.prompt][number] = completion
        broken = came.count(None)
        self.tally.replies += len(came) - broken
        self.tally.remembered += len(came) - broken if remembered else 0
        self.tally.prompt_tokens += answered.prompt_tokens or 0
        self.tally.completion_tokens += answered.completion_tokens or 0
        if answered.completion_tokens is None:
            self.tally.uncounted += len(came) - broken
        if broken:
            self._lost(call, ask, broken, answered.broken or "")
        self._tell(len(came) - broken)

    def _lost(self, call: _Call, ask: requests.Ask, count: int, reason: str) -> None:
        origin = call.prompts[ask.prompt].origin or f"prompt {ask.prompt}"
        if count:
            self.failures.append(Failure(printable(origin), count, reason))
        self.tally.failed += count
        self._tell(count)

    def _tell(self, count: int) -> None:
        if self.progress is not None and count:
            self.progress(count)

    def _count_failure(self, error: Exception) -> None:
        """End it all where nothing that follows would work either.

        Raises:
            ServerError: the key is refused, the model unknown, or `GIVE_UP_AFTER` requests in a row
                failed; refused prompts count only until the first one that works.
        """
        if isinstance(error, self._openai.AuthenticationError):
            raise ServerError(f"{self.url} does not let us in: {self._why(error)}")
        if isinstance(error, self._openai.NotFoundError):
            raise ServerError(f"{self.url} does not know what was asked: {self._why(error)}")
        status = getattr(error, "status_code", 500)
        if self._worked and isinstance(status, int) and status < 500 and status != 429:
            return
        self._in_a_row += 1
        if self._in_a_row >= GIVE_UP_AFTER:
            raise ServerError(
                f"{self.url} does not answer any more: the last {self._in_a_row} requests failed, "
                f"this one with: {self._why(error)}. Replies that came before are kept; repeat the "
                "command to go on"
            )

    def _why(self, error: Exception) -> str:
        """An error in a few printable words, without the key."""
        if isinstance(error, BrokenReplyError):
            text = str(error)
        elif isinstance(error, self._openai.APIStatusError):
            text = f"HTTP {error.status_code}, {_said(error)}"
        elif isinstance(error, self._openai.APITimeoutError):
            text = f"no reply within {self.config.timeout:g} seconds"
        elif isinstance(error, self._openai.APIConnectionError):
            cause = error.__cause__ or error
            text = f"connection failed ({str(cause) or type(cause).__name__})"
        else:
            text = str(error)
        if self._key:
            text = text.replace(self._key, "[key]")
        return printable(text, 200)

    def identity(self) -> dict[str, Any]:
        """Who answered, for the records."""
        return {"url": self.url, "model": self.model, "revision": self.config.revision}

    def figures(self) -> dict[str, Any]:
        """For the records: who was asked, what came, and the first failures."""
        return {
            **self.identity(),
            **asdict(self.tally),
            "failures": [asdict(one) for one in self.failures[:SHOWN_FAILURES]],
        }

    def check_failures(self, failed: int | None = None, asked: int | None = None) -> None:
        """Refuse to go on with too many missing replies.

        Args:
            failed, asked: numbers of replies; None: those of `tally`. For callers who know of
                earlier sessions.

        Raises:
            ServerError: more than `server.max_failed` of the replies did not come.
        """
        lost = self.tally.failed if failed is None else failed
        whole = self.tally.failed + self.tally.replies if asked is None else asked
        if lost > self.config.max_failed * whole:
            first = next((f"; the first: {f.origin}: {f.reason}" for f in self.failures), "")
            enough = min(1.0, math.ceil(1000 * lost / whole) / 1000)
            raise ServerError(
                f"{lost} of {whole} replies did not come{first}. The others are kept: repeat the "
                "command to ask for the missing ones again, or go on without them with "
                f"--set server.max_failed={enough:g}"
            )


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {printable(variable, 60)} is to hold the server's key, but "
            "is not set"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the environment variable {printable(variable, 60)} holds characters that no key has"
        )
    return key


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    for name in ("message", "detail", "error"):
        if isinstance(body, dict) and isinstance(body.get(name), str):
            return str(body[name])
    return str(error.message)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    one: BaseException = errors
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    return one
