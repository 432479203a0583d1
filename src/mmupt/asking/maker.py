"""From samples on disk to prompts, through their views. Decoded pictures are kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mmupt.asking.prompt import Prompt
from mmupt.asking.questions import make_question
from mmupt.data.images import load_image
from mmupt.data.views import ViewsConfig, load_view_function, make_view
from mmupt.types import Sample

CACHE_BYTES = 256 * 1024 * 1024


class PromptMaker:
    """Makes prompts of samples; remembers the pictures it read last, up to `CACHE_BYTES`.

    Args:
        views: how views differ from a sample.
        max_pixels: largest picture, in pixels; a larger one is refused.
        seed: what all views depend on.

    Raises:
        ConfigError: `views.function` cannot be loaded.
    """

    def __init__(self, views: ViewsConfig, *, max_pixels: int, seed: int) -> None:
        if views.function is not None:
            load_view_function(views.function)  # a wrong name ends here, not within the first step
        self.views = views
        self.max_pixels = max_pixels
        self.seed = seed
        self._pictures: OrderedDict[Path, Image.Image] = OrderedDict()
        self._bytes = 0

    def prompt(
        self, sample: Sample, view: int = 0, *key: int, same_question: bool = False
    ) -> Prompt:
        """The sample as seen in `view`; random views are the same for the same seed and key.

        Args:
            sample: a question with its pictures.
            view: 0 is the sample as it is.
            key: what the view depends on besides seed and sample: stream, step.
            same_question: only the pictures differ. For a caller whose target names the labels of
                the data (SFT), as `Prompt.labels` leads from answers to them and not back.

        Raises:
            InputError: a picture that cannot be used, or a paraphrase (`make_question`).
            ConfigError: `views.function` fails.
        """
        question = make_question(
            sample, self.views, 0 if same_question else view, self.seed, sample.id, *key
        )
        pictures = tuple(
            make_view(
                self._picture(sample.images[i], sample.origin), self.views, view,
                self.seed, sample.id, i, *key, max_pixels=self.max_pixels,
            )
            for i in question.images
        )  # fmt: skip
        return Prompt(question.problem, pictures, sample.origin, question.labels)

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


def blanked(prompt: Prompt) -> Prompt:
    """The prompt with each picture replaced by one of its size in its median colour.

    What is still answered is the language prior, as in VQA-CP (arXiv 1712.00377).
    """
    return replace(prompt, images=tuple(_blank(image) for image in prompt.images))


def _blank(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image).reshape(-1, 3)
    red, green, blue = (int(value) for value in np.median(pixels, axis=0))
    return Image.new("RGB", image.size, (red, green, blue))
