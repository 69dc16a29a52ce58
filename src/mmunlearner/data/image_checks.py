"""Checks of the images of any benchmark's splits, and of the marks of images in its texts."""

from __future__ import annotations

import logging
import re

from mmunlearner.data.example import Example, Splits
from mmunlearner.errors import DataError

log = logging.getLogger(__name__)

_MARK = r"(?:<[|｜]?/?[\w-]*(?:image|img|vision|picture)[\w-]*[|｜]?>|\[/?img\w*\])"
_PLACED_MARK = re.compile(
    # The last is Qwen-VL's: `Picture 1: <img>file</img>`.
    rf"\A\s*\(?{_MARK}|^\s*{_MARK}\s*$|<img>[^<>]*</img>", re.IGNORECASE | re.MULTILINE
)  # fmt: skip


def image_mark(text: str) -> str:
    """Return a model's mark for an image (`<image>`, `<|image_pad|>`, `[IMG]`) that a text has in the place of one.

    That is at its beginning, or on a line of its own; within a sentence, such a word is part of the text.
    """
    mark = _PLACED_MARK.search(text)
    return mark.group().strip() if mark else ""


def check_mark(example: Example, where: str) -> None:
    """Check that a question has no mark of an image.

    Raises:
        DataError: it has one.
    """
    if mark := image_mark(example.question):
        raise DataError(
            f"{where}: the question has {mark} in the place of an image; leave it out: images come before the words"
        )


def warn_of_shared_images(splits: Splits, source: str) -> None:
    """Log a warning if an image to forget is kept elsewhere."""
    # No error: a photograph of a group may show somebody to forget and somebody to keep.
    oracle_sees = {key for example in splits.oracle_training for key in example.image_keys}
    shared = [image for example in splits.forget for image in example.images if image.key in oracle_sees]
    if shared:
        log.warning(
            "%s: an image to forget is also in the retain set or the background, where it is kept and the oracle sees "
            "it (%s; questions to forget about such images: %d)", source, shared[0].path, len(shared),
        )  # fmt: skip


def check_images(splits: Splits, source: str) -> None:
    """Check that a run with the goal `visual` has images; log a warning if a question to forget has none.

    Raises:
        DataError: no question of the forget set, or none of the retain set, has an image.
    """
    for name, examples in (("forget", splits.forget), ("retain", splits.retain)):
        if not any(example.images for example in examples):
            raise DataError(
                f"{source}: no question of the {name} set has an image, but the goal is visual; name the column of its "
                "images image, or set goal: full"
            )
    if texts := [example for example in splits.forget if not example.images]:
        log.warning(
            "%s: %d of the %d questions to forget have no image (%s): with them entities are forgotten in words, too",
            source, len(texts), len(splits.forget), texts[0].id,
        )  # fmt: skip
