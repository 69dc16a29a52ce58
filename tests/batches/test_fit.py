"""Questions that a model cannot take are named before anything is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder, check_fit
from mmunlearner.data import Example, ImageRef
from mmunlearner.errors import DataError, ModelError

QUESTION, TEXT = examples(1, 1)[0], examples(1, 1, images=False)[0]


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


def blank(width: int, height: int, mode: str = "RGB") -> ImageRef:
    return ImageRef.from_image(Image.new(mode, (width, height)), f"{width}x{height}")


def refuse_from(encoder: Encoder, monkeypatch: pytest.MonkeyPatch, height: int = 10**9) -> list[tuple[int, int]]:
    """Return the sizes of the pictures that the processor sees; it refuses those from a height on."""
    process, seen = type(encoder.loaded.processor).__call__, []

    def record(self: Any, images: Any, **rest: Any) -> Any:
        seen.extend(image.size for image in images[0])
        if any(image.height >= height for image in images[0]):
            raise ValueError("absolute aspect ratio must be smaller than 200")
        return process(self, images=images, **rest)

    monkeypatch.setattr(type(encoder.loaded.processor), "__call__", record)
    return seen


def test_whole_benchmark(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture of each shape, or pair of shapes, passes through the processor."""
    seen = refuse_from(encoder, monkeypatch)
    sets = {"forget": examples(), "forget_qa": examples(images=False), "two": examples(2, images=2)}
    check_fit(encoder, sets)
    shapes = {tuple(image.size for image in example.images) for examples in sets.values() for example in examples}
    assert sorted(seen) == sorted(size for shape in shapes for size in shape)


def test_a_picture_at_another_token(encoder: Encoder) -> None:
    check_fit(encoder, {"forget": [QUESTION]})
    encoder.loaded.model.config.image_token_id = 9
    check_fit(encoder, {"text": [TEXT]})
    with pytest.raises(ModelError, match=r"by its config\.json a picture stands at token 9 .* its processor puts none"):
        check_fit(encoder, {"forget": [QUESTION]})


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"question": "what </s> ?"}, "question"),
        ({"answer": "red <image>"}, "answer"),
        ({"choices": ("red", "<s> blue")}, "choices"),
        ({"paraphrase": "<user>"}, "paraphrase"),
        ({"perturbed": ("blue", "green<pad>")}, "perturbed"),
    ],
)
@pytest.mark.parametrize("example", [QUESTION, TEXT], ids=["vqa", "qa"])
def test_control_tokens(encoder: Encoder, example: Example, change: dict[str, Any], column: str) -> None:
    broken = replace(example, id="who/3", **change)
    with pytest.raises(
        DataError, match=f"^forget_vqa, who/3: column {column}: .* a control token of tiny llava; remove"
    ):
        check_fit(encoder, {"retain": [example], "forget_vqa": [example, broken]})


@pytest.mark.parametrize(
    "change",
    [
        {"question": "hat " * 600},
        {"answer": "hat " * 600},
        {"perturbed": ("hat", "hat " * 600)},
        {"shots": (replace(TEXT, answer="hat " * 600),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_too_long(encoder: Encoder, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"^forget, .*: \d+ tokens, 4 of them of its images; the model takes 512"):
        check_fit(encoder, {"forget": [QUESTION, replace(QUESTION, **change)]})


@pytest.mark.parametrize("words", range(480, 515))
def test_bound_of_the_length_is_exact(encoder: Encoder, words: int) -> None:
    """A question is refused here exactly where it is refused when it is asked."""
    long = replace(QUESTION, question="? " * words)

    def refused(ask: Any) -> bool:
        try:
            ask()
        except DataError:
            return True
        return False

    assert refused(lambda: check_fit(encoder, {"forget": [long]})) == refused(lambda: encoder.row(long))


def test_every_shape_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = refuse_from(encoder, monkeypatch)
    sizes = [(40, 40), (50, 40), (40, 40), (40, 50), (50, 40)]
    questions = [replace(QUESTION, id=str(i), images=(blank(*size),)) for i, size in enumerate(sizes)]
    check_fit(encoder, {"forget": questions, "again": questions})
    assert sorted(seen) == sorted(set(sizes))


def test_shape_that_the_processor_refuses(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_from(encoder, monkeypatch, height=90)
    broken = replace(QUESTION, id="tall", images=(blank(40, 90),))
    with pytest.raises(DataError, match=r"^forget, tall: 40x90: not taken by the processor .*aspect ratio"):
        check_fit(encoder, {"forget": [QUESTION, broken]})
