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
    """File that holds the image; if `data` holds it, a name for error messages."""
    data: bytes | None = field(default=None, repr=False)
    """Encoded bytes (PNG, JPEG...) if the image is not a file."""

    @classmethod
    def from_image(cls, image: Image.Image, path: str) -> ImageRef:
        """Return a reference to PNG bytes of an image; `path` is its name."""
        return cls(path, encode_png(image))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """Return the validation of a column that a layout declares as `ImageRef`."""
        # pydantic finds it by this name; without it a layout could not hold a class that pydantic does not know.
        return core_schema.with_info_plain_validator_function(_image_in_cell)

    @cached_property
    def key(self) -> str:
        """SHA-1 of the encoded bytes, equal for equal bytes in any file; the path if the file cannot be read."""
        try:
            return hashlib.sha1(self.read_bytes()).hexdigest()
        except OSError:
            return self.path  # no error here: `problem` and `open` report the file, and a key has to exist until then

    def read_bytes(self) -> bytes:
        """Return the encoded bytes.

        Raises:
            OSError: the file cannot be read.
        """
        return self.data if self.data is not None else Path(self.path).read_bytes()

    def open(self) -> Image.Image:
        """Decode to RGB; transparent pixels become white.

        Raises:
            DataError: the file is missing or is no readable image.
        """
        try:
            with Image.open(io.BytesIO(self.data) if self.data is not None else self.path) as image:
                if not image.has_transparency_data:
                    return image.convert("RGB")
                # `convert` alone would show the colour stored under transparent pixels, which is often black.
                white = Image.new("RGBA", image.size, "white")
                return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        except FileNotFoundError:
            raise DataError(f"image {self.path}: no such file") from None
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # Pillow raises all of these
            raise DataError(f"image {self.path or '(bytes)'}: cannot be decoded ({error})") from None

    def problem(self) -> str:
        """Return the reason why the image cannot be decoded; empty if it can."""
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
    """Return an image as PNG bytes; by default with the fastest compression."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=compress_level)
    return stream.getvalue()


def _image_in_cell(value: Any, info: ValidationInfo) -> ImageRef:
    """Return the image in a table's cell: {bytes, path}, bytes, the path of a file beside the table, or a PIL image."""
    cell: Any = info.context  # `tables.check` passes the cell on: paths are relative to its file
    if isinstance(value, ImageRef):
        return value
    if isinstance(value, Image.Image):
        # Alpha is kept, as `ImageRef.open` lays it on white; palettes, greys and CMYK become RGB.
        return ImageRef.from_image(value if value.has_transparency_data else value.convert("RGB"), str(cell))
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    # Bytes before the path: `datasets` stores both, and the path is one of the machine that wrote the table.
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
    # Thousands of questions share a file, so the result is cached. Time and size of the file are parts of the cache's
    # key: a file that changes is checked again.
    problem = _decoding_problem(path)
    return f"{path}: {problem}" if problem else ""


def _decoding_problem(source: io.BytesIO | str) -> str:
    try:
        with Image.open(source) as image:
            if image.format == "PNG":
                image.verify()  # compares the checksums of all chunks, which is faster than decompressing the pixels
                return ""
            # Other formats have no checksums, so the file is decoded. In a draft at an eighth of the size, a JPEG is
            # read completely, but few pixels are computed; other formats ignore the draft.
            image.draft("L", (image.width // 8 or 1, image.height // 8 or 1))
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        size = f"{source.getbuffer().nbytes} bytes, " if isinstance(source, io.BytesIO) else ""
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"not decodable ({size}{reason})"
    return ""
