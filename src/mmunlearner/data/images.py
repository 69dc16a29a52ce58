"""Images: references to encoded pictures; decoding, checking and encoding them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from pydantic import ValidationInfo
from pydantic_core import CoreSchema, core_schema

from mmunlearner.core.validation import refusal, shorten
from mmunlearner.errors import DataError


@dataclass(frozen=True)
class ImageRef:
    """An image that is decoded only when it is needed: a file, or encoded bytes as parquet stores them."""

    path: str = ""
    """File that holds the image; where `data` holds it, only the name that errors call it by."""
    data: bytes | None = field(default=None, repr=False)
    """Encoded bytes (PNG, JPEG...), where the image is not a file."""

    @classmethod
    def from_image(cls, image: Image.Image, path: str) -> ImageRef:
        """Return a reference to PNG bytes of an image; `path` is its name."""
        return cls(path, encode_png(image))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """Let layouts of rows name this class: their cells are validated by `_image_in_cell`."""
        return core_schema.with_info_plain_validator_function(_image_in_cell)

    @cached_property
    def key(self) -> str:
        """SHA-1 of the encoded bytes, equal for equal bytes wherever they are; an unreadable file's path."""
        try:
            return hashlib.sha1(self.read_bytes()).hexdigest()
        except OSError:
            return self.path

    def read_bytes(self) -> bytes:
        """Return the encoded bytes.

        Raises:
            OSError: the file cannot be read.
        """
        return self.data if self.data is not None else Path(self.path).read_bytes()

    def open(self) -> Image.Image:
        """Decode to RGB; transparent pixels are laid on white.

        Raises:
            DataError: the file is missing or is no readable image.
        """
        try:
            with Image.open(io.BytesIO(self.data) if self.data is not None else self.path) as image:
                if not image.has_transparency_data:
                    return image.convert("RGB")
                white = Image.new("RGBA", image.size, "white")
                return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        except FileNotFoundError:
            raise DataError(f"image {self.path}: no such file") from None
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise DataError(f"image {self.path or '(bytes)'}: cannot be decoded ({error})") from None

    def problem(self) -> str:
        """Return the reason why the image cannot be decoded; empty if it is whole."""
        if self.data is not None:
            return _decoding_problem(io.BytesIO(self.data))
        try:
            status = Path(self.path).stat()
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        return _file_problem(self.path, status.st_mtime_ns, status.st_size)


def image_keys(images: Iterable[ImageRef]) -> tuple[str, ...]:
    """Return the keys of images, in order."""
    return tuple(image.key for image in images)


def encode_png(image: Image.Image, *, compress_level: int = 1) -> bytes:
    """Return an image as PNG bytes; by default compressed a little, which is fast."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=compress_level)
    return stream.getvalue()


def _image_in_cell(value: Any, info: ValidationInfo) -> ImageRef:
    """Return the image in a table's cell: {bytes, path}, bytes, the path of a file beside the table, or a PIL image."""
    cell: Any = info.context
    if isinstance(value, ImageRef):
        return value
    if isinstance(value, Image.Image):
        return ImageRef.from_image(value if value.has_transparency_data else value.convert("RGB"), str(cell))
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    if isinstance(data, bytes) and data:
        image = ImageRef(str(cell), data)
    elif isinstance(path, str) and path:
        image = ImageRef(str(cell.file.parent / path))
    else:
        raise refusal("an image (bytes, or the path of a file)", shorten(value))
    if problem := image.problem():
        raise refusal("an image", problem)
    return image


@lru_cache(maxsize=100_000)
def _file_problem(path: str, _modified_ns: int, _size: int) -> str:
    # Thousands of questions share a file. Its time and size are in the cache's key: a file that changes is read again.
    problem = _decoding_problem(path)
    return f"{path}: {problem}" if problem else ""


def _decoding_problem(source: io.BytesIO | str) -> str:
    try:
        with Image.open(source) as image:
            if image.format == "PNG":
                image.verify()  # compares the checksums of all chunks, without decompressing the pixels
                return ""
            # At an eighth of its size a JPEG is read whole, but few pixels are computed. Other formats ignore it.
            image.draft("L", (image.width // 8 or 1, image.height // 8 or 1))
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        size = f"{source.getbuffer().nbytes} bytes, " if isinstance(source, io.BytesIO) else ""
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"not decodable ({size}{reason})"
    return ""
