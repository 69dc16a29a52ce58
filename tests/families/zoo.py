"""A tiny random model of every family with the family's own processor: tens of thousands of weights."""

from __future__ import annotations

from collections.abc import Callable

from families import gemmas, llavas, others, qwens
from families.building import Made

FAMILIES: dict[str, Callable[[], Made]] = {
    "LLaVA-1.5": llavas.llava,
    "LLaVA-NeXT": llavas.llava_next,
    "LLaVA-OneVision": llavas.llava_onevision,
    "Qwen2-VL": qwens.qwen2_vl,
    "Qwen2.5-VL": qwens.qwen2_5_vl,
    "Qwen3-VL": qwens.qwen3_vl,
    "InternVL": llavas.internvl,
    "Idefics3": others.idefics3,
    "SmolVLM": others.smolvlm,
    "PaliGemma": gemmas.paligemma,
    "Gemma 3": gemmas.gemma3,
    "Mllama": others.mllama,
    "Mistral 3": others.mistral3,
}
