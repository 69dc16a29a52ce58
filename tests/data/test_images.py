from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import Base
from support.layouts import image_bytes, png

from mmunlearner.data import ImageRef
from mmunlearner.data.decoding import decode
from mmunlearner.data.images import _sound_images
from mmunlearner.errors import DataError

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def noise(kind: str) -> bytes:
    stream = io.BytesIO()
    NOISE.save(stream, kind)
    return stream.getvalue()


KINDS = pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])


@KINDS
def test_whole_images_have_no_problem(kind: str, tmp_path: Path):
    assert ImageRef(data=noise(kind)).problem() == ""
    assert ImageRef(data=image_bytes(1, kind, 1)).problem() == ""
    (tmp_path / "x").write_bytes(noise(kind))
    assert ImageRef(str(tmp_path / "x")).problem() == ""


@KINDS
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_images_are_found(kind: str, share: float):
    content = noise(kind)
    assert "not decodable" in ImageRef(data=content[: int(len(content) * share)]).problem()


@given(st.binary(max_size=64))
def test_noise_is_no_image(content: bytes):
    assert ImageRef(data=content).problem().startswith(f"not decodable ({len(content)} bytes, ")


def test_a_changed_byte_of_a_png_is_found():
    content = bytearray(noise("PNG"))
    content[len(content) // 2] ^= 1
    assert "not decodable" in ImageRef(data=bytes(content)).problem()


def test_a_file_is_looked_at_again_when_it_changes(tmp_path: Path):
    path = tmp_path / "x.png"
    path.write_bytes(noise("PNG"))
    assert ImageRef(str(path)).problem() == ""
    path.write_bytes(noise("PNG")[:50])
    assert ImageRef(str(path)).problem().startswith(f"{path}: not decodable")
    path.unlink()
    assert ImageRef(str(path)).problem() == f"{path}: {os.strerror(2)}"


def test_encoded_images_keep_their_pixels():
    reference = ImageRef.from_image(NOISE, "a.png")
    assert reference.path == "a.png"
    assert reference.open().tobytes() == NOISE.tobytes()


def stored(image: Image.Image, **options: object) -> ImageRef:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return ImageRef("x", stream.getvalue())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "RGB"])
def test_what_is_transparent_is_white(mode: str):
    clear = mode in ("RGBA", "LA", "P")
    colour: object = {"RGBA": (9, 9, 9, 0), "LA": (9, 0), "P": 0, "RGB": (9, 9, 9)}.get(mode, 0)
    image = Image.new(mode, (2, 2), colour)  # type: ignore[arg-type]
    options = {"transparency": bytes([0, 255])} if mode == "P" else {}
    if mode == "P":
        image.putpalette([9, 9, 9, 1, 1, 1])
    decoded = stored(image, **options).open()
    assert decoded.mode == "RGB"
    assert decoded.getpixel((0, 0)) == ((255,) * 3 if clear else (9, 9, 9) if mode == "RGB" else (0, 0, 0))


def test_half_transparent_pixels_are_half_white():
    pixel = stored(Image.new("RGBA", (1, 1), (255, 0, 0, 128))).open().getpixel((0, 0))
    assert pixel == (255, 127, 127)


def test_a_broken_image_is_named():
    with pytest.raises(DataError, match="image Full_Set, row 3: cannot be decoded"):
        ImageRef("Full_Set, row 3", png(1)[:30]).open()
    with pytest.raises(DataError, match=rf"image gone\.png: {os.strerror(2)}"):
        ImageRef("gone.png").open()


def test_equal_bytes_have_one_key(tmp_path: Path):
    (tmp_path / "c.png").write_bytes(png(1))
    assert ImageRef(str(tmp_path / "c.png")).key == ImageRef("a", png(1)).key
    assert ImageRef("gone.png").key == "gone.png"
    assert ImageRef("a", png(1)).key == ImageRef("b", png(1)).key != ImageRef("a", png(2)).key


def sizes_in_a_new_process(images: list[ImageRef]) -> list[tuple[int, int]]:
    _sound_images.cache_clear()
    return [image.size for image in images]


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    memory = tmp_path / "sound.txt"
    monkeypatch.setattr("mmunlearner.data.images._sound_file", lambda: memory)
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    NOISE.save(tmp_path / "a.jpg", exif=exif)
    images = [ImageRef(str(tmp_path / "a.jpg")), ImageRef("b", noise("PNG")), ImageRef("c", noise("GIF"))]
    assert sizes_in_a_new_process(images) == [NOISE.size[::-1], NOISE.size, NOISE.size]
    # What is torn, foreign or damaged is left out, and decoded again.
    memory.write_bytes(b"\xff\n" + memory.read_bytes()[:-5] + b"\n" + b"0" * 40 + b"\n\n")
    calls: list[int] = []
    monkeypatch.setattr("mmunlearner.data.images.decode", lambda content: calls.append(len(content)) or decode(content))
    assert sizes_in_a_new_process(images) == [NOISE.size[::-1], NOISE.size, NOISE.size]
    assert calls == [len(images[2].read_bytes())]
    assert sizes_in_a_new_process(images) == [NOISE.size[::-1], NOISE.size, NOISE.size]
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("mmunlearner.data.images._sound_file", lambda: tmp_path / "file" / "sound.txt")
    assert sizes_in_a_new_process([ImageRef("b", noise("PNG"))]) == [NOISE.size]


def test_a_broken_image_has_no_size():
    with pytest.raises(DataError, match="image gone.png: No such file"):
        _ = ImageRef("gone.png").size
    with pytest.raises(DataError, match="image row 3: not decodable"):
        _ = ImageRef("row 3", b"x").size
