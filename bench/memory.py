"""The memory that models of 7 billion weights take, computed: python -m bench.memory."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForImageTextToText, LlavaConfig, Qwen2VLConfig

from mmunlearner.config import LoadConfig, TrainConfig
from mmunlearner.run.memory import ORDER, ForwardSize, Memory, saliency, sizes, training

LLAVA = LlavaConfig(text_config={"model_type": "llama", "vocab_size": 32064})
QWEN = Qwen2VLConfig(
    text_config={
        "hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18944, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064,
    },
    vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16},
)  # fmt: skip
LOAD = ForwardSize(language=2048, vision=4 * 577, answers=18 * 20)
"""An image of 576 tokens (of four times as many patches where they are merged) and 18 questions of 80."""
SEEING = ("vision", "projector")


def plans(config: Any) -> dict[str, Memory]:
    with torch.device("meta"):
        size = sizes(AutoModelForImageTextToText.from_config(config))
    return {
        "mask of all parts": saliency(size, LOAD, ORDER, dtype="bfloat16"),
        "mask of all parts, squares on the host": saliency(size, LOAD, ORDER, dtype="bfloat16", on_host=True),
        "mask of vision and projector": saliency(size, LOAD, SEEING, dtype="bfloat16"),
        "training vision and projector": training(
            size, LOAD, TrainConfig(), LoadConfig(dtype="bfloat16"), parts=SEEING, masked=True
        ),
        "training everything": training(size, LOAD, TrainConfig(), LoadConfig(dtype="bfloat16"), masked=True),
    }


def table() -> str:
    kinds = ("weights", "gradients", "optimizer", "saliency", "activations", "on_device")
    lines = [f"| GiB | {' | '.join(kinds)} |", "|---|" + "---|" * len(kinds)]
    for name, config in (("LLaVA-1.5-7B", LLAVA), ("Qwen2-VL-7B", QWEN)):
        for step, memory in plans(config).items():
            cells = " | ".join(f"{getattr(memory, kind) / 2**30:.1f}" for kind in kinds)
            lines.append(f"| {name}, {step} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
