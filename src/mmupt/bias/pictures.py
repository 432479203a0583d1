"""Properties of a picture that can be measured without knowing what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmupt.data.images import load_image
from mmupt.types import Sample

PROPERTIES = ("brightness", "contrast", "sharpness", "area")

Progress = Callable[[int, int], None]


def properties(image: Image.Image) -> tuple[float, ...]:
    """The values of `PROPERTIES` of an RGB picture.

    With L the luminance in 0..255 (ITU-R 601): brightness is the mean of L, contrast its standard
    deviation, sharpness the variance of its Laplacian over the inner pixels (kernel 0 1 0 / 1 -4 1
    / 0 1 0; Pech-Pacheco et al. 2000: small for blurred pictures), 0 where there are none; area is
    width x height in pixels.
    """
    light = np.asarray(image.convert("L"), dtype=np.float32)
    edges = _laplacian(light)
    return (
        float(light.mean(dtype=np.float64)),
        float(light.std(dtype=np.float64)),
        float(edges.var(dtype=np.float64)) if edges.size else 0.0,
        float(image.width * image.height),
    )


def _laplacian(light_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    inner = light_HW[1:-1, 1:-1]
    around = light_HW[:-2, 1:-1] + light_HW[2:, 1:-1] + light_HW[1:-1, :-2] + light_HW[1:-1, 2:]
    result: npt.NDArray[np.float32] = around - 4 * inner
    return result


def measured(
    samples: Sequence[Sample], *, max_pixels: int, progress: Progress | None = None
) -> npt.NDArray[np.float64]:
    """Properties of each question's pictures, their mean over several; (N, properties).

    NaN for questions without pictures. A picture is read once, however many ask about it.

    Raises:
        InputError: a picture that cannot be read.
    """
    known: dict[Path, tuple[float, ...]] = {}
    table = np.full((len(samples), len(PROPERTIES)), np.nan)
    for index, sample in enumerate(samples):
        for path in sample.images:
            if path not in known:
                image = load_image(path, max_pixels=max_pixels, origin=sample.origin)
                known[path] = properties(image)
        if sample.images:
            table[index] = np.mean([known[path] for path in sample.images], axis=0)
        if progress is not None:
            progress(index + 1, len(samples))
    return table
