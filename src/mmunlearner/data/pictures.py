"""Whether an image can be decoded, found out without paying for its pixels where its format allows."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError


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
            image.draft("L", (image.width // 8, image.height // 8))  # a JPEG is read whole, but hardly computed
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        size = f"{source.getbuffer().nbytes} bytes, " if isinstance(source, io.BytesIO) else ""
        name = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"not decodable ({size}{name})"
    return ""
