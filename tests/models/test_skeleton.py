"""A model without weights encodes as the whole model does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder
from mmunlearner.errors import ModelError
from mmunlearner.models import load, load_skeleton, save


def test_rows_are_those_of_the_whole_model(tmp_path: Path) -> None:
    source = save(llava(VOCABULARY), tmp_path / "model")
    settings = json.loads((source / "generation_config.json").read_text())
    (source / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [2, 5]}))
    skeleton, whole = Encoder(load_skeleton(str(source))), Encoder(load(source, device="cpu"))
    assert {p.device.type for p in skeleton.loaded.model.parameters()} == {"meta"}
    assert skeleton.ends == whole.ends == {2, 5}
    assert skeleton.rows(examples()) == whole.rows(examples())


def test_a_tokenizer_is_no_processor(tmp_path: Path) -> None:
    source = save(llava(VOCABULARY), tmp_path / "model")
    (source / "processor_config.json").unlink()
    for read in (load, load_skeleton):
        with pytest.raises(ModelError, match=r"model .*: .*cannot be loaded \("):
            read(str(source))
