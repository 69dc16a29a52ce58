"""What is to be forgotten and kept."""

from mmunlearner.data.example import Example, ImageRef, Splits, keys
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
    "keys",
    "load",
    "overlap",
    "prompt",
    "target",
    "validation",
    "with_shots",
]
