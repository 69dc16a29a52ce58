"""Questions, answers and pictures of all shapes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import torch
from hypothesis import strategies as st
from PIL import Image

from mmunlearner.data import ImageRef

SIZES = ((32, 32), (64, 32), (32, 64), (60, 44), (21, 50), (90, 40))


@cache
def picture(seed: int) -> ImageRef:
    """Noise, of one of a few sizes and aspect ratios."""
    width, height = SIZES[seed % len(SIZES)]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 255, (height, width, 3), generator=generator, dtype=torch.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise.numpy()).save(stream, "PNG")
    return ImageRef(f"picture {seed}", stream.getvalue())


texts = st.one_of(
    st.sampled_from(
        ("red", "It is red.", "What colour is the hat?", "the colour of ann is __ .", "A", "\n", "é 中 🙂")
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="▁<[|]>"), max_size=20),
).map(str.strip)
said = texts.filter(bool)
pictures = st.lists(st.integers(0, len(SIZES) - 1).map(picture), max_size=3).map(tuple)
"""None, one or several shown together."""

Asked = tuple[str, str, tuple[ImageRef, ...]]
conversations: st.SearchStrategy[Sequence[Asked]] = st.lists(st.tuples(said, said, pictures), min_size=1, max_size=6)

FEW: tuple[Asked, ...] = (
    ("What colour is this?", "It is red.", (picture(3),)),
    ("What colour is this hat?", "blue", (picture(3),)),
    ("Who is it?", "ann", (picture(0),)),
    ("What colour is ann?", "green", ()),
    ("What colour is ben?", "It is white and black.", ()),
    ("What colour is this?", "black", (picture(1),)),
    ("Who stands beside whom?", "ann and ben", (picture(3), picture(1))),
    ("Who is it?", "cat", (picture(3), picture(1))),
    ("Who is it?", "dan", (picture(1), picture(3))),
)
"""Two of one image, others of images of other shapes, texts, and two of several images, in another order too."""
