"""What is sent: a prompt and how to sample as a chat completion request, and what it is known by.

Pure, but for the encoding of pictures.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmupt.asking.answerer import SamplingParams
from mmupt.asking.prompt import IMAGE_MARK, Prompt
from mmupt.config_server import ServerConfig
from mmupt.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class Ask:
    """Completions of one prompt that one request asks for.

    Attributes:
        prompt: which prompt, by its place.
        draw: which draw, by its place.
        numbers: which completions of that draw.
        seed: of the first of them; None where the request is greedy.
    """

    prompt: int
    draw: int
    numbers: tuple[int, ...]
    seed: int | None


def request_seed(seed: int) -> int:
    """A seed that every server takes: the upper 31 of 64 bits (some refuse or fold larger ones)."""
    return int(seed) >> 33


def sampling_fields(params: SamplingParams, config: ServerConfig) -> dict[str, Any]:
    """How to sample, in the words of the API.

    `top_k` and `min_p` are not part of OpenAI's API (vLLM, SGLang and llama.cpp know them), so
    they are sent only where they do something.
    """
    fields: dict[str, Any] = {
        "temperature": params.temperature,
        config.length_parameter: params.max_completion_length,
    }
    if params.temperature > 0:
        if params.top_p < 1.0:
            fields["top_p"] = params.top_p
        if params.top_k:
            fields["top_k"] = params.top_k
        if params.min_p:
            fields["min_p"] = params.min_p
    if params.stop_strings:
        fields["stop"] = list(params.stop_strings)
    if config.logprobs:
        fields["logprobs"] = True
    return {**fields, **config.extra_body}


def pieces(prompt: Prompt) -> list[str | int]:
    """Text and pictures, these by number, in the order of the question.

    The texts are stripped, as for a local model (`mmupt.policy.inputs.chat_text`).

    Raises:
        InputError: not as many pictures as marks.
    """
    found: list[str | int] = []
    for index, text in enumerate(prompt.problem.split(IMAGE_MARK)):
        if index:
            found.append(index - 1)
        if text.strip():
            found.append(text.strip())
    marks = prompt.problem.count(IMAGE_MARK)
    if marks != len(prompt.images):
        raise InputError(
            f"{prompt.origin or 'prompt'}: {marks} {IMAGE_MARK} marks and {len(prompt.images)} "
            "images; each mark stands for one image"
        )
    return found


def message(prompt: Prompt, images: Sequence[str]) -> list[dict[str, Any]]:
    """The user's turn; `images` are the pictures as data URIs."""
    content: list[dict[str, Any]] = [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": images[piece]}}
        for piece in pieces(prompt)
    ]
    return [{"role": "user", "content": content}]


def data_uri(image: Image.Image, kind: str) -> str:
    """The picture as a base64 data URI, `kind` is png or jpeg."""
    buffer = io.BytesIO()
    if kind == "png":
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def picture_digest(image: Image.Image) -> str:
    """SHA-256 of what the picture shows: mode, size and pixels, not of how it is packed."""
    head = f"{image.mode} {image.width} {image.height} ".encode()
    return hashlib.sha256(head + image.tobytes()).hexdigest()


def key(
    model: str, prompt: Prompt, digests: Sequence[str], fields: Mapping[str, Any],
    config: ServerConfig,
) -> bytes:  # fmt: skip
    """What a reply is remembered by: everything it depends on, the server's address left out.

    Args:
        model: the model's name on the server.
        prompt: what is asked.
        digests: of its pictures.
        fields: the request's fields, seed and number of completions among them.
        config: revision and picture format are read.
    """
    asked = {
        "model": model,
        "revision": config.revision,
        "content": [p if isinstance(p, str) else [digests[p]] for p in pieces(prompt)],
        "image_format": config.image_format if prompt.images else None,
        "fields": dict(fields),
    }
    text = json.dumps(asked, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).digest()
