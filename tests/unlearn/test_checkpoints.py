"""Checkpoints of training: whole or absent on a full disk, and refused in one line where they are damaged."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.config import LoraConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import TrainingError
from mmunlearner.unlearn import Trained, make_adapter, unlearn
from mmunlearner.unlearn.trainer import last_checkpoint

IMAGES = examples(3, 1)
SPLITS = Splits(tuple(IMAGES[:3]), tuple(IMAGES[3:]), (), {})
TRAIN = TrainConfig(steps=6, retain_per_forget=1, batch_size=2, learning_rate=1e-3, save_every=2)
ADAPTER = make_adapter(LoraConfig(rank=2))


def run(work: Path, adapter=None) -> Trained:
    return unlearn(llava(VOCABULARY), SPLITS, MethodConfig("ga_diff"), TRAIN, work, adapter=adapter)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in trained.loaded.model.named_parameters()}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: what a full disk does, for this process alone."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return weights(run(tmp_path_factory.mktemp("whole") / "work"))


@pytest.mark.parametrize("share", [0.1, 0.9, 1.1], ids=["weights", "end of the weights", "optimizer"])
def test_full_disk(tmp_path: Path, uninterrupted: dict[str, torch.Tensor], share: float, monkeypatch) -> None:
    """At the second checkpoint; the first is there, and the run goes on from it to the same bits."""
    work, size = tmp_path / "work", sum(p.numel() * 4 for p in llava(VOCABULARY).model.parameters())
    save = "mmunlearner.unlearn.trainer.Trainer._save_checkpoint"
    own = pytest.importorskip("transformers").Trainer._save_checkpoint

    def second_is_too_large(self, *args) -> None:
        with largest_file(int(share * size)) if self.state.global_step == 4 else largest_file(-1):
            own(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(save, second_is_too_large)
        with pytest.raises(
            TrainingError, match=r"checkpoint-4: the checkpoint cannot be written \(.*MiB are free\); fr"
        ):
            run(work)
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-2"]
    again = weights(run(work))
    assert all(torch.equal(again[name], uninterrupted[name]) for name in uninterrupted)


def cut(name: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return edit


def drop_weight(name: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        saved = load_file(folder / name)
        del saved[max(saved)]
        save_file(saved, folder / name, metadata={"format": "pt"})

    return edit


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Work folders with two checkpoints, without and with an adapter."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for adapted in (False, True):
        run(folder / f"{adapted}", ADAPTER if adapted else None)
    return {adapted: folder / f"{adapted}" for adapted in (False, True)}


@pytest.mark.parametrize(
    ("adapted", "edit"),
    [
        (False, cut("model.safetensors")),
        (False, drop_weight("model.safetensors")),
        (False, cut("config.json")),
        (True, cut("adapter.safetensors")),
        (True, drop_weight("adapter.safetensors")),
        (True, lambda folder: (folder / "adapter.safetensors").unlink()),
        (True, cut("optimizer.pt")),
        (True, cut("scheduler.pt")),
        (True, cut("rng_state.pth")),
    ],
)
def test_damaged_checkpoint(checkpoints, tmp_path: Path, adapted: bool, edit: Callable[[Path], object]) -> None:
    shutil.copytree(checkpoints[adapted], tmp_path / "work")
    shutil.rmtree(tmp_path / "work" / "checkpoint-6")  # two steps are left
    newest = tmp_path / "work" / "checkpoint-4"
    edit(newest)
    with pytest.raises(TrainingError, match=rf"^{newest}: training cannot resume from it \(.*\); remove this folder"):
        run(tmp_path / "work", ADAPTER if adapted else None)
    shutil.rmtree(newest)
    assert run(tmp_path / "work", ADAPTER if adapted else None).steps == 6


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"global_step": 6, "unheard": 1}', "[" * 100_000])
def test_damaged_state_is_an_unfinished_checkpoint(tmp_path: Path, content: str) -> None:
    for step in (4, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (tmp_path / "checkpoint-6" / "trainer_state.json").write_text(content)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
