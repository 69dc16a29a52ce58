"""Processors are loaded without torchvision, and what cannot be loaded says so in one line."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest
from families.zoo import FAMILIES
from support.tiny import examples
from transformers.utils.import_utils import is_torchvision_available

from mmunlearner.batches import Encoder, check_fit
from mmunlearner.errors import ConfigError, ModelError
from mmunlearner.models import load, save
from mmunlearner.models.processor import NoVideos

WITH_VIDEOS = ("LLaVA-OneVision", "Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "InternVL", "SmolVLM")


@pytest.mark.skipif(is_torchvision_available(), reason="with torchvision, images are processed by it")
def test_processor_is_the_familys_own(family, request):
    """By its class and template; the image processor is the one that works on PIL images."""
    _, own = FAMILIES[request.node.callspec.params["fresh"]]()
    assert type(family.processor).__name__ == type(own).__name__
    assert family.processor.chat_template == own.chat_template
    assert type(family.processor.image_processor).__name__.endswith("Pil")
    assert family.processor.image_processor.to_dict() == own.image_processor.to_dict()


@pytest.mark.skipif(is_torchvision_available(), reason="with torchvision, videos have a processor of their own")
@pytest.mark.parametrize("name", WITH_VIDEOS)
def test_video_settings_are_kept(shelf, name, tmp_path):
    """It is saved as it was, for those who have torchvision."""
    loaded = shelf(name)()
    assert isinstance(loaded.processor.video_processor, NoVideos)
    home = save(loaded, tmp_path / "saved")
    settings = json.loads((home / "processor_config.json").read_text())
    assert settings["video_processor"] == loaded.processor.video_processor.to_dict()
    assert settings["video_processor"]["video_processor_type"].endswith("VideoProcessor")
    assert settings["processor_class"] == type(FAMILIES[name]()[1]).__name__


@pytest.mark.skipif(is_torchvision_available(), reason="with torchvision, Mistral 3 is loaded as every other family")
def test_stand_in_module_is_gone(shelf):
    """What stood in for its module is gone, so that nobody takes the one for the other."""
    shelf("Mistral 3")()
    with pytest.raises(ModuleNotFoundError, match="torchvision"):
        import_module("transformers.models.pixtral.image_processing_pixtral")


def test_pictures_stand_where_the_model_looks(family, monkeypatch):
    sets = {"forget": examples(1, 1)[:1]}
    check_fit(Encoder(family), sets)
    config = family.model.config
    if not isinstance(getattr(config, "image_token_id", None), int):
        return  # images go by cross-attention: there is no such place
    # Some families keep the place under another name; an attribute set under the first could not be taken back.
    monkeypatch.setattr(config, config.attribute_map.get("image_token_id", "image_token_id"), 10**6)
    with pytest.raises(ModelError, match="a picture stands at token 1000000"):
        check_fit(Encoder(family), sets)


def test_missing_package(shelf, monkeypatch, tmp_path):
    home = save(shelf("SmolVLM")(), tmp_path / "smol")
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
    with pytest.raises(ModelError, match="cannot be loaded .Package `num2words` is required"):
        load(home)


def test_attention_is_the_language_models(shelf):
    loaded = shelf("LLaVA-1.5")()
    config: Any = load(loaded.source, device="cpu", attention="eager").model.config
    assert config.text_config._attn_implementation == "eager"
    assert config.vision_config._attn_implementation == loaded.model.config.vision_config._attn_implementation


def test_flex_attention_on_a_cpu(shelf):
    with pytest.raises(ConfigError, match=r"^model\.attention flex_attention: it has no gradient on a cpu; use auto$"):
        load(shelf("LLaVA-1.5")().source, device="cpu", attention="flex_attention")
