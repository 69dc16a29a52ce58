"""Models without weights, on the meta device: their structure and processor, for checks that come before any work."""

from __future__ import annotations

from contextlib import suppress

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig, PreTrainedModel

from mmunlearner.errors import ModelError, reason
from mmunlearner.models.load import Loaded
from mmunlearner.models.processor import load_processor
from mmunlearner.models.sources import resolve_source


def meta_model(source: str, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Build a model without weights, from the configuration of any source that `models.load` takes.

    Raises:
        ModelError: there is no configuration, or it is not that of an image-text-to-text model.
    """
    name = resolve_source(source)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model {source}: no configuration found ({reason(error)})") from None
    with suppress(OSError):  # a model without the file generates by its configuration
        model.generation_config = GenerationConfig.from_pretrained(name)
    return model


def load_skeleton(source: str, *, trust_remote_code: bool = False) -> Loaded:
    """Load a model's processor, and its structure without weights: enough to encode questions.

    Raises:
        ModelError: there is no model at `source`, or no processor of images and texts.
    """
    model = meta_model(source, trust_remote_code=trust_remote_code)
    try:
        processor = load_processor(resolve_source(source), trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"model {source}: its processor cannot be loaded ({reason(error)})") from None
    return Loaded(model.eval(), processor, str(source))
