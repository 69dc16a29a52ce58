"""Columns that hold images: found by one rule in every layout, so that no image is passed over in silence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from mmunlearner.data.decoding import UndecodableError, decode
from mmunlearner.data.images import SUFFIXES, ImageRef

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = (
    "image", "images", "img", "imgs", "image_path", "image_paths", "image_file", "image_files",
    "picture", "pictures", "photo", "photos",
)  # fmt: skip
"""Names under which data sets have their images: a column of type `Images` is found under any of them."""


def filled_columns(row: Mapping[str, Any], column: str) -> list[str]:
    """Return the columns of images that are not empty in a row; `column` is the layout's own name."""
    return [name for name in dict.fromkeys((column, *NAMES)) if row.get(name) not in (None, "", [], ())]


def holds_images(value: Any, folder: Path) -> bool:
    """Tell whether a cell holds an image or its path; a path is relative to a folder."""
    if isinstance(value, dict):
        return any(holds_images(value.get(name), folder) for name in ("bytes", "path"))
    if isinstance(value, list | tuple):
        return any(holds_images(item, folder) for item in value)
    if isinstance(value, bytes):
        try:
            decode(value)
        except UndecodableError:
            return False
        return True
    return isinstance(value, ImageRef | Image.Image) or (isinstance(value, str) and _is_path(value, folder))


def _is_path(text: str, folder: Path) -> bool:
    """Tell whether a text ends as the name of an image file does, and is a path rather than a sentence."""
    if Path(text).suffix.lower() not in SUFFIXES or "://" in text:  # a link tells where an image came from
        return False
    try:
        return not any(character.isspace() for character in text) or (folder / text).is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


def may_hold_images(kind: pa.DataType) -> bool:
    """Tell whether a column of an Arrow type can hold images or their paths."""
    import pyarrow as pa

    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return may_hold_images(kind.value_type)
    if types.is_struct(kind):
        return not {field.name for field in kind}.isdisjoint({"bytes", "path"})
    if types.is_dictionary(kind):
        return may_hold_images(kind.value_type)
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary))
