"""Images: references to encoded pictures; checking them once and encoding them."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import PIL
from PIL import Image
from pydantic import ValidationInfo
from pydantic_core import CoreSchema, core_schema

from mmunlearner.core.validation import one_line, refusal, shorten
from mmunlearner.data.decoding import UndecodableError, decode, normalise, on_white
from mmunlearner.errors import DataError, reason

RULES = 1
"""Number of the decoder's rules: a change of what it accepts gives another number, so that images are checked again."""

SUFFIXES = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".svg",
    ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Ends of the names of image files, also of kinds that are not read."""
LONGEST_PATH = 1024
"""In characters; what is longer is an image in base64."""


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
            return self._content_key()
        except (OSError, ValueError):
            return self.path  # no error here: `problem` and `open` report the file, and a key has to exist until then

    @cached_property
    def _data_key(self) -> str:
        return _sha1(self.data or b"")

    def _content_key(self) -> str:
        if self.data is not None:
            return self._data_key
        status = Path(self.path).stat()
        return _file_key(self.path, status.st_mtime_ns, status.st_size)

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
        return on_white(self.decode())

    def decode(self) -> Image.Image:
        """Decode to RGB, or to RGBA where pixels are transparent.

        Raises:
            DataError: the file is missing or is no readable image.
        """
        try:
            return decode(self.read_bytes())
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            raise DataError(f"image {self.path}: {getattr(error, 'strerror', None) or reason(error)}") from None
        except UndecodableError as error:
            raise DataError(f"image {self.path or '(bytes)'}: cannot be decoded ({error})") from None

    def problem(self) -> str:
        """Return the reason why the image cannot be decoded, in one line; empty if it can."""
        where = f"{one_line(self.path, 200)}: " if self.data is None else ""
        content = b""
        try:
            if (key := self._content_key()) in _sound_images():
                return ""
            content = self.read_bytes()
            size = decode(content).size
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            return where + (getattr(error, "strerror", None) or reason(error))
        except UndecodableError as error:
            return f"{where}not decodable ({len(content)} bytes, {error})"
        _remember(key, size)
        return ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright; known without decoding if the image was decoded before.

        Raises:
            DataError: the image cannot be decoded.
        """
        if problem := self.problem():
            raise DataError(f"image {problem if self.data is None else f'{self.path}: {problem}'}")
        return _sound_images()[self._content_key()]


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
    if isinstance(value, Image.Image):
        try:
            return ImageRef.from_image(normalise(value), str(cell))
        except Exception as error:  # of any kind: an image that was opened, but not yet decoded
            raise refusal("an image", f"not decodable ({reason(error)})") from None
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    # Bytes before the path: `datasets` stores both, and the path is one of the machine that wrote the table.
    if isinstance(value, ImageRef):
        image = value
    elif isinstance(data, bytes) and data:
        image = ImageRef(str(cell), data)
    elif isinstance(path, str) and path:
        if no_path := _no_path(path):
            raise refusal("the path of a file", no_path)
        image = ImageRef(str(cell.file.parent / path))
    else:
        raise refusal("an image (bytes, or the path of a file)", shorten(value))
    if problem := image.problem():
        hint = "; write paths with /" if image.data is None and "\\" in image.path else ""
        raise refusal("an image", f"{problem}{hint}")
    return image


def _no_path(text: str) -> str:
    """Return what a text in the place of a path is; empty if it may be a path."""
    if re.match(r"[a-z]+://", text, re.IGNORECASE):
        return f"{one_line(text)} (nothing is fetched: save the image and give its path)"
    if text.startswith("data:") or len(text) > LONGEST_PATH:
        return f"a text of {len(text)} characters (an image within a text is not read: save it and give its path)"
    return ""


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@lru_cache(maxsize=100_000)
def _file_key(path: str, _modified_ns: int, _size: int) -> str:
    # Thousands of questions share a file, so its key is cached. Time and size of the file are parts of the cache's key:
    # a file that changes is read again.
    return _sha1(Path(path).read_bytes())


def _remember(key: str, size: tuple[int, int]) -> None:
    """Let later starts know that this image was decoded."""
    _sound_images()[key] = size
    with suppress(OSError), _sound_file().open("a", encoding="ascii") as file:  # else the next start takes longer
        file.write(f"{key} {size[0]} {size[1]}\n")


@cache
def _sound_images() -> dict[str, tuple[int, int]]:
    """Return SHA-1 -> size of all images that were decoded on this machine without a problem.

    A large PNG takes as long to decode as to read twenty times, and a start reads all images of a benchmark: the next
    starts know them by their content.
    """
    # A file that is damaged or not there yet: its images are decoded again.
    with suppress(OSError):
        lines = re.findall(rb"^([0-9a-f]{40}) ([0-9]+) ([0-9]+)$", _sound_file().read_bytes(), re.MULTILINE)
        return {key.decode(): (int(width), int(height)) for key, width, height in lines}
    return {}


def _sound_file() -> Path:
    """Return the file of `_sound_images`, one for each release of the decoder.

    Raises:
        OSError: its folder cannot be made.
    """
    from huggingface_hub import cached_assets_path

    # In the hub's folder for the files of other libraries: HF_HOME and HF_ASSETS_CACHE move it.
    return cached_assets_path("mmunlearner", "images", f"{RULES}-pillow-{PIL.__version__}") / "sound.txt"
