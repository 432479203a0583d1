"""OpenAI's chat completions: from a request to a prompt, from completions to a reply."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.data.images import load_image, printable
from mmupt.data.pictures import data_of
from mmupt.errors import InputError
from mmupt.types import Completion, Finish

MOST_CHOICES: Final = 64
MOST_TOKENS: Final = 4096
MOST_IMAGES: Final = 8
DEFAULT_TOKENS: Final = 256
MOST_TEXT: Final = 100_000
"""Characters of a question; more than any model here has room for."""

MOST_STOPS: Final = 16


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ImageAddress(_Part):
    url: str


class Content(_Part):
    type: Literal["text", "image_url"]
    text: str = ""
    image_url: ImageAddress | None = None


class Message(_Part):
    role: str
    content: str | list[Content]


class ChatRequest(_Part):
    """What is read of a request; everything else in it is left alone."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=64)]
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    temperature: Annotated[float, Field(ge=0, le=5)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    logprobs: bool = False
    stream: bool = False

    def params(self) -> SamplingParams:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(0, self.top_k),
            max_completion_length=self.max_completion_tokens or self.max_tokens or DEFAULT_TOKENS,
            min_p=self.min_p,
            stop_strings=tuple(one for one in stop if one),
        )


def read_request(body: object) -> ChatRequest:
    """The request that a JSON body holds.

    Raises:
        InputError: what is wrong with it, in one line.
    """
    try:
        request = ChatRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InputError(f"{printable(place, 100)}: {first['msg']}") from error
    if request.stream:
        raise InputError("stream: true is not offered here; leave it out")
    return request


def read_prompt(messages: Sequence[Message], max_pixels: int) -> Prompt:
    """The question that some messages are.

    Raises:
        InputError: not one turn of the user, an address that would have to be fetched, a picture
            that cannot be used.
    """
    if len(messages) != 1 or messages[0].role != "user":
        raise InputError(
            "messages: expected one message of role user, with its text and pictures; the models "
            "here answer single questions"
        )
    content = messages[0].content
    parts = [Content(type="text", text=content)] if isinstance(content, str) else content
    problem: list[str] = []
    images: list[Any] = []
    for number, part in enumerate(parts):
        place = f"messages.0.content.{number}"
        if part.type == "text":
            check_text(part.text, place)
            problem.append(part.text)
        else:
            if len(images) == MOST_IMAGES:
                raise InputError(f"{place}: more than {MOST_IMAGES} pictures")
            url = part.image_url.url if part.image_url else ""
            images.append(read_image(url, place, max_pixels))
            problem.append(IMAGE_MARK)
    if not any(text.strip() for text in problem):
        raise InputError("messages.0.content: is empty; ask something")
    whole = "".join(problem)
    if len(whole) > MOST_TEXT:
        raise InputError(f"messages.0.content: is longer than {MOST_TEXT} characters")
    return Prompt(whole, tuple(images), "request")


def check_text(text: str, place: str) -> None:
    """Refuse a text that no question may hold.

    Raises:
        InputError: an image mark, half a character, or too much of it.
    """
    if IMAGE_MARK in text:
        raise InputError(f"{place}: the text holds an {IMAGE_MARK} mark; take it out")
    if len(text) > MOST_TEXT:
        raise InputError(f"{place}: is longer than {MOST_TEXT} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{place}: holds half a character (an unpaired surrogate)")


def read_image(url: str, place: str, max_pixels: int) -> Any:
    """The picture of a data URI. Nothing is ever fetched."""
    if not url.lower().startswith("data:"):
        raise InputError(
            f'{place}: "{printable(url, 60)}" is no data URI; nothing is fetched here, send the '
            "picture as data:image/png;base64,..."
        )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        path.write_bytes(data_of(url, place))
        return load_image(path, max_pixels=max_pixels, origin=place)


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens of a request and what was answered."""

    prompt: int
    completion: int


def reply(
    request: ChatRequest,
    completions: Sequence[Completion],
    tokens: Sequence[Sequence[str]],
    counted: Counted,
) -> dict[str, Any]:
    """The reply to a request.

    Args:
        request: what was asked.
        completions: its n choices.
        tokens: the tokens of each as texts, for ``logprobs``.
        counted: for ``usage``.
    """
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": one.text},
                "finish_reason": "length" if one.finish is Finish.LENGTH else "stop",
                "logprobs": _logprobs(one, texts) if request.logprobs else None,
            }
            for index, (one, texts) in enumerate(zip(completions, tokens, strict=True))
        ],
        "usage": {
            "prompt_tokens": counted.prompt,
            "completion_tokens": counted.completion,
            "total_tokens": counted.prompt + counted.completion,
        },
    }


def _logprobs(one: Completion, texts: Sequence[str]) -> dict[str, Any]:
    # A token that is a part of a character only has no text, and so no bytes, of its own.
    return {
        "content": [
            {
                "token": text,
                "logprob": value,
                "bytes": None if "\ufffd" in text else list(text.encode()),
                "top_logprobs": [],
            }
            for text, value in zip(texts, one.logprobs, strict=True)
        ]
    }


def error(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """An error in the form that clients of the API read."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
