"""What is to be forgotten and kept."""

from mmunlearner.data.checks import Overlap, data_hashes, overlap, validation
from mmunlearner.data.example import Example, ImageRef, Splits
from mmunlearner.data.loaders import FORMATS, load
from mmunlearner.data.prompts import prompt, target

__all__ = [
    "FORMATS",
    "Example",
    "ImageRef",
    "Overlap",
    "Splits",
    "data_hashes",
    "load",
    "overlap",
    "prompt",
    "target",
    "validation",
]
