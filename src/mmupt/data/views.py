"""Views: the same picture seen slightly differently, so that its answer stays the same.

Votes across views are worth more than repeated samples of one view: they break errors that hang
on how one picture happens to be read. View 0 is always the picture as it is. The changes come in a
fixed order, as light comes through a camera: geometry (cells, then crop), loss of resolution
(resize, then blur), light (brightness, then contrast), noise, and last a user's own function.

Each change but the oldest (cells and contrast, which share one) draws from a generator of its own:
turning one on or off never changes what the others do. Other wordings of the question and other
orders of its options are in `mmupt.asking.questions`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Annotated

import numpy as np
from PIL import Image, ImageFilter
from pydantic import BaseModel, ConfigDict, Field, field_validator

from mmupt.data.images import MAX_PIXELS, printable
from mmupt.errors import ConfigError
from mmupt.plugins import load_function

Factor = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Range = tuple[Factor, Factor]


class ViewsConfig(BaseModel):
    """How views differ from a sample. Every size is relative, so any image works."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rotate: Annotated[float, Field(ge=0, le=180)] = 5.0
    """Largest turn either way, in degrees."""
    shear: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest horizontal shear either way."""
    scale: Range = (0.95, 1.05)
    """Smallest and largest magnification."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Largest shift either way, as a fraction of the width and height."""
    contrast: Range = (0.9, 1.1)
    """Smallest and largest contrast factor about the mean grey."""
    grid: tuple[Annotated[int, Field(ge=1, le=16)], Annotated[int, Field(ge=1, le=16)]] = (1, 1)
    """Rows and columns that move independently, for pictures that are laid out in cells."""
    crop: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Largest part of the width and of the height that is cut away, the same of both, before the
    rest is enlarged back; 0: nothing is."""
    resize: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest factor of a reduction that is then scaled back, so that detail is lost; 1: none."""
    blur: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest radius of a Gaussian blur, as a fraction of the shorter side; 0: none."""
    brightness: Range = (1.0, 1.0)
    """Smallest and largest factor of all pixel values."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest standard deviation of Gaussian noise on pixel values, as a fraction of 255; 0: none.
    """
    function: str | None = None
    """A function of yours, `package.module:name`, called last with the picture and a NumPy
    generator to draw from; it returns an RGB picture."""
    paraphrase: bool = False
    """Views ask the wordings of a row's `paraphrases` in turn, too."""
    shuffle_options: bool = False
    """Views show the options of a multiple-choice question in other orders, where a list of them is
    found; their answers are read back into the labels of the data."""

    @field_validator("scale", "contrast", "brightness")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the smallest comes first")
        return value

    @field_validator("scale")
    @classmethod
    def _something_left(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] < 0.01:
            raise ValueError("magnifications begin at 0.01")
        return value


def generator(*key: int | str) -> np.random.Generator:
    """The generator of a key: the same numbers for the same key, on every machine."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


def make_view(
    image: Image.Image,
    config: ViewsConfig,
    view: int,
    *key: int | str,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """View number `view` of an RGB picture; the same for the same key.

    Args:
        image: RGB picture; never changed.
        config: how far views may differ.
        view: 0 gives the picture itself.
        key: what the draw depends on besides the view: seed, sample id, step.
        max_pixels: largest width x height, in pixels, that `config.function` may return.

    Raises:
        ConfigError: `config.function` cannot be loaded, fails, or returns no such picture.
    """
    if view == 0:
        return image
    rng = generator(*key, view)
    seen = _move_cells(image, config, rng)
    if config.crop:
        seen = _crop(seen, config.crop, generator(*key, view, "crop"))
    if config.resize < 1:
        seen = _resize(seen, config.resize, generator(*key, view, "resize"))
    if config.blur:
        radius = generator(*key, view, "blur").uniform(0, config.blur) * min(seen.size)
        seen = seen.filter(ImageFilter.GaussianBlur(radius))
    if config.brightness != (1, 1):
        seen = _scaled(seen, generator(*key, view, "brightness").uniform(*config.brightness), 0.0)
    mean = float(np.asarray(seen.convert("L")).mean())
    seen = _scaled(seen, rng.uniform(*config.contrast), mean)
    if config.noise:
        seen = _noise(seen, config.noise, generator(*key, view, "noise"))
    if config.function is not None:
        seen = _own(seen, config.function, generator(*key, view, "function"), max_pixels)
    return seen


def _move_cells(image: Image.Image, config: ViewsConfig, rng: np.random.Generator) -> Image.Image:
    """Move the picture, or each cell of its grid by itself."""
    rows, columns = config.grid
    if (rows, columns) == (1, 1):
        return _move(image, config, rng)
    moved = image.copy()
    for r in range(rows):
        for c in range(columns):
            box = (
                image.width * c // columns,
                image.height * r // rows,
                image.width * (c + 1) // columns,
                image.height * (r + 1) // rows,
            )
            moved.paste(_move(image.crop(box), config, rng), box)
    return moved


def _move(image: Image.Image, config: ViewsConfig, rng: np.random.Generator) -> Image.Image:
    """Turn, shear, scale and shift about the centre; what comes in from outside is background."""
    angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate))
    shear = rng.uniform(-config.shear, config.shear)
    scale = rng.uniform(*config.scale)
    shift = rng.uniform(-config.shift, config.shift, size=2) * image.size
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) / scale
    centre = np.array([image.width / 2, image.height / 2])  # pixel centres lie at halves
    offset = centre - matrix @ (centre + shift)
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        (*matrix[0], offset[0], *matrix[1], offset[1]),
        Image.Resampling.BILINEAR,
        fillcolor=_background(image),
    )


def _background(image: Image.Image) -> tuple[int, int, int]:
    """Median colour of the border."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(v) for v in np.median(border, axis=0))
    return red, green, blue


def _crop(image: Image.Image, largest: float, rng: np.random.Generator) -> Image.Image:
    """Cut the same part of width and height away, so that shapes keep their proportions."""
    part, left, top = rng.uniform(0, (largest, 1, 1))
    width = max(1, round(image.width * (1 - part)))
    height = max(1, round(image.height * (1 - part)))
    x, y = round((image.width - width) * left), round((image.height - height) * top)
    rest = image.crop((x, y, x + width, y + height))
    return rest.resize(image.size, Image.Resampling.BICUBIC)


def _resize(image: Image.Image, smallest: float, rng: np.random.Generator) -> Image.Image:
    """Down and up again: the detail of a smaller picture at the size of this one."""
    factor = rng.uniform(smallest, 1)
    small = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    reduced = image.resize(small, Image.Resampling.BILINEAR)  # Pillow averages when reducing
    return reduced.resize(image.size, Image.Resampling.BILINEAR)


def _scaled(image: Image.Image, factor: float, about: float) -> Image.Image:
    """Every pixel value v becomes about + factor (v - about), within 0 to 255."""
    table = [round(min(255.0, max(0.0, about + factor * (v - about)))) for v in range(256)]
    return image.point(table * 3)


def _noise(image: Image.Image, largest: float, rng: np.random.Generator) -> Image.Image:
    """Add independent noise to every value of every pixel."""
    deviation = 255 * rng.uniform(0, largest)
    pixels = np.asarray(image, dtype=np.float32)
    noisy = pixels + np.float32(deviation) * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.rint(noisy).clip(0, 255).astype(np.uint8))


def load_view_function(name: str) -> Callable[[Image.Image, np.random.Generator], object]:
    """The function that `views.function` names; loaded where a run begins, it fails there.

    Raises:
        ConfigError: not of the form `package.module:name`, or it cannot be imported.
    """
    try:
        return load_function(name, "views.function")
    except ConfigError:
        raise
    except Exception as error:  # importing runs a user's module
        detail = f"{type(error).__name__}: {printable(error, 120)}"
        raise ConfigError(f"views.function: {name!r} cannot be imported ({detail})") from error


def _own(image: Image.Image, name: str, rng: np.random.Generator, max_pixels: int) -> Image.Image:
    """What a user's function makes of a picture, checked: it goes on to the model."""
    function = load_view_function(name)
    try:
        seen = function(image, rng)
        if isinstance(seen, Image.Image):
            seen.load()  # a file opened without being read is read here
    except Exception as error:  # the function is somebody else's: it raises whatever it likes
        detail = f"{type(error).__name__}: {printable(error, 120)}"
        raise ConfigError(f"views.function: {name!r} failed ({detail}); mend it") from error
    if not isinstance(seen, Image.Image):
        found = type(seen).__name__
    elif seen.mode != "RGB":
        found = f"a picture of mode {seen.mode}"
    elif not 0 < seen.width * seen.height <= max_pixels:
        found = f"{seen.width}x{seen.height} pixels"
    else:
        return seen
    raise ConfigError(
        f"views.function: {name!r} returned {found}, expected an RGB picture (PIL.Image) of 1 to "
        f"{max_pixels:,} pixels"
    )
