"""Models without weights, on the meta device: their structure and processor, for checks that come before any work."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mmunlearner.models.checkpoint import check_kind, check_weights
from mmunlearner.models.files import reading
from mmunlearner.models.load import Loaded
from mmunlearner.models.processor import load_processor
from mmunlearner.models.sources import find_sources


def meta_model(source: str | Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Build a model without weights, from the configuration of any source that `models.load` takes.

    Raises:
        ModelError: there is no configuration, or it is not that of an image-text-to-text model.
    """
    name = find_sources(source).weights
    check_kind(name)
    with reading(str(source)):
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
        with suppress(OSError):  # a model without the file generates by its configuration
            model.generation_config = GenerationConfig.from_pretrained(name)
    return model


def load_skeleton(source: str | Path, *, trust_remote_code: bool = False) -> Loaded:
    """Load a model's processor, and its structure without weights: enough to encode questions.

    In a directory, the files are checked, and names and shapes of the weights are compared with the model's: a model
    that `load` would refuse for its files is refused here, in a second. Of a hub id, no weights are downloaded.

    Raises:
        ModelError: there is no model at `source`, it lacks weights, or it has no processor of images and texts.
    """
    transformers_logging.disable_progress_bar()  # of weights, none of which is read
    sources = find_sources(source)
    check_kind(sources.weights)
    processor = load_processor(sources, trust_remote_code=trust_remote_code)
    model = None
    if Path(sources.weights).is_dir():
        model = check_weights(sources.weights, trust_remote_code=trust_remote_code)
    model = model or meta_model(source, trust_remote_code=trust_remote_code)
    return Loaded(model.eval(), processor, str(source))
