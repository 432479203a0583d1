"""From samples on disk to prompts, through the image views. Decoded pictures are kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from PIL import Image

from mmupt.data.images import load_image
from mmupt.data.views import ViewsConfig, make_view
from mmupt.policy.inputs import Prompt
from mmupt.types import Sample

CACHE_BYTES = 256 * 1024 * 1024


class PromptMaker:
    """Makes prompts of samples; remembers the pictures it read last, up to `CACHE_BYTES`."""

    def __init__(self, views: ViewsConfig, *, max_pixels: int, seed: int) -> None:
        self.views = views
        self.max_pixels = max_pixels
        self.seed = seed
        self._pictures: OrderedDict[Path, Image.Image] = OrderedDict()
        self._bytes = 0

    def prompt(self, sample: Sample, view: int = 0, *key: int) -> Prompt:
        """The sample as seen in `view`; random views are the same for the same seed and key."""
        pictures = tuple(
            make_view(
                self._picture(path, sample.origin), self.views, view, self.seed, sample.id, i, *key
            )
            for i, path in enumerate(sample.images)
        )
        return Prompt(sample.problem, pictures, sample.origin)

    def _picture(self, path: Path, origin: str) -> Image.Image:
        if path in self._pictures:
            self._pictures.move_to_end(path)
            return self._pictures[path]
        picture = load_image(path, max_pixels=self.max_pixels, origin=origin)
        self._pictures[path] = picture
        self._bytes += picture.width * picture.height * 3
        while self._bytes > CACHE_BYTES and len(self._pictures) > 1:
            _, old = self._pictures.popitem(last=False)
            self._bytes -= old.width * old.height * 3
        return picture
