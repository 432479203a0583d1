from __future__ import annotations

import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter
from pydantic import ValidationError

from mmupt.asking.maker import PromptMaker
from mmupt.config import load_config
from mmupt.data.views import ViewsConfig, make_view
from mmupt.errors import ConfigError

STILL = ViewsConfig(rotate=0, shear=0, scale=(1, 1), shift=0, contrast=(1, 1))


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(
        0, 256, size=(size[1], size[0], 3), dtype=np.uint8
    )
    return Image.fromarray(pixels)


def test_view_zero_is_the_picture_and_a_still_view_equals_it() -> None:
    image = picture()
    assert make_view(image, ViewsConfig(), 0, 1) is image
    assert np.array_equal(np.asarray(make_view(image, STILL, 3, 1)), np.asarray(image))


def test_the_same_key_gives_the_same_view_and_another_key_another() -> None:
    image, config = picture(), ViewsConfig(rotate=10)
    first = np.asarray(make_view(image, config, 2, 5, "a"))
    assert np.array_equal(first, np.asarray(make_view(image, config, 2, 5, "a")))
    assert not np.array_equal(first, np.asarray(make_view(image, config, 3, 5, "a")))
    assert not np.array_equal(first, np.asarray(make_view(image, config, 2, 5, "b")))
    assert not np.array_equal(first, np.asarray(make_view(image, config, 2, 6, "a")))


def test_a_view_never_changes_its_picture() -> None:
    image = picture()
    before = np.asarray(image).copy()
    make_view(image, ViewsConfig(grid=(2, 2)), 1, 0)
    assert np.array_equal(np.asarray(image), before)


def test_a_turn_keeps_the_size_and_the_centre() -> None:
    image = picture(size=(31, 31))
    config = STILL.model_copy(update={"rotate": 90.0})
    view = make_view(image, config, 1, 0)
    assert view.size == image.size
    # Any turn about the centre keeps the centre pixel.
    assert (
        np.abs(np.asarray(view)[15, 15].astype(int) - np.asarray(image)[15, 15].astype(int)).max()
        <= 2
    )


def test_shift_moves_by_at_most_its_fraction() -> None:
    pixels = np.full((50, 50, 3), 255, dtype=np.uint8)
    pixels[24:27, 24:27] = 0
    config = STILL.model_copy(update={"shift": 0.1})
    for view in range(1, 20):
        moved = np.asarray(make_view(Image.fromarray(pixels), config, view, 0)).astype(float)
        ink = 255 - moved[..., 0]
        rows, columns = np.indices(ink.shape)
        centre = ((ink * rows).sum() / ink.sum(), (ink * columns).sum() / ink.sum())
        assert np.abs(np.asarray(centre) - 25).max() <= 5.01


def test_cells_of_a_grid_keep_their_ink_to_themselves() -> None:
    pixels = np.full((48, 48, 3), 255, dtype=np.uint8)
    pixels[8:16, 8:16] = 0  # all ink in the first cell
    config = ViewsConfig(rotate=30, shift=0.3, grid=(2, 2), contrast=(1, 1))
    for view in range(1, 10):
        moved = np.asarray(make_view(Image.fromarray(pixels), config, view, 0))
        assert moved[:24, :24].min() < 128
        assert moved[24:].min() == 255
        assert moved[:24, 24:].min() == 255


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_contrast_spreads_about_the_mean(factor: float) -> None:
    pixels = np.full((10, 10, 3), 100, dtype=np.uint8)
    pixels[:5] = 140
    config = STILL.model_copy(update={"contrast": (factor, factor)})
    view = np.asarray(make_view(Image.fromarray(pixels), config, 1, 0))
    assert sorted(set(view.ravel().tolist())) == [
        round(120 - 20 * factor),
        round(120 + 20 * factor),
    ]


# --- golden: settings of before views had more to set ---------------------------------------------


def first_release(
    image: Image.Image, config: ViewsConfig, view: int, *key: int | str
) -> Image.Image:
    """Views as they were before there was anything but cells and contrast, in other words."""

    def moved(part: Image.Image) -> Image.Image:
        angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate))
        shear = rng.uniform(-config.shear, config.shear)
        scale = rng.uniform(*config.scale)
        shift = rng.uniform(-config.shift, config.shift, size=2) * part.size
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) / scale
        centre = np.array([part.width / 2, part.height / 2])
        x, y = centre - matrix @ (centre + shift)
        pixels = np.asarray(part)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        fill = tuple(int(v) for v in np.median(border, axis=0))
        numbers = (*matrix[0], x, *matrix[1], y)
        affine, bilinear = Image.Transform.AFFINE, Image.Resampling.BILINEAR
        return part.transform(part.size, affine, numbers, bilinear, fillcolor=fill)

    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
    rng = np.random.default_rng([*words, view])
    rows, columns = config.grid
    xs = [image.width * c // columns for c in range(columns + 1)]
    ys = [image.height * r // rows for r in range(rows + 1)]
    whole = image.copy()
    for r in range(rows):
        for c in range(columns):
            box = (xs[c], ys[r], xs[c + 1], ys[r + 1])
            whole.paste(moved(image.crop(box)), box)
    factor = rng.uniform(*config.contrast)
    mean = float(np.asarray(whole.convert("L")).mean())
    return whole.point(
        [round(min(255, max(0, mean + factor * (v - mean)))) for v in range(256)] * 3
    )


PANELS = ViewsConfig(
    rotate=12, shear=0.25, scale=(0.85, 1.15), shift=0.08, contrast=(0.8, 1.2), grid=(2, 2)
)
NUMBERS = {
    # Written down before the other settings came.
    "default": [
        [94, 130, 193, 205, 201, 237, 28, 169, 48, 202, 218, 119],
        [244, 195, 7, 80, 188, 220, 186, 86, 163, 82, 137, 23],
        [19, 249, 60, 8, 187, 30, 61, 0, 58, 73, 215, 30],
    ],
    "panels": [
        [93, 130, 196, 205, 200, 233, 11, 164, 29, 187, 211, 114],
        [236, 190, 29, 63, 185, 225, 192, 79, 153, 58, 128, 7],
        [51, 236, 57, 16, 187, 40, 60, 41, 53, 79, 225, 41],
    ],
}


@pytest.mark.parametrize(("name", "config"), [("default", ViewsConfig()), ("panels", PANELS)])
def test_views_of_older_settings_are_what_they_were(name: str, config: ViewsConfig) -> None:
    small = picture(size=(4, 3))
    view = np.asarray(make_view(small, config, 3, 0, "a-1", 0, 2, 7)).astype(int)
    # Another Pillow may round another way; another draw would differ far more.
    assert np.abs(view.reshape(3, 12) - NUMBERS[name]).max() <= 1
    for seed in range(3):
        for view_number in (1, 2, 9):
            key = (seed, "id", 1, 2)
            found = make_view(picture(seed, (33, 21)), config, view_number, *key)
            expected = first_release(picture(seed, (33, 21)), config, view_number, *key)
            assert np.array_equal(np.asarray(found), np.asarray(expected))


# --- each change by itself ------------------------------------------------------------------------

Array = npt.NDArray[np.uint8]


def draws(name: str, view: int, *key: int) -> np.random.Generator:
    """The generator of one change."""
    return np.random.default_rng([*key, view, zlib.crc32(name.encode())])


def seen(config: ViewsConfig, view: int = 1, size: tuple[int, int] = (40, 30)) -> Array:
    return np.asarray(make_view(picture(size=size), config, view, 7))


def test_crop_cuts_and_enlarges() -> None:
    config = STILL.model_copy(update={"crop": 0.5})
    for view in (1, 2, 3):
        rng = draws("crop", view, 7)
        part, left, top = rng.uniform(0, 0.5), rng.uniform(), rng.uniform()
        width, height = round(40 * (1 - part)), round(30 * (1 - part))
        x, y = round((40 - width) * left), round((30 - height) * top)
        rest = np.asarray(picture())[y : y + height, x : x + width]
        assert rest.shape[:2] == (height, width)
        assert height >= 15
        assert abs(width / height - 40 / 30) < 0.05  # shapes keep their proportions
        enlarged = Image.fromarray(rest).resize((40, 30), Image.Resampling.BICUBIC)
        assert np.array_equal(seen(config, view), np.asarray(enlarged))


def test_crop_enlarges_what_stays() -> None:
    """A half-black picture: the border between the halves moves, both colours stay pure."""
    pixels = np.zeros((60, 60, 3), dtype=np.uint8)
    pixels[:, 30:] = 255
    config = STILL.model_copy(update={"crop": 0.4})
    borders = set()
    for view in range(1, 12):
        row = np.asarray(make_view(Image.fromarray(pixels), config, view, 0))[10, :, 0]
        assert row[0] == 0
        assert row[-1] == 255
        borders.add(int((row < 128).sum()))
    assert len(borders) > 5
    assert all(10 <= border <= 50 for border in borders)


def test_resize_loses_detail() -> None:
    config = STILL.model_copy(update={"resize": 0.25})
    factor = draws("resize", 1, 7).uniform(0.25, 1)
    small = picture().resize((round(40 * factor), round(30 * factor)), Image.Resampling.BILINEAR)
    expected = small.resize((40, 30), Image.Resampling.BILINEAR)
    assert np.array_equal(seen(config), np.asarray(expected))
    assert seen(config).std() < np.asarray(picture()).std()


def test_blur_has_a_radius_relative_to_the_shorter_side() -> None:
    config = STILL.model_copy(update={"blur": 0.1})
    radius = draws("blur", 1, 7).uniform(0, 0.1) * 30
    expected = picture().filter(ImageFilter.GaussianBlur(radius))
    assert np.array_equal(seen(config), np.asarray(expected))


def test_blur_spreads_a_point_like_a_gaussian() -> None:
    pixels = np.zeros((81, 81, 3), dtype=np.uint8)
    pixels[30:51, 30:51] = 255
    config = STILL.model_copy(update={"blur": 0.1})
    for view in (1, 2, 3):
        sigma = draws("blur", view, 7).uniform(0, 0.1) * 81
        ink = np.asarray(make_view(Image.fromarray(pixels), config, view, 7))[..., 0].astype(float)
        columns = np.arange(81)
        mass = ink.sum(0) / ink.sum()
        assert (mass * columns).sum() == pytest.approx(40, abs=0.05)
        # Variances add: that of a box of 21 pixels is (21^2 - 1) / 12.
        variance = (mass * (columns - 40) ** 2).sum()
        assert variance == pytest.approx((21**2 - 1) / 12 + sigma**2, rel=0.1)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_brightness_multiplies(factor: float) -> None:
    config = STILL.model_copy(update={"brightness": (factor, factor)})
    values = np.asarray(picture()).astype(float)
    assert np.array_equal(seen(config), np.minimum(255, np.round(values * factor)))


def test_brightness_is_drawn_from_its_range() -> None:
    config = STILL.model_copy(update={"brightness": (0.5, 1.0)})
    factor = draws("brightness", 1, 7).uniform(0.5, 1.0)
    assert np.array_equal(seen(config), np.round(np.asarray(picture()) * factor))


def test_noise_is_gaussian_with_the_drawn_deviation() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    config = STILL.model_copy(update={"noise": 0.1})
    for view in (1, 2, 3):
        rng = draws("noise", view, 7)
        deviation = 255 * rng.uniform(0, 0.1)
        added = rng.standard_normal((200, 200, 3), dtype=np.float32) * np.float32(deviation)
        found = np.asarray(make_view(grey, config, view, 7))
        assert np.array_equal(found, np.clip(np.rint(128 + added), 0, 255))
        assert found.std() == pytest.approx(np.hypot(deviation, 12**-0.5), rel=0.02)  # and rounding
        assert found.mean() == pytest.approx(128, abs=0.3)
        assert found[..., 0].ravel().tolist() != found[..., 1].ravel().tolist()


CHANGES: dict[str, object] = {
    "crop": 0.3,
    "resize": 0.5,
    "blur": 0.05,
    "brightness": (0.6, 1.4),
    "noise": 0.1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_the_same_for_the_same_key(name: str) -> None:
    config = STILL.model_copy(update={name: CHANGES[name]})
    image = picture()
    before = np.asarray(image).copy()
    first = np.asarray(make_view(image, config, 2, 5, "a"))
    assert np.array_equal(first, np.asarray(make_view(image, config, 2, 5, "a")))
    for view, *key in ((3, 5, "a"), (2, 6, "a"), (2, 5, "b")):
        assert not np.array_equal(first, np.asarray(make_view(image, config, view, *key)))
    assert make_view(image, config, 0, 5, "a") is image
    assert np.array_equal(np.asarray(image), before)
    assert first.shape == before.shape


def test_changes_compose_in_their_order() -> None:
    """All together are one after the other: none changes what another draws."""
    everything = PANELS.model_copy(update=CHANGES)
    image = make_view(picture(), PANELS.model_copy(update={"contrast": (1, 1)}), 1, 7)
    for name in ("crop", "resize", "blur", "brightness"):
        image = make_view(image, STILL.model_copy(update={name: CHANGES[name]}), 1, 7)
    rng = np.random.default_rng([7, 1])
    rng.uniform(size=4 * 5)  # turn, shear, scale and two shifts of four cells
    factor = rng.uniform(*PANELS.contrast)
    image = make_view(image, STILL.model_copy(update={"contrast": (factor, factor)}), 1, 7)
    image = make_view(image, STILL.model_copy(update={"noise": CHANGES["noise"]}), 1, 7)
    together = make_view(picture(), everything, 1, 7)
    assert np.array_equal(np.asarray(together), np.asarray(image))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
def test_small_pictures_survive_every_change(size: tuple[int, int]) -> None:
    config = ViewsConfig(crop=0.9, resize=0.01, blur=0.5, brightness=(0, 2), noise=1)
    for view in range(1, 20):
        assert make_view(picture(size=size), config, view, 0).size == size


# --- a function of one's own ----------------------------------------------------------------------

Function = Callable[[Image.Image, np.random.Generator], object]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[Function], ViewsConfig]:
    """A configuration with a function of a module that exists for this test."""

    def configured(function: Function) -> ViewsConfig:
        name = f"views_of_{id(function)}"
        module = types.ModuleType(name)
        module.change = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
        return STILL.model_copy(update={"function": f"{name}:change"})

    return configured


def test_a_function_of_ones_own_comes_last(own: Callable[[Function], ViewsConfig]) -> None:
    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        image.putpixel((0, 0), (int(rng.integers(256)), 1, 2))
        return image.resize((20, 10))

    image, config = picture(), own(change).model_copy(update={"noise": 0.2})
    before = np.asarray(image).copy()
    plain = make_view(image, config.model_copy(update={"function": None}), 1, 7)
    expected = change(plain.copy(), draws("function", 1, 7))
    for _ in range(2):
        found = make_view(image, config, 1, 7)
        assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert np.array_equal(np.asarray(image), before)
    assert make_view(image, config, 0, 7) is image


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda image, _: image.convert("L"), "returned a picture of mode L, expected an RGB"),
        (lambda image, _: None, "returned NoneType, expected an RGB"),
        (lambda image, _: np.asarray(image), "returned ndarray, expected an RGB"),
        (lambda image, _: image.resize((41, 30)), "returned 41x30 pixels, expected an RGB"),
        (lambda image, _: Image.new("RGB", (0, 5)), "returned 0x5 pixels, expected an RGB"),
        (lambda image, _: 1 / 0, "failed (ZeroDivisionError: division by zero); mend it"),
        (lambda image, _: [][1 if image else 0], "failed (IndexError: list index out of range)"),
        (lambda: None, "failed (TypeError: "),
    ],
)
def test_what_a_function_may_not_do(
    own: Callable[[Function], ViewsConfig], function: Function, reason: str
) -> None:
    config = own(function)
    with pytest.raises(ConfigError) as caught:
        make_view(picture(), config, 1, 7, max_pixels=1200)
    assert str(caught.value).startswith(f"views.function: {config.function!r} {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["change", "os:", ":path", "no_such_module_here:f", "os:no_such_name", "os:sep"]
)
def test_functions_that_cannot_be_loaded_end_where_prompts_begin(name: str) -> None:
    config = ViewsConfig(function=name)
    for begin in (
        lambda: PromptMaker(config, max_pixels=100, seed=0),
        lambda: make_view(picture(), config, 1, 0),
    ):
        with pytest.raises(ConfigError) as caught:
            begin()
        assert str(caught.value).startswith("views.function: ")
        assert all(part in str(caught.value) for part in name.split(":"))
        assert "\n" not in str(caught.value)


def test_a_module_that_breaks_while_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_views.py").write_text("raise RuntimeError('two\\nlines')\n")
    with pytest.raises(ConfigError) as caught:
        PromptMaker(ViewsConfig(function="broken_views:f"), max_pixels=100, seed=0)
    assert str(caught.value) == (
        "views.function: 'broken_views:f' cannot be imported (RuntimeError: two\\nlines)"
    )


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [
        {"crop": -0.1},
        {"crop": 0.95},
        {"resize": 0},
        {"resize": 1.5},
        {"blur": 0.6},
        {"noise": -1},
        {"noise": float("nan")},
        {"brightness": (1.2, 0.8)},
        {"brightness": (-1, 1)},
        {"brightness": (1, float("inf"))},
        {"contrast": (1, float("nan"))},
        {"scale": (0, 1)},
        {"scale": (1.1, 0.9)},
        {"shuffle_options": "maybe"},
        {"crops": 0.1},
    ],
)
def test_settings_out_of_bounds(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ViewsConfig(**setting)  # type: ignore[arg-type]


def test_a_range_in_the_wrong_order_is_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["views.brightness=[1.2, 0.8]"])
    assert str(caught.value) == (
        "--set: views.brightness: the smallest comes first, found [1.2, 0.8]"
    )


def test_everything_new_is_off_by_default() -> None:
    config = ViewsConfig()
    assert (config.crop, config.resize, config.blur, config.noise) == (0, 1, 0, 0)
    assert config.brightness == (1, 1)
    assert (config.function, config.paraphrase, config.shuffle_options) == (None, False, False)
