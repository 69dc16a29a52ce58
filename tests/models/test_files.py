"""Files of a model that are cut off, damaged, of another shape or only pointers: one line each, at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder, check_fit
from mmunlearner.errors import MMUnlearnerError, ModelError
from mmunlearner.models import load, load_skeleton, save
from mmunlearner.models.files import INDEX, JSON_FILES

FILES = ("config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json", "tokenizer.json")
QUESTIONS = {"forget": examples(1, 1)}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(llava(VOCABULARY), tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def source(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def shard(source: Path) -> None:
    """Put the weights into two files with an index."""
    weights = load_file(source / "model.safetensors")
    names = sorted(weights)
    (source / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({n: weights[n] for n in names if files[n] == file}, source / file, metadata={"format": "pt"})
    (source / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))


@pytest.mark.parametrize("file", [*FILES, "model.safetensors", "chat_template.jinja"])
def test_pointer_of_git_lfs(source: Path, file: str) -> None:
    (source / file).write_text(POINTER)
    for read in (load, load_skeleton):
        with pytest.raises(ModelError, match=f"^model {source}: {file} is a pointer of git-lfs, .* run `git lfs pull`"):
            read(source)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("sharded", [False, True])
def test_cut_weights(source: Path, share: float, sharded: bool) -> None:
    if sharded:
        shard(source)
        load(source, device="cpu")
    path = sorted(source.glob("*.safetensors"))[-1]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for read in (load, load_skeleton):
        with pytest.raises(ModelError, match=rf"^model {source}: {path.name} is cut off or damaged \(\d+ bytes; "):
            read(source)


def test_absent_shard(source: Path) -> None:
    shard(source)
    (source / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"names 1 files that are not there \(model-00002-of-00002\.safetensors\)"):
        load(source)


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {"a": 3}}, {"weight_map": {"a": "../b"}}])
def test_index_of_another_shape(source: Path, index: object) -> None:
    shard(source)
    (source / INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match=rf"^model {source}: {INDEX} "):
        load(source)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "3", "[" * 50_000, '{"a": ' * 5_000, "{'a': 1}", "9" * 9_000]
)
@pytest.mark.parametrize("file", FILES)
def test_broken_json(source: Path, file: str, content: str) -> None:
    (source / file).write_text(content)
    with pytest.raises(ModelError, match=rf"^model {source}: .*{file}.*; copy the file again$"):
        load_skeleton(source)


def test_configuration_of_another_family(source: Path) -> None:
    for kind in ("qwen2_vl", "llama", "bert", "unheard", "idefics3"):
        (source / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(ModelError, match=f"^model {source}: ") as error:
            load(source)
        assert "\n" not in str(error.value)


def entries(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from entries(item, (*path, key))


OTHER = st.sampled_from([None, True, -1, 10**30, 0.5, "", "x", "\0", [], {}, [1, "a"], {"a": 1}, 0])


def with_change(content: Any, path: tuple[Any, ...], edit: Callable[[Any, Any], object]) -> Any:
    parent = content
    for step in path[:-1]:
        parent = parent[step]
    edit(parent, path[-1])
    return content


@given(data=st.data())
def test_any_entry_of_another_kind(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """The model can be used as it is, or the line names it; nothing else is raised."""
    source = tmp_path_factory.mktemp("changed") / "model"
    shutil.copytree(whole, source)
    file = data.draw(st.sampled_from(FILES))
    content = json.loads((source / file).read_text())
    path = data.draw(st.sampled_from(sorted(entries(content), key=str)))
    value = data.draw(OTHER)
    edit = data.draw(st.sampled_from([lambda parent, key: parent.pop(key), lambda p, k: p.__setitem__(k, value)]))
    (source / file).write_text(json.dumps(with_change(content, path, edit)))
    message = ""
    try:
        check_fit(Encoder(load_skeleton(source)), QUESTIONS)
    except MMUnlearnerError as error:
        message = str(error)
    shutil.rmtree(source)
    assert "\n" not in message


def test_files_that_are_read() -> None:
    assert set(FILES) <= set(JSON_FILES)
