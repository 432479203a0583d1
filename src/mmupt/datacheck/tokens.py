"""How many tokens questions and pictures take, by a model's processor; no weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmupt.data.images import load_image
from mmupt.datacheck.figures import Spread
from mmupt.errors import InputError, ModelError
from mmupt.policy.inputs import turn_text
from mmupt.policy.model import load_processor
from mmupt.types import Sample


@dataclass(slots=True)
class Tokens:
    """What the processor made of some rows.

    Attributes:
        rows: how many were encoded.
        prompt: tokens of each whole prompt.
        image: image tokens of each prompt with pictures, all its pictures together.
        limit: positions of the text model; None where its configuration names none.
        too_long: prompts with more tokens than that.
        refused: rows that the processor refuses, with what it says.
    """

    limit: int | None
    rows: int = 0
    prompt: Spread = field(default_factory=Spread)
    image: Spread = field(default_factory=Spread)
    too_long: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "prompt": self.prompt.json(), "image": self.image.json(),
            "limit": self.limit, "too_long": self.too_long,
            "refused": [{"origin": o, "reason": r} for o, r in self.refused],
        }  # fmt: skip


def count_tokens(model: Path, samples: Iterable[Sample]) -> Tokens:
    """Encode rows as training would, and count.

    Raises:
        ModelError: a folder whose processor cannot be loaded.
    """
    processor = load_processor(model)
    token, limit = _numbers(model, processor)
    found = Tokens(limit)
    for sample in samples:
        try:
            pictures = [load_image(path, origin=sample.origin) for path in sample.images]
        except InputError:
            continue  # a broken row, told as such
        arguments: dict[str, Any] = {"images": [pictures]} if pictures else {}
        text = turn_text(processor, sample.problem)
        begin = processor.tokenizer.bos_token
        if begin and text.startswith(begin):
            arguments["add_special_tokens"] = False
        try:
            ids = processor(text=[text], **arguments)["input_ids"][0]
        except ValueError as error:
            found.refused.append((sample.origin, str(error).partition("\n")[0][:200]))
            continue
        ids = [int(i) for i in ids]
        found.rows += 1
        found.prompt.add(len(ids))
        if pictures and token is not None:
            found.image.add(ids.count(token))
        found.too_long += limit is not None and len(ids) > limit
    return found


def _numbers(model: Path, processor: Any) -> tuple[int | None, int | None]:
    """The token that stands for a part of a picture, and the positions of the text model."""
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}/config.json cannot be read") from error
    token = config.get("image_token_id", config.get("image_token_index"))
    if token is None:
        token = getattr(processor, "image_token_id", None)
    text = config.get("text_config") or config
    limit = text.get("max_position_embeddings")
    return (None if token is None else int(token)), (None if limit is None else int(limit))
