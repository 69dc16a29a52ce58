"""Decoding of images: the one place that opens them, verifies them and gives all of them one form.

What `decode` takes once it takes always, with the same pixels: upright, 8 bits, the first frame. Colour profiles are
left alone, as the processors of pretrained models do.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import ceil

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base

from mmunlearner.core.files import LFS_POINTER
from mmunlearner.errors import reason

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read. Others that Pillow knows are unsafe (EPS starts a program) or have no mark at their start."""
MISTAKEN: Mapping[bytes, str] = {
    LFS_POINTER: "a pointer of Git LFS and not the file; run git lfs pull",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
}
"""Beginning of a file (in lower case) that is often found in the place of an image -> what it is."""
HEIF = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")
PNG_START = 8
"""Length of a PNG's signature, in bytes."""
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of an interlaced PNG: first column, first row, step between columns, step between rows."""
CHANNELS: Mapping[int, int] = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type of a PNG -> values of a pixel."""


def readable_suffixes() -> frozenset[str]:
    """Return the ends of the names of files whose formats are read, in small letters with a point."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


class UndecodableError(Exception):
    """Bytes that are no image, or a broken one; the message says why."""


def decode(content: bytes) -> Image.Image:
    """Return an image upright and in 8 bits: RGB, or RGBA where pixels are transparent; without metadata.

    Raises:
        UndecodableError: the bytes are no whole image of a known format.
    """
    try:
        # Pillow warns of odd metadata, which are not used, and of sizes far below its limit.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]  # some releases have no AVIF
            with Image.open(io.BytesIO(content), formats=known) as image:
                normalised = normalise(image)
                if image.format == "PNG":
                    _check_png(content, image)
                return normalised
    except UnidentifiedImageError:
        raise UndecodableError(_unknown(content)) from None
    except Image.DecompressionBombError:
        raise UndecodableError("too many pixels to be decoded safely; scale it down") from None
    except Exception as error:
        # Any kind of exception: Pillow's readers pass on whatever their arithmetic on a broken file raises.
        raise UndecodableError(reason(error)) from error


def normalise(image: Image.Image) -> Image.Image:
    """Return an opened image in the form of `decode`.

    Raises:
        Exception: of any kind, where the pixels cannot be decoded.
    """
    image.load()  # first, since some formats have their metadata behind the pixels
    if 0 in image.size:
        raise UndecodableError("an image without pixels")
    bits8 = _in_8_bits(image) if image.mode == "F" or image.mode.startswith("I") else image
    upright = bits8.convert("RGBA" if bits8.has_transparency_data else "RGB")
    # No metadata: whoever reads an orientation in them would turn the image once more.
    upright.info = {}
    with suppress(Exception):  # none, or of any kind, as in `decode`: EXIF that no reader understands says nothing
        upright.getexif()[Base.Orientation] = image.getexif()[Base.Orientation]
    ImageOps.exif_transpose(upright, in_place=True)
    return upright


def on_white(image: Image.Image) -> Image.Image:
    """Return a decoded image in RGB; transparent pixels become white."""
    if image.mode == "RGB":
        return image
    # `convert` alone would show the colour stored under transparent pixels, which is often black.
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of more bits in 8 bits, with transparency if it has a transparent value.

    Integers from 0 to 65535 are taken as 16 bits, other numbers from 0 to 1 as shares of white; any other image is
    scaled from its lowest value (black) to its highest (white).

    Raises:
        UndecodableError: a value is no finite number.
    """
    import numpy as np

    values = np.asarray(image)  # [H, W]
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():  # a NaN anywhere is the minimum, too
        raise UndecodableError("pixels that are no finite numbers")
    white = 1.0 if values.dtype.kind == "f" else 65535.0
    low, high = (0.0, white) if low >= 0 and high <= white else (low, high)
    scaled = np.rint((values.astype(np.float64) - low) * (255 / ((high - low) or 1)))
    grey = Image.fromarray(scaled.astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _unknown(content: bytes) -> str:
    """Return what is wrong with bytes that no reader knows."""
    start = content[:64].lstrip().lower()
    if content[4:8] == b"ftyp" and content[8:12] in HEIF:
        return "HEIC, which is not read; save it as JPEG or PNG"
    mistaken = next((what for beginning, what in MISTAKEN.items() if start.startswith(beginning)), "")
    return mistaken or f"no known image format; {', '.join(FORMATS[:-1])} and {FORMATS[-1]} are read"


# --- PNG ------------------------------------------------------------------------------------------------------------


def _check_png(content: bytes, image: Image.Image) -> None:
    """Check what Pillow takes in silence: a file that is cut behind its pixels, and a stream of too few rows.

    Raises:
        UndecodableError: the end of the file or rows are missing.
    """
    chunks = list(_png_chunks(content))
    if chunks[-1][0] != b"IEND":
        raise UndecodableError("the file is cut")
    # Missing rows are zeros, so other images need not be decompressed again. The last two: the last pass of an
    # interlaced image holds every second row.
    if image.crop((0, max(0, image.height - 2), *image.size)).getbbox(alpha_only=False) is None:
        size = _pixel_bytes(chunks[0][1])
        stream = b"".join(data for kind, data in chunks if kind == b"IDAT")
        if len(zlib.decompressobj().decompress(stream, size)) < size:
            raise UndecodableError("the pixel stream ends before the last row")


def _pixel_bytes(header: bytes) -> int:
    """Return the length of a PNG's decompressed pixel stream."""
    width, height, bits = int.from_bytes(header[:4]), int.from_bytes(header[4:8]), header[8] * CHANNELS[header[9]]
    passes = ADAM7 if header[12] else ((0, 0, 1, 1),)
    sizes = [(ceil((width - x) / step_x), ceil((height - y) / step_y)) for x, y, step_x, step_y in passes]
    # Each row has a byte in front that names its filter. A pass without columns or rows has no bytes.
    return sum(rows * (1 + ceil(columns * bits / 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the data of each chunk that is whole, up to the last one."""
    at, kind = PNG_START, b""
    while kind != b"IEND":
        length = int.from_bytes(content[at : at + 4])
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length  # length, type and checksum have four bytes each
        if at > len(content):
            break
        yield kind, data
