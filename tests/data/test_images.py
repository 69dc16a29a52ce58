from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.layouts import image_bytes

from mmunlearner.data.images import encoded, image_problem, variation

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def noise(kind: str) -> bytes:
    stream = io.BytesIO()
    NOISE.save(stream, kind)
    return stream.getvalue()


KINDS = pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])


@KINDS
def test_whole_images_have_no_problem(kind: str, tmp_path: Path):
    assert image_problem("", noise(kind)) == ""
    assert image_problem("", image_bytes(1, kind, 1)) == ""
    (tmp_path / "x").write_bytes(noise(kind))
    assert image_problem(str(tmp_path / "x")) == ""


@KINDS
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_images_are_found(kind: str, share: float):
    content = noise(kind)
    assert "not decodable" in image_problem("", content[: int(len(content) * share)])


@given(st.binary(max_size=64))
def test_noise_is_no_image(content: bytes):
    assert image_problem("", content).startswith(f"not decodable ({len(content)} bytes, ")


def test_a_changed_byte_of_a_png_is_found():
    content = bytearray(noise("PNG"))
    content[len(content) // 2] ^= 1
    assert "not decodable" in image_problem("", bytes(content))


def test_a_file_is_looked_at_again_when_it_changes(tmp_path: Path):
    path = tmp_path / "x.png"
    path.write_bytes(noise("PNG"))
    assert image_problem(str(path)) == ""
    path.write_bytes(noise("PNG")[:50])
    assert image_problem(str(path)).startswith(f"{path}: not decodable")
    path.unlink()
    assert image_problem(str(path)) == f"{path}: {os.strerror(2)}"


def test_encoded_images_keep_their_pixels():
    made = encoded(NOISE, "a.png")
    assert made.path == "a.png"
    assert made.open().tobytes() == NOISE.tobytes()


@given(st.integers(0, 100))
def test_variations_are_pictures_of_a_size_made_by_the_seed_alone(seed: int):
    first, again = (variation(NOISE, np.random.default_rng(seed), 32) for _ in range(2))
    assert first.size == (32, 32)
    assert first.tobytes() == again.tobytes() != variation(NOISE, np.random.default_rng(seed + 1), 32).tobytes()
