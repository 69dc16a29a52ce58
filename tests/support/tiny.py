"""Tiny random models of real architectures, built offline."""

from __future__ import annotations

import re

import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mmunlearner.data import Example, ImageRef
from mmunlearner.models import Loaded

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<user>", "<assistant>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% if m['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+|[^\sA-Za-z]", text)


def llava(vocabulary: str, *, seed: int = 0, width: int = 32) -> Loaded:
    """A LLaVA of some ten thousand weights with a word-level tokenizer that knows the words of `vocabulary`."""
    vocab = {token: i for i, token in enumerate([*SPECIAL, *sorted(set(words(vocabulary)))])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[A-Za-z]+|[^A-Za-z]"), "isolated")]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>", "<user>", "<assistant>"],
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_convert_rgb=True
    )
    processor = LlavaProcessor(
        images,
        fast,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        ),
        text_config=LlamaConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            vocab_size=len(vocab),
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        ),
        image_token_index=vocab["<image>"],
        vision_feature_layer=-1,
        image_seq_length=4,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    return Loaded(model.eval(), processor, "tiny llava")


def picture(seed: int) -> ImageRef:
    """A random image held in bytes."""
    import io

    noise = torch.randint(0, 255, (32, 32, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise.numpy()).save(stream, "PNG")
    return ImageRef(f"picture {seed}", stream.getvalue())


COLOURS = ("red", "green", "blue", "white", "black")
VOCABULARY = (
    "what colour is this the of in a person job hat and or no it Answer with the option's letter only . Fill in Blank "
    "[ ] A B C D E : ? ' ann ben cat dan eve fay " + " ".join(COLOURS)
)


def examples(entities: int = 4, views: int = 2, *, images: int = True, seed: int = 0) -> list[Example]:
    """Questions of three kinds about entities that differ in colour, with so many images each."""
    names = ("ann", "ben", "cat", "dan", "eve", "fay")[:entities]
    questions = []
    for e, name in enumerate(names):
        for view in range(views):
            pictures = tuple(picture(100 * seed + 10 * e + view + 1000 * k) for k in range(images))
            subject = "this" if images else name
            colour = COLOURS[e % len(COLOURS)]
            common = {"entity": name, "answer": colour, "images": pictures, "attribute": "colour"}
            questions += [
                Example(id=f"{name}/{view}/{images}/g", question=f"what colour is {subject} ?", **common),
                Example(
                    id=f"{name}/{view}/{images}/c", question=f"the colour of {subject} is __ .", task="cloze", **common
                ),
                Example(
                    id=f"{name}/{view}/{images}/m",
                    question=f"what colour is the hat of {subject} ?",
                    task="multiple_choice",
                    choices=COLOURS[:4] if colour in COLOURS[:4] else COLOURS[1:],
                    **common,
                ),
            ]
    return questions
