"""Examples to forget and to retain, and the benchmarks that they are loaded from. Imports no torch."""

from mmunlearner.data.example import Example, Splits, entities_in_turn, group_by, group_by_image, subject_key
from mmunlearner.data.images import ImageRef, image_keys
from mmunlearner.data.load import FORMATS, data_hashes, load
from mmunlearner.data.prompts import prompt, target, with_shots
from mmunlearner.data.splits import Overlap, overlap, sample_by_entity, set_hashes, validation

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
    "sample_by_entity",
    "set_hashes",
    "subject_key",
    "target",
    "validation",
    "with_shots",
]
