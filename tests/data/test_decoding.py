"""Images are decoded in one place: the result equals the picture that was stored, whatever form it was stored in."""

from __future__ import annotations

import ast
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from mmunlearner.data import ImageRef
from mmunlearner.data.decoding import FORMATS, UndecodableError, decode, on_white

Pixels = NDArray[np.uint8]

UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""EXIF orientation -> the stored pixels as a viewer shows them."""
STORED = {orientation: {6: 8, 8: 6}.get(orientation, orientation) for orientation in UPRIGHT}
"""EXIF orientation -> the one that undoes it."""
LOSSLESS = {
    "PNG": ("RGB", "L", "P", "1", "RGBA", "LA", "I;16"),
    "TIFF": ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "I", "F"),
    "WEBP": ("RGB", "RGBA"),
}
"""Format that keeps pixels and holds EXIF -> the modes that it stores."""
pictures = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda s: arrays(np.uint8, (*s, 3)))
orientations = st.sampled_from(sorted(UPRIGHT))


def encode(image: Image.Image, kind: str, orientation: int = 0, **options: object) -> bytes:
    stream = io.BytesIO()
    if orientation:
        exif = Image.Exif()
        exif[Base.Orientation] = orientation
        options["exif"] = exif
    image.save(stream, kind, **options)
    return stream.getvalue()


def in_mode(pixels: Pixels, mode: str) -> tuple[Image.Image, Pixels]:
    """Return a picture in a mode, and what it looks like in RGB on white, [H, W, 3], computed from the pixels alone."""
    grey = pixels[..., 0]
    alpha = np.where(pixels[..., 1:2] > 127, 255, 0).astype(np.uint8)
    stored: dict[str, Pixels | NDArray[np.generic]] = {
        "L": grey,
        "P": grey,
        "1": grey > 127,
        "I;16": grey.astype(np.uint16) * 257,
        "I": grey.astype(np.int32) * 257,
        "F": grey.astype(np.float32) / 255,
        "RGBA": np.concatenate([pixels, alpha], -1),
        "LA": np.concatenate([pixels[..., :1], alpha], -1),
        "CMYK": np.concatenate([255 - pixels, np.zeros_like(alpha)], -1),
    }
    look = pixels if mode in ("RGB", "RGBA", "CMYK") else np.stack([grey] * 3, -1)
    if mode == "CMYK":
        return Image.frombytes(mode, grey.T.shape, stored[mode].tobytes()), look
    image = Image.fromarray(stored.get(mode, pixels))
    if mode == "P":
        image = image.convert("P")
        image.putpalette([value for k in range(256) for value in (k, 255 - k, k // 2)])
        look = np.stack([grey, 255 - grey, grey // 2], -1)
    if mode == "1":
        look = np.where(look > 127, 255, 0)
    return image, np.where(alpha > 0, look, 255) if mode in ("RGBA", "LA") else look


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in LOSSLESS.items() for mode in modes])
@given(pixels=pictures, orientation=orientations)
def test_the_picture_is_upright_and_in_its_colours(kind: str, mode: str, pixels: Pixels, orientation: int):
    image, look = in_mode(np.ascontiguousarray(UPRIGHT[STORED[orientation]](pixels)), mode)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    decoded = ImageRef("x", encode(image, kind, orientation, **options)).open()
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(decoded), UPRIGHT[orientation](look))


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
@given(pixels=pictures, orientation=orientations)
def test_lossy_formats_are_turned_as_viewers_turn_them(kind: str, pixels: Pixels, orientation: int):
    content = encode(Image.fromarray(pixels).resize((16, 24)), kind, orientation)
    with Image.open(io.BytesIO(content)) as opened:
        assert decode(content).tobytes() == ImageOps.exif_transpose(opened).tobytes()


@pytest.mark.parametrize("kind", ["BMP", "PPM", "GIF", "JPEG2000"])
@given(pixels=pictures)
def test_formats_without_orientation(kind: str, pixels: Pixels):
    pixels = pixels // 64 * 64  # few enough colours for GIF's palette
    assert np.array_equal(np.asarray(decode(encode(Image.fromarray(pixels), kind))), pixels)


def test_nobody_turns_it_once_more():
    decoded = decode(encode(Image.new("RGB", (2, 3)), "JPEG", 6, icc_profile=b"profile", comment=b"c"))
    assert (decoded.size, decoded.info, dict(decoded.getexif())) == ((3, 2), {}, {})


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_other_numbers_are_scaled_from_lowest_to_highest(values: NDArray[np.float32]):
    values[0, :2] = -2, 2e6
    grey = np.asarray(decode(encode(Image.fromarray(values), "TIFF")))[..., 0]
    assert (grey.min(), grey.max()) == (0, 255)
    order = np.argsort(values, axis=None, kind="stable")
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_are_numbers(value: float):
    with pytest.raises(UndecodableError, match="no finite numbers"):
        decode(encode(Image.fromarray(np.array([[0.0, value]], np.float32)), "TIFF"))


@pytest.mark.parametrize("value", [-3, 0, 70_000])
def test_an_image_of_one_value_is_decoded(value: int):
    grey = np.asarray(decode(encode(Image.fromarray(np.full((2, 2), value, np.int32)), "TIFF")))
    assert (grey == 0).all()  # the lowest value is black where it is also the highest
    assert grey.shape == (2, 2, 3)


def test_a_transparent_value_of_16_bits():
    content = encode(Image.fromarray(np.array([[2313, 2314]], np.uint16)), "PNG", transparency=2313)
    assert on_white(decode(content)).tobytes() == bytes([255] * 3 + [9] * 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_several_frames_the_first_counts(kind: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    pixel = decode(content).convert("RGB").getpixel((4, 4))
    assert np.abs(np.subtract(pixel, (255, 0, 0))).max() < 10


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "PPM"])
@given(data=st.data())
def test_a_changed_image_is_refused_or_decoded_and_nothing_else(kind: str, data: st.DataObject):
    noise = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    content = bytearray(encode(Image.fromarray(noise), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    image = ImageRef("x", bytes(content))
    if not image.problem():
        assert image.open().mode == "RGB"


# --- PNG ------------------------------------------------------------------------------------------------------------


def png(header: bytes, pixels: bytes | None, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return a PNG with right checksums; `pixels` are not yet compressed; None: no such chunk."""
    data = b"" if pixels is None else chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + data + after + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, bits: int = 8, colours: int = 2, interlaced: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced)


ROWS = (b"\0" + bytes([9] * 12)) * 4
"""Pixels of a picture of 4 x 4 in RGB."""
TEXT = zlib.compress(b"a" * (2 << 20))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(header(4, 4), ROWS[:26]), "the pixel stream ends before the last row"),
        (png(header(4, 4), b""), "truncated"),
        (png(header(4, 4), ROWS)[:-12], "the file is cut"),
        (png(header(4, 4), None), "cannot load this image"),
        (png(header(4, 4), None, chunk(b"IDAT", b"garbage")), "broken data stream"),
        (png(header(4, 4), b"\x09" + ROWS[1:]), "unrecognized data stream"),
        (png(header(4, 4), ROWS, chunk(b"zTXt", b"k\0\0" + TEXT)), "MAX_TEXT_CHUNK"),
        (png(header(4, 4), ROWS, after=chunk(b"zTXt", b"k\0\0" + TEXT)), "MAX_TEXT_CHUNK"),
        (png(header(4, 4), ROWS, after=chunk(b"iTXt", b"k\0\1\0\0\0" + TEXT)), "MAX_TEXT_CHUNK"),
        (png(header(4, 4), ROWS, after=chunk(b"tEXt", b"k\0" + b"a" * (1 << 20)) * 70), "text chunks"),
        (png(header(4, 4, colours=3), b"\0\1\2\3\4" * 4), "AssertionError"),
        (png(header(0, 4), b"\0" * 4), "no known image format"),
        (png(header(60_000, 60_000), ROWS), "too many pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no known image format"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC, which is not read; save it as JPEG or PNG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"", "no known image format"),
    ],
)
def test_broken_files_are_refused_at_once(content: bytes, message: str):
    with pytest.raises(UndecodableError, match=message):
        decode(content)
    assert ImageRef(data=content).problem().startswith(f"not decodable ({len(content)} bytes, ")


@given(
    width=st.integers(1, 12), height=st.integers(1, 12), interlaced=st.integers(0, 1),
    form=st.sampled_from([(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (8, 3), (8, 4), (8, 6)]),
    data=st.data(),
)  # fmt: skip
def test_black_rows_are_told_from_missing_ones(width: int, height: int, interlaced: int, form, data: st.DataObject):
    bits, colours = form
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    sizes = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in passes]
    rows = sum(h * (1 + -(-w * bits * channels // 8)) for w, h in (sizes if interlaced else [(width, height)]) if w)
    palette = chunk(b"PLTE", bytes(3)) if colours == 3 else b""
    black = png(header(width, height, bits, colours, interlaced), bytes(rows), palette)
    assert ImageRef(data=black).problem() == ""
    cut = png(header(width, height, bits, colours, interlaced), bytes(data.draw(st.integers(0, rows - 1))), palette)
    assert "not decodable" in ImageRef(data=cut).problem()


# --- one place ------------------------------------------------------------------------------------------------------


def test_no_other_module_opens_images(repository: Path):
    opening = [
        file.name
        for file in (repository / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("Image.open", "PIL.Image.open")
    ]
    assert opening == ["decoding.py"]
