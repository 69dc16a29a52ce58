"""Loading any vision-language model, and its parts."""

from mmunlearner.models.load import (
    Loaded,
    check_whole,
    end_token_ids,
    input_device,
    load,
    longest_row,
    pick_device,
    save,
    weight,
)
from mmunlearner.models.parts import candidates, part_of, parts
from mmunlearner.models.sources import resolve_source

__all__ = [
    "Loaded",
    "candidates",
    "check_whole",
    "end_token_ids",
    "input_device",
    "load",
    "longest_row",
    "part_of",
    "parts",
    "pick_device",
    "resolve_source",
    "save",
    "weight",
]
