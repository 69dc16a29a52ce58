"""What is to be forgotten and kept."""

from mmunlearner.data.example import (
    Example,
    ImageRef,
    Splits,
    entities_in_turn,
    group_by,
    group_by_image,
    image_keys,
    subject_key,
)
from mmunlearner.data.load import FORMATS, load
from mmunlearner.data.prompts import prompt, target
from mmunlearner.data.shots import with_shots
from mmunlearner.data.splits import Overlap, data_hashes, overlap, validation

__all__ = [
    "FORMATS",
    "Example",
    "ImageRef",
    "Overlap",
    "Splits",
    "data_hashes",
    "entities_in_turn",
    "group_by",
    "group_by_image",
    "image_keys",
    "load",
    "overlap",
    "prompt",
    "subject_key",
    "target",
    "validation",
    "with_shots",
]
