"""Loads a model's processor without torchvision, which transformers demands even where PIL would be enough."""

from __future__ import annotations

import copy
import sys
from functools import cache
from importlib import import_module
from typing import Any, cast

from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.utils.import_utils import is_torchvision_available
from transformers.video_processing_utils import VideoProcessorMixin

from mmunlearner.models.files import check_files, reading
from mmunlearner.models.sources import Sources

_LOADERS: dict[str, Any] = {"image_processor": AutoImageProcessor, "tokenizer": AutoTokenizer}


class NoVideos(VideoProcessorMixin):
    """Placeholder for a video processor: keeps the checkpoint's settings, and processes no videos."""

    settings: dict[str, Any]

    num_frames = fps = None
    """Read of every video processor, whether or not there are videos."""

    def to_dict(self) -> dict[str, Any]:
        """Return the checkpoint's settings, so that they are saved as they were."""
        return copy.deepcopy(self.settings)

    @classmethod
    def from_dict(cls, settings: dict[str, Any], **_: Any) -> NoVideos:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a placeholder with these settings."""
        placeholder = cls()
        placeholder.settings = dict(settings)
        return placeholder


def load_processor(sources: Sources, *, trust_remote_code: bool = False) -> ProcessorMixin:
    """Load a model's processor; without torchvision one for images alone, not for videos.

    Raises:
        ModelError: there is none, its files cannot be read, or a package that it needs is missing.
    """
    check_files(sources.processor)
    with reading(sources.processor):
        return _load(sources.processor, sources.weights, trust_remote_code)


def _load(name: str, model: str, trust_remote_code: bool) -> ProcessorMixin:
    """Load the processor `name` of the model `model`, whose configuration tells its class."""
    if not is_torchvision_available():
        config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
        kind: Any = PROCESSOR_MAPPING.get(type(config), None)
        if getattr(kind, "_backends", None) == ["torchvision"]:  # transformers' placeholder, which raises when called
            return _load_without_videos(pil_processor_class(kind), name)
        if kind is not None and "video_processor" in kind.get_attributes():
            return _load_without_videos(kind, name)
    processor = AutoProcessor.from_pretrained(name, trust_remote_code=trust_remote_code)
    # transformers falls back to a bare tokenizer where a model has no processor of its own.
    if not isinstance(processor, ProcessorMixin):
        raise ValueError(f"{type(processor).__name__} is no processor of images and text")
    return processor


def pil_processor_class(placeholder: Any) -> Any:
    """Return the processor class for which transformers puts a placeholder where torchvision is missing."""
    # The class's module imports the module of torchvision's image processor. During that import, the module of the PIL
    # image processor, which has the same names, takes its place.
    images = placeholder.__module__.replace(".processing_", ".image_processing_")
    sys.modules[images] = import_module(images.replace(".image_processing_", ".image_processing_pil_"))
    try:
        return getattr(import_module(placeholder.__module__), placeholder.__name__)
    finally:
        del sys.modules[images]


@cache
def without_videos(kind: type[ProcessorMixin]) -> Any:
    """Return the processor class, made to accept `NoVideos` as its video processor."""
    # By a class of the same name: a processor is saved under it.

    def check(self: ProcessorMixin, name: str, part: object) -> object:
        return type(part) if isinstance(part, NoVideos) else kind.check_argument_for_proper_class(self, name, part)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check, "__module__": kind.__module__})


def _load_without_videos(kind: Any, name: str) -> ProcessorMixin:
    """Load the processor's parts as transformers does, except for the one for videos."""
    parts = [_LOADERS.get(attribute, NoVideos).from_pretrained(name) for attribute in kind.get_attributes()]
    settings, _ = kind.get_processor_dict(name)
    return cast(ProcessorMixin, without_videos(kind).from_args_and_dict(parts, settings))
