"""Images: whether one can be decoded, found out without paying for its pixels if that can be; and variations of one."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmunlearner.data.example import ImageRef


def image_problem(path: str, data: bytes | None = None) -> str:
    """What is wrong with the image in `data`, or in the file at `path`; empty if it is whole."""
    if data is not None:
        return _decoding_problem(io.BytesIO(data))
    try:
        status = Path(path).stat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return _file_problem(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _file_problem(path: str, _changed: int, _size: int) -> str:
    """Looks once at a file that many questions share, as long as it stays the same."""
    problem = _decoding_problem(path)
    return f"{path}: {problem}" if problem else ""


def _decoding_problem(source: io.BytesIO | str) -> str:
    try:
        with Image.open(source) as image:
            if image.format == "PNG":
                image.verify()  # the checksums of all chunks
                return ""
            image.draft(
                "L", (image.width // 8 or 1, image.height // 8 or 1)
            )  # a JPEG is read whole, but hardly computed
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        size = f"{source.getbuffer().nbytes} bytes, " if isinstance(source, io.BytesIO) else ""
        name = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"not decodable ({size}{name})"
    return ""


def encoded(image: Image.Image, name: str) -> ImageRef:
    """An image as PNG bytes, called by a name."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return ImageRef(name, stream.getvalue())


def variation(image: Image.Image, rng: np.random.Generator, size: int = 64) -> Image.Image:
    """A flat picture (RGB) seen otherwise: smaller, elsewhere, waved and shaded, on white, `size` x `size` pixels."""
    width, height = (round(size * share) for share in rng.uniform((0.75, 0.6), (1, 0.9)))
    left, top = (int(rng.integers(0, size - length + 1)) for length in (width, height))
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(image.resize((width, height), Image.Resampling.BOX), (left, top))
    wave = rng.uniform(0, 0.06) * size * np.sin(np.linspace(0, rng.uniform(3, 9), size) + rng.uniform(0, 6.3))
    rows = (np.arange(size)[:, None] + np.round(wave).astype(int)).clip(0, size - 1)  # [row, column]: source row
    waved = np.take_along_axis(np.asarray(canvas, float), rows[..., None], axis=0)
    shade = rng.uniform(0.8, 1.1) + 0.1 * np.sin(np.linspace(0, 6, size) + rng.uniform(0, 6.3))
    return Image.fromarray((waved * shade[None, :, None]).clip(0, 255).astype(np.uint8))
