"""Image files: what is opened, how it comes out, and how the rest is refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmupt.data.images import ImageFolder, check_image, load_image, printable
from mmupt.errors import InputError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def pixels(image: Image.Image) -> list[list[tuple[int, ...]]]:
    """Rows of pixels, top to bottom."""
    return [[tuple(int(v) for v in p) for p in row] for row in np.asarray(image)]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def message(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        load_image(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def outcome(path: Path) -> str:
    """What comes of a file; any other error than ours goes through and fails the test."""
    try:
        loaded = load_image(path, max_pixels=10_000)
    except InputError as error:
        return "refused" if path.name in str(error) else f"unclear: {error}"
    return "picture" if loaded.mode == "RGB" else loaded.mode


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("bmp", {}),
        ("gif", {}),
        ("tiff", {}),
        ("webp", {"lossless": True}),
        ("jpg", {"quality": 100, "subsampling": 0}),
    ],
)
def test_every_listed_format_comes_out_as_rgb(
    tmp_path: Path, suffix: str, options: dict[str, object]
) -> None:
    picture = Image.new("RGB", (16, 8), RED)
    picture.paste(BLUE, (8, 0, 16, 8))
    path = tmp_path / f"a.{suffix}"
    picture.save(path, **options)
    loaded = load_image(path)
    assert (loaded.mode, loaded.size) == ("RGB", (16, 8))
    # JPEG is not exact: within 3 of 255 at its best quality.
    assert np.abs(np.asarray(loaded).astype(int) - np.asarray(picture)).max() <= 3
    assert check_image(path) == (16, 8)
    assert check_image(path, full=True) == (16, 8)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (2, 3), GREEN).save(path, format="PNG")
    assert pixels(load_image(path)) == [[GREEN, GREEN]] * 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the red corner (stored top left) is seen, by the EXIF standard: the tag names which
    # sides of the scene the first stored row and the first stored column are.
    [
        (1, "top left"),
        (2, "top right"),
        (3, "bottom right"),
        (4, "bottom left"),
        (5, "top left"),
        (6, "top right"),
        (7, "bottom right"),
        (8, "bottom left"),
    ],
)
def test_exif_orientation_is_applied(
    tmp_path: Path, suffix: str, orientation: int, corner: str
) -> None:
    picture = Image.new("RGB", (32, 16), WHITE)
    picture.paste(RED, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    picture.save(path, exif=exif, quality=100)
    loaded = load_image(path)
    assert loaded.size == ((32, 16) if orientation <= 4 else (16, 32))
    width, height = loaded.size
    corners = {
        "top left": (3, 3),
        "top right": (width - 4, 3),
        "bottom left": (3, height - 4),
        "bottom right": (width - 4, height - 4),
    }
    for name, place in corners.items():
        pixel = loaded.getpixel(place)
        assert isinstance(pixel, tuple)
        assert (pixel[1] < 60) is (name == corner)


def test_result_carries_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (4, 2), RED).save(tmp_path / "a.jpg", exif=exif, dpi=(72, 72))
    loaded = load_image(tmp_path / "a.jpg")
    assert loaded.info == {}
    assert dict(loaded.getexif()) == {}


def exif_entry(kind: int, count: int, value: bytes) -> bytes:
    """An EXIF block of one entry: tag 274 with a TIFF type, a count and four bytes of value."""
    entry = struct.pack("<HHI", 274, kind, count) + value
    return b"Exif\x00\x00II*\x00" + struct.pack("<IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize(
    ("exif", "size"),
    [
        (exif_entry(3, 1, b"\x06\x00\x00\x00"), (2, 4)),  # a short 6, as cameras write it
        (exif_entry(3, 1, b"\x00\x00\x00\x00"), (4, 2)),
        (exif_entry(3, 1, b"\x09\x00\x00\x00"), (4, 2)),
        (exif_entry(2, 2, b"6\x00\x00\x00"), (4, 2)),  # text
        (exif_entry(7, 4, b"\xff\xff\xff\xff"), (4, 2)),  # bytes
        (exif_entry(5, 1, b"\xff\xff\xff\x7f"), (4, 2)),  # a fraction outside the block
    ],
)
def test_only_a_proper_orientation_tag_turns(
    tmp_path: Path, exif: bytes, size: tuple[int, int]
) -> None:
    for suffix in ("jpg", "png", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.new("RGB", (4, 2), RED).save(path, exif=exif)
        assert load_image(path).size == size


def test_garbled_exif_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 2), RED).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    assert load_image(path).size == (4, 2)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (3, 1))
    rgba.putpixel((0, 0), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    rgba.putpixel((2, 0), (0, 0, 0, 51))  # a fifth of black over white: 255 * 0.8 = 204
    rgba.save(tmp_path / "rgba.png")
    assert pixels(load_image(tmp_path / "rgba.png")) == [[RED, WHITE, (204, 204, 204)]]

    gray = Image.new("LA", (2, 1), (0, 0))
    gray.putpixel((1, 0), (7, 255))
    gray.save(tmp_path / "la.png")
    assert pixels(load_image(tmp_path / "la.png")) == [[WHITE, (7, 7, 7)]]

    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 255, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.gif", transparency=0)
    assert pixels(load_image(tmp_path / "p.gif")) == [[WHITE, GREEN]]

    key = Image.new("RGB", (2, 1), RED)
    key.putpixel((1, 0), BLUE)
    key.save(tmp_path / "key.png", transparency=RED)
    assert pixels(load_image(tmp_path / "key.png")) == [[WHITE, BLUE]]


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    for suffix in ("png", "tiff"):
        Image.fromarray(values).save(tmp_path / f"a.{suffix}")
        loaded = np.asarray(load_image(tmp_path / f"a.{suffix}"))
        assert loaded[0, :, 0].tolist() == [0, 1, 128, 255]
        assert (loaded[..., 0] == loaded[..., 2]).all()


def test_other_modes(tmp_path: Path) -> None:
    Image.new("1", (2, 1), 1).save(tmp_path / "bit.png")
    assert pixels(load_image(tmp_path / "bit.png")) == [[WHITE, WHITE]]
    Image.new("CMYK", (2, 1), (0, 0, 0, 0)).save(tmp_path / "cmyk.tiff")
    assert pixels(load_image(tmp_path / "cmyk.tiff")) == [[WHITE, WHITE]]
    Image.new("F", (2, 1), 0.5).save(tmp_path / "float.tiff")
    text = message(tmp_path / "float.tiff")
    assert "float.tiff has 32 bits a channel" in text
    assert text.endswith("save it with 8 bits a channel")


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    for suffix, options in (("gif", {}), ("webp", {"lossless": True}), ("png", {}), ("tiff", {})):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        assert pixels(load_image(path)) == [[RED] * 4] * 4


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(png_header(9000, 9000))
    # The file holds no pixels at all: anything but the size message would mean it was decoded.
    for check in (load_image, check_image):
        with pytest.raises(InputError) as caught:
            check(path, origin="train.jsonl:7")
        assert str(caught.value) == (
            f"train.jsonl:7: image {path} has 9000x9000 = 81,000,000 pixels, the limit is "
            "64,000,000; make it smaller or raise max_pixels"
        )


def test_size_that_pillow_itself_refuses(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60_000, 60_000))
    assert "3,600,000,000 pixels, the limit is 64,000,000; make it smaller" in message(path)


def test_size_between_the_two_limits_gives_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10_000, 10_000))  # Pillow warns above 89,478,485 pixels
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert check_image(path, max_pixels=10**8) == (10_000, 10_000)
        assert "the limit is 64,000,000" in message(path)
    assert seen == []
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_limit_is_inclusive(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", max_pixels=20).size == (5, 4)
    assert "5x4 = 20 pixels, the limit is 19" in message(tmp_path / "a.png", max_pixels=19)


def test_file_longer_than_any_picture_of_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    with path.open("wb") as file:
        file.truncate(8 * 100 + 2**24 + 1)
    assert "has 16,778,017 bytes, the limit for 100 pixels is 16,778,016" in message(
        path, max_pixels=100
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = tmp_path / f"a.{suffix}"
    noise.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    text = message(path, origin="d.jsonl:2")
    assert text.startswith(f"d.jsonl:2: image {path} is ")
    assert "damaged" in text
    with pytest.raises(InputError, match="damaged"):
        check_image(path, full=True)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_any_damage_is_an_input_error_or_a_picture(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    good = tmp_path / f"good.{suffix}"
    Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(good)
    data = good.read_bytes()
    bad = tmp_path / f"bad.{suffix}"
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, min(len(data), 200), size=3):
            broken[place] = rng.integers(0, 256)
        bad.write_bytes(bytes(broken[: rng.integers(1, len(data) + 1)]))
        assert outcome(bad) in ("picture", "refused")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"<?xml version='1.0'?><svg/>", "XML (an SVG?)"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"\n <!doctype html><html>", "a web page"),
        (b"P6 1 1 255 abc", "damaged or of another format"),  # PPM: known to Pillow, not listed
        (b"\x00\x01", "damaged or of another format"),
    ],
)
def test_formats_that_are_not_listed(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    text = message(path)
    assert f"image {path} is {kind}" in text
    assert text.endswith("expected one of PNG, JPEG, WEBP, BMP, GIF, TIFF: convert it to PNG")


def test_icon_and_other_pillow_formats_are_not_opened(tmp_path: Path) -> None:
    for suffix in ("ico", "ppm", "tga", "pcx", "eps"):
        path = tmp_path / f"a.{suffix}"
        Image.new("RGB", (16, 16), RED).save(path)
        assert "expected one of PNG" in message(path)


def test_places_that_are_no_image_file(tmp_path: Path) -> None:
    assert message(tmp_path / "no.png").endswith("no.png does not exist")
    (tmp_path / "file").write_bytes(b"x")
    assert message(tmp_path / "file" / "a.png").endswith("a.png does not exist")
    assert "is a folder, expected an image file" in message(tmp_path)
    (tmp_path / "empty.png").touch()
    assert "empty.png is empty (0 bytes); replace the file" in message(tmp_path / "empty.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "is not a regular file" in message(tmp_path / "pipe.png")
    assert "cannot be read" in message(tmp_path / ("n" * 300))
    assert "cannot be read" in message(tmp_path / "a\0b")


def test_header_check_leaves_the_body_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(3, 2))
    assert check_image(path) == (3, 2)
    with pytest.raises(InputError, match="truncated or damaged"):
        check_image(path, full=True)


def test_loading_leaves_no_open_file(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(png_header(3, 2))
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open files are counted through /proc")
    before = len(list(folder.iterdir()))
    kept = [load_image(tmp_path / "a.png") for _ in range(5)]
    for _ in range(5):
        message(tmp_path / "b.png")
    assert len(list(folder.iterdir())) == before
    assert len(kept) == 5


def test_image_folder_checks_each_picture_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.png").symlink_to("a.png")
    folder = ImageFolder(tmp_path, check=True)
    wanted = tmp_path.resolve() / "a.png"
    assert folder.resolve("a.png") == wanted
    wanted.write_bytes(b"changed")
    assert folder.resolve("sub/../a.png") == folder.resolve("link.png") == wanted


def test_printable_keeps_messages_on_one_line() -> None:
    assert printable("a\nb\u202ec\x1b[31m 日本") == "a\\nb\\u202ec\\x1b[31m 日本"
    assert printable("x" * 50 + "y" * 50, 20) == "x" * 10 + "..." + "y" * 10
    assert printable("\ud800") == "\\ud800"


def test_importing_the_data_edge_stays_light() -> None:
    code = (
        "import sys, mmupt.data.sources\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
