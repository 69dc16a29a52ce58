"""Any vision-language model: where it is read from, how it is loaded and saved, and its parts."""

from mmunlearner.models.control_tokens import ControlTokens, control_tokens
from mmunlearner.models.load import (
    Loaded,
    check_not_offloaded,
    end_token_ids,
    fetch_weight,
    input_device,
    load,
    longest_row,
    pick_device,
    replaced_forward,
    save,
)
from mmunlearner.models.parts import candidates, chosen_layers, layers, outside_layers, part_of, parts
from mmunlearner.models.skeleton import load_skeleton, meta_model
from mmunlearner.models.sources import resolve_source

__all__ = [
    "ControlTokens",
    "Loaded",
    "candidates",
    "check_not_offloaded",
    "chosen_layers",
    "control_tokens",
    "end_token_ids",
    "fetch_weight",
    "input_device",
    "layers",
    "load",
    "load_skeleton",
    "longest_row",
    "meta_model",
    "outside_layers",
    "part_of",
    "parts",
    "pick_device",
    "replaced_forward",
    "resolve_source",
    "save",
]
