"""What is to be forgotten and kept."""

from mmunlearner.data.example import Example, ImageRef, Splits
from mmunlearner.data.prompts import prompt, target

__all__ = ["Example", "ImageRef", "Splits", "prompt", "target"]
