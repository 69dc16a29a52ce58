"""The mask's file: every bit and every fact in it is checked before it is used."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save
from support.tiny import VOCABULARY, examples, llava
from torch import Tensor

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig
from mmunlearner.data import Splits
from mmunlearner.errors import MaskError
from mmunlearner.models import load_skeleton
from mmunlearner.models import save as models_save
from mmunlearner.saliency.mask import FORMAT, Mask

IMAGES = examples(3, 1)
SPLITS = Splits(tuple(IMAGES[:3]), tuple(IMAGES[3:]), tuple(examples(images=False)), {})
CONFIG = MaskConfig(parts=("projector", "language"), beta=1.5)
Info = dict[str, Any]
Bits = dict[str, Tensor]


@pytest.fixture(scope="module")
def mask() -> Mask:
    return saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, CONFIG)


@pytest.fixture(scope="module")
def content(mask: Mask, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return mask.save(tmp_path_factory.mktemp("mask") / "mask.safetensors").read_bytes()


def rewrite(path: Path, mask: Mask, edit: Callable[[Bits, Info], object], *, drop_checksum: bool = True) -> Path:
    """Write a mask's file again after an edit; without a checksum it looks like one of an earlier version."""
    mask.save(path)
    with safe_open(path, framework="pt") as file:
        info, bits = json.loads(file.metadata()[FORMAT]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    edit(bits, info)
    if drop_checksum:
        info.pop("checksum", None)
    path.write_bytes(save(bits, metadata={FORMAT: json.dumps(info)}))
    return path


@settings(max_examples=300)
@given(data=st.data())
def test_any_changed_byte(content: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    header = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(0, header - 1) | st.integers(header, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
    with pytest.raises(MaskError, match=r"^mask .*changed\.safetensors: "):
        saliency.load(path)


@given(length=st.integers(0, 10_000))
def test_any_length(content: bytes, tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    path.write_bytes(content[: min(length, len(content) - 1)])
    with pytest.raises(MaskError):
        saliency.load(path)


NAMES = "language_model.layers.1.mlp.up_proj.weight"


def layer(info: Info) -> Info:
    return next(entry for entry in info["layers"] if entry["name"].endswith(NAMES))


def name_of(bits: Bits) -> str:
    return next(name for name in bits if name.endswith(NAMES))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda bits, info: bits[name_of(bits)].bitwise_not_(), "does not select the"),
        (lambda bits, info: bits.pop(name_of(bits)), "the names of bits, shapes and layers differ"),
        (lambda bits, info: bits.update({name_of(bits): bits[name_of(bits)][:-1].clone()}), "not one bit for each"),
        (lambda bits, info: bits.update({name_of(bits): bits[name_of(bits)].float()}), "not one bit for each"),
        (lambda bits, info: info["shapes"].update({name_of(bits): [3, 3]}), "not one bit for each of its 9"),
        (lambda bits, info: info["shapes"].update({name_of(bits): [-3]}), "metadata: shapes"),
        (lambda bits, info: info["shapes"].pop(name_of(bits)), "the names of"),
        (lambda bits, info: info["layers"].append(layer(info)), "the names of"),
        (lambda bits, info: layer(info).update(selected=1), "does not select the 1 weights"),
        (lambda bits, info: layer(info).update(candidates=1), "not one bit for each"),
        (lambda bits, info: layer(info).update(part="vision"), "lies in vision, which is no part"),
        (lambda bits, info: layer(info).update(part="tail"), r"metadata: layers\[\d+\]\.part: expected one of vision"),
        (lambda bits, info: layer(info).update(saliency_forget="much"), r"metadata: layers\[\d+\]\.saliency_forget"),
        (lambda bits, info: info.update(beta=-1), "metadata: beta: expected 0 or more"),
        (lambda bits, info: info.update(unit="page"), "metadata: unit"),
        (lambda bits, info: info.update(parts=[]), "metadata: parts"),
        (lambda bits, info: info.pop("beta"), "metadata: no option beta"),
        (lambda bits, info: info.pop("fingerprint"), "metadata: fingerprint: expected this field"),
        (lambda bits, info: info.pop("layers"), "metadata: layers"),
        (lambda bits, info: info.update(units=3), "metadata: units"),
    ],
)
def test_contradictions(mask: Mask, tmp_path: Path, edit: Callable[[Bits, Info], object], problem: str) -> None:
    """Also in a file without a checksum, or with a checksum of the wrong content."""
    path = rewrite(tmp_path / "mask.safetensors", mask, edit)
    with pytest.raises(MaskError, match=rf"^mask {path}: .*{problem}.*; make it again with `mmunlearner mask`$"):
        saliency.load(path)


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '{"layers": []}', "[" * 10_000, "{" * 5])
def test_metadata_of_another_kind(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mask.safetensors"
    path.write_bytes(save({"w": torch.zeros(1, dtype=torch.uint8)}, metadata={FORMAT: text}))
    with pytest.raises(MaskError, match=rf"^mask {path}: .*metadata"):
        saliency.load(path)


def test_changed_metadata_alone(mask: Mask, tmp_path: Path) -> None:
    """Nothing contradicts these values but the checksum."""
    for number, change in enumerate(({"beta": 9.0}, {"limit": 3}, {"random": True}, {"source": "x"}, {"data": {}})):
        edit = lambda bits, info, change=change: info.update(change)  # noqa: E731
        if change.items() <= mask.info.items():
            continue
        path = rewrite(tmp_path / f"{number}.safetensors", mask, edit, drop_checksum=False)
        with pytest.raises(MaskError, match="were changed since it was written: the checksum differs"):
            saliency.load(path)


def test_mask_of_an_earlier_version(mask: Mask, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = rewrite(tmp_path / "mask.safetensors", mask, lambda bits, info: info.pop("per_layer"))
    with caplog.at_level(logging.WARNING, "mmunlearner"):
        again = saliency.load(path)
    assert {**again.info, "per_layer": False} == mask.info
    again.check_config(CONFIG)
    assert "has no checksum" in caplog.text


def test_options_of_a_mask(mask: Mask, tmp_path: Path) -> None:
    again = saliency.load(mask.save(tmp_path / "mask.safetensors"))
    assert again.config == CONFIG
    again.check_config(CONFIG)
    for other in (MaskConfig(parts=("language",)), MaskConfig(parts=CONFIG.parts, beta=2.0)):
        with pytest.raises(MaskError, match="mask of other options: .* there, .* here"):
            again.check_config(other)


def test_beta_follows_from_a_density() -> None:
    config = MaskConfig(parts=("language",), density=0.3)
    mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, config)
    mask.check_config(config)
    assert saliency.statistics(mask)["density"] == pytest.approx(0.3, abs=0.01)
    # The beta that gives this density selects the same weights.
    again = saliency.compute(
        Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=("language",), beta=mask.info["beta"])
    )
    assert all(torch.equal(bits, again.bits[name]) for name, bits in mask.bits.items())


def test_structure_alone(mask: Mask, tmp_path: Path) -> None:
    """A model without weights tells whether a mask is of its architecture."""
    mask.check_structure(load_skeleton(models_save(llava(VOCABULARY, seed=3), tmp_path / "same")).model)
    with pytest.raises(MaskError, match="mask of another model"):
        mask.check_structure(load_skeleton(models_save(llava(VOCABULARY, width=64), tmp_path / "wide")).model)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", save({"w": torch.ones(1)}), save({}, {"mmunlearner-squares-1": "{}"})]
)
def test_damaged_squares(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "forget-image-512.safetensors"
    path.write_bytes(content)
    with pytest.raises(MaskError, match=rf"^{path}: its squared gradients cannot be read .*; remove it, and they are"):
        saliency.load_fisher(path)


@pytest.mark.parametrize("sums", [{}, {"w": torch.ones(1)}])
def test_damaged_unfinished_sums(tmp_path: Path, sums: Bits) -> None:
    path = tmp_path / "forget.part"
    path.write_bytes(save(sums, {"done": "1"}))
    encoder = Encoder(llava(VOCABULARY))
    names = ["model.multi_modal_projector.linear_1.weight"]
    if sums:
        path.write_bytes(save({names[0]: torch.ones(1)}, {"done": "1"}))
    with pytest.raises(MaskError, match=rf"^{path}: its squared gradients cannot be read"):
        saliency.squared_gradients(encoder, [[IMAGES[0]]], names, checkpoint=path)
