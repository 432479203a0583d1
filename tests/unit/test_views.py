from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmupt.data.views import ViewsConfig, make_view

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
