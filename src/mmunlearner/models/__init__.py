"""Loading any vision-language model, and its parts."""

from mmunlearner.models.load import Loaded, end_token_ids, load, pick_device, save
from mmunlearner.models.parts import candidates, part_of, parts

__all__ = ["Loaded", "candidates", "end_token_ids", "load", "part_of", "parts", "pick_device", "save"]
