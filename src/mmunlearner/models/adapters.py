"""Adapters of peft that other programs saved: merged into their base, so that what is loaded is a whole model."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import torch
from transformers import PreTrainedModel

from mmunlearner.errors import ModelError
from mmunlearner.models.files import check_files, reading


def merge_adapter(model: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """Return the model with an adapter merged into its weights, in which it is changed.

    Raises:
        ModelError: the adapter cannot be read, lacks some of its numbers, has some that fit nowhere, or is of a kind
            that cannot be merged.
    """
    import peft  # takes a second, and few models have adapters
    from peft.tuners.tuners_utils import BaseTunerLayer

    check_files(adapter)
    own = {id(parameter) for parameter in model.parameters()}
    holders = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    with reading(adapter), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # peft reports what is missing as a warning; it is an error below
        adapted: Any = peft.PeftModel(model, peft.PeftConfig.from_pretrained(adapter))
        layers = [module.get_base_layer() for module in adapted.modules() if isinstance(module, BaseTunerLayer)]
        tied = any(holders[id(p)] > 1 for layer in layers for p in layer.parameters(recurse=False))
        if tied or not hasattr(adapted, "merge_and_unload"):
            kind = "is on weights that two layers share" if tied else "has no weights of its base to be added to"
            raise ModelError(f"model {adapter}: the adapter {kind}, so that it cannot be merged; save a whole model")
        added = {name: p for name, p in adapted.named_parameters() if id(p) not in own}
        # Numbers that the file lacks stay NaN, whatever names peft gives them on the disk.
        for parameter in added.values():
            parameter.fill_(torch.nan)
        unexpected = adapted.load_adapter(adapter, "default", torch_device=str(model.device)).unexpected_keys
        unread = [name for name, p in adapted.named_parameters() if name in added and not p.isfinite().all()]
        for problem, names in (("lacks", unread), ("has numbers that fit nowhere in its base:", unexpected)):
            if names:
                raise ModelError(
                    f"model {adapter}: the adapter {problem} {names[0]} ({len(names)} such); copy it again"
                )
        merged = adapted.merge_and_unload(safe_merge=True)
    return merged.requires_grad_(True)
