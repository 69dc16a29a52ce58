"""Chat templates in the form that the real checkpoints of each family have, less tools, videos and default dates."""

from __future__ import annotations

import re
from pathlib import Path

_TEXTS = "{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}"
_IMAGES = "{% for c in m['content'] | selectattr('type', 'equalto', 'image') %}"

LLAVA = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    + _IMAGES
    + "{{ '<image>\\n' }}{% endfor %}"
    + _TEXTS
    + "{{ c['text'] + ' ' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""Writes no end token behind an answer, and a space."""

LLAVA_NEXT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
    + _IMAGES
    + "{{ '<image>\\n' }}{% endfor %}"
    + _TEXTS
    + "{{ c['text'] }}{% endfor %}{{ ' [/INST]' }}{% else %}{{ ' ' + m['content'][0]['text'] + '<\\\\s> ' }}"
    "{% endif %}{% endfor %}"
)
"""Of Mistral; what it means for an end token is none."""

LLAVA_ONEVISION = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ' ' }}"
    + _IMAGES
    + "{{ '<image>' }}{% endfor %}"
    + _TEXTS
    + "{{ '\\n' + c['text'] }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The answer stands behind a space and a line break in a conversation, behind a line break in a prompt."""

_CHATML = (
    "{{ '<|im_start|>' + m['role'] + '\\n' }}{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_VISION = "<|vision_start|><|image_pad|><|vision_end|>"

QWEN2_VL = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
) + _CHATML.replace("IMAGE", _VISION)

QWEN3_VL = "{% for m in messages %}" + _CHATML.replace("IMAGE", _VISION)

INTERNVL = "{% for m in messages %}" + _CHATML.replace("IMAGE", "{{ '<IMG_CONTEXT>\\n' }}")

_IDEFICS = (
    "BEGIN{% for m in messages %}{{ m['role'].capitalize() }}{% if m['content'][0]['type'] == 'image' %}{{ ':' }}"
    "{% else %}{{ ': ' }}{% endif %}{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}"
    "{% else %}{{ '<image>' }}{% endif %}{% endfor %}{{ '<end_of_utterance>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
IDEFICS3 = _IDEFICS.replace("BEGIN", "<|begin_of_text|>")
SMOLVLM = _IDEFICS.replace("BEGIN", "<|im_start|>")

GEMMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' }}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% else %}{{ c['text'] | trim }}{% endif %}{% endfor %}{{ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)

MLLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' }}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}{{ '<|image|>' }}"
    "{% else %}{{ c['text'] | trim }}{% endif %}{% endfor %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

MISTRAL3 = (
    "{{ bos_token }}{{ '[SYSTEM_PROMPT]You are a careful assistant.[/SYSTEM_PROMPT]' }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '[INST]' }}{% for c in m['content'] %}"
    "{% if c['type'] == 'text' %}{{ c['text'] }}{% else %}{{ '[IMG]' }}{% endif %}{% endfor %}{{ '[/INST]' }}"
    "{% else %}{{ m['content'][0]['text'] + eos_token }}{% endif %}{% endfor %}"
)


def paligemma() -> str:
    """Its checkpoints have none; this one is for their users to take over."""
    page = Path(__file__).resolve().parents[2] / "docs" / "families.md"
    (template,) = re.findall(r"^```jinja\n(.*?)\n```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return template
