from __future__ import annotations

import hashlib
from pathlib import Path

import huggingface_hub
import pytest
from support.layouts import mllmu

from mmunlearner.config import DataConfig
from mmunlearner.data import data_hashes, load
from mmunlearner.data.load import local_folder
from mmunlearner.errors import DataError


@pytest.mark.parametrize("path", ["x", "/a/b", "./a/b", "a/b/c", "../a"])
def test_what_cannot_be_an_id_stays_a_path(path: str):
    assert local_folder(path) == Path(path)


def test_a_folder_is_taken_before_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "org" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_folder("org/set") == Path("org/set")


def test_an_id_is_downloaded_as_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = mllmu(tmp_path / "snapshot")
    asked = []

    def snapshot_download(name: str, *, repo_type: str) -> str:
        asked.append((name, repo_type))
        return str(root)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load(DataConfig("mllmu", "org/set", forget=25)).forget_entities == {"001"}
    assert data_hashes("org/set") == data_hashes(root)
    assert asked == [("org/set", "dataset")] * 2


def test_without_a_network_one_line_says_what_to_do():
    with pytest.raises(DataError) as error:
        load(DataConfig("mllmu", "no-such/data-set-anywhere", forget=25))
    assert str(error.value).startswith("no-such/data-set-anywhere: no such folder, and no data set of that id could be")
    assert str(error.value).endswith("download it where there is a network and give its folder")
    assert "\n" not in str(error.value)


def test_hashes_name_every_file_and_change_with_it(tmp_path: Path):
    (tmp_path / "a" / ".hidden").mkdir(parents=True)
    (tmp_path / "a" / "x.txt").write_bytes(b"1")
    (tmp_path / "a" / ".hidden" / "y").write_bytes(b"2")
    (tmp_path / ".z.part").write_bytes(b"3")
    assert data_hashes(tmp_path) == {"a/x.txt": hashlib.sha256(b"1").hexdigest()}
    before = data_hashes(tmp_path)
    (tmp_path / "a" / "x.txt").write_bytes(b"2")
    assert data_hashes(tmp_path) != before
    with pytest.raises(DataError, match="no such folder"):
        data_hashes(tmp_path / "gone")
