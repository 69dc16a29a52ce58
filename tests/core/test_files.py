"""Files that are whole or absent, and the remains of killed processes."""

from __future__ import annotations

from mmunlearner.core.files import discard, remove_unfinished


def test_discarded_folders_leave_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    discard(tmp_path / "a")
    discard(tmp_path / "never there")
    assert not list(tmp_path.iterdir())


def test_only_files_of_killed_processes_are_removed(tmp_path):
    """Checkpoints of a mask's sums end in .part too, but belong to no process."""
    survivors = [tmp_path / "models" / "whole", tmp_path / ".mask.safetensors.forget.part"]
    gone = [tmp_path / "models" / ".half.123.part", tmp_path / ".scores.json.77.part"]
    for path in (survivors[0], gone[0]):
        path.mkdir(parents=True)
    for path in (survivors[1], gone[1]):
        path.write_text("x")
    remove_unfinished(tmp_path)
    assert all(path.exists() for path in survivors)
    assert not any(path.exists() for path in gone)
