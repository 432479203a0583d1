"""A question as it is shown to whoever answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

IMAGE_MARK = "<image>"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question with its decoded pictures, ready to be encoded.

    Attributes:
        problem: text with one ``<image>`` mark per picture.
        images: RGB pictures in the order of the marks.
        origin: where it came from, for messages.
        labels: label of each option as shown -> its label in the data, where a view shuffled them.
    """

    problem: str
    images: tuple[Image.Image, ...]
    origin: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
