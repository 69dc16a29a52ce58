"""The two sides of the benchmark compute the same, and the benchmark runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.tiny import VOCABULARY, examples, llava

from bench import equality, full, ours, people, published, setting
from mmunlearner import data, saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import DataConfig
from mmunlearner.data import Splits
from mmunlearner.models import candidates
from mmunlearner.saliency import fisher_groups

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)


def test_questions_per_person(tmp_path: Path) -> None:
    folder = people.write(tmp_path, forget=2, retain=2, neighbours=1)
    splits = data.load(DataConfig(format="mllmu", root=str(folder), forget=5))
    assert {len(group) for group in fisher_groups((*splits.forget, *splits.retain), "image")} == {16, 17, 18}
    assert len(splits.evaluation["forget_vqa_test"]) == 2 * 9


def test_equal_gradients() -> None:
    found = equality.gradients(llava(VOCABULARY), SPLITS.forget)
    assert found["loss"] < 1e-5
    assert found["gradients"] < 1e-5


def test_equal_masks(tmp_path: Path) -> None:
    published.saliency(llava(VOCABULARY), SPLITS, tmp_path / "published.safetensors")
    ours.saliency(llava(VOCABULARY), SPLITS, tmp_path / "ours.safetensors")
    found = equality.masks(tmp_path)
    assert found["beyond_rounding"] == 0
    assert 0.1 < found["density"] < 0.9
    assert [path.name for path in tmp_path.glob("*.squares")] == []


def test_wrong_mask_is_noticed(tmp_path: Path) -> None:
    """The comparison would see a wrong threshold."""
    published.saliency(llava(VOCABULARY), SPLITS, tmp_path / "published.safetensors")
    loaded = llava(VOCABULARY)
    squares: dict[saliency.DataSet, saliency.Fisher] = {
        each.data: each.measure(Encoder(loaded), SPLITS) for each in saliency.fisher_passes([ours.MASK])
    }
    wrong = saliency.Fisher({n: 2 * s for n, s in squares["retain"].squares.items()}, squares["retain"].units)
    saliency.threshold(loaded, {**squares, "retain": wrong}, ours.MASK).save(tmp_path / "ours.safetensors")
    assert equality.masks(tmp_path)["beyond_rounding"] > 0


def test_published_epoch(tmp_path: Path) -> None:
    published.saliency(llava(VOCABULARY), SPLITS, tmp_path / "mask")
    loaded, before = llava(VOCABULARY), llava(VOCABULARY).model.state_dict()
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=1e-3)
    assert published.epoch(loaded, SPLITS, tmp_path / "mask", optimizer) == len(SPLITS.forget) + len(SPLITS.retain)
    assert all(not torch.equal(before[n.removeprefix("mask.")], loaded.model.state_dict()[n.removeprefix("mask.")])
               for n in load_file(tmp_path / "mask") if n.startswith("mask."))  # fmt: skip


def test_published_full_run(tmp_path: Path) -> None:
    looks = iter([False, True])
    assert published.full_run(llava(VOCABULARY), SPLITS, tmp_path / "mask", lambda: next(looks), 1e-3) == 2
    assert published.full_run(llava(VOCABULARY), SPLITS, tmp_path / "mask", lambda: False, 1e-3) == published.EPOCHS


def test_few_people(tmp_path: Path) -> None:
    people.write(tmp_path / "data", forget=1, retain=4, neighbours=1)
    everybody = setting.splits(tmp_path)
    few = setting.few(everybody)
    assert {e.entity for e in few.forget} == {"000"}
    assert {e.entity for e in few.retain} == {"001", "002"}
    assert {e.entity for e in few.text} == {"000", "001", "002"}
    assert {e.entity for items in few.evaluation.values() for e in items} == {"000", "001", "002", "005"}
    assert few.evaluation["neighbour_vqa"] == everybody.evaluation["neighbour_vqa"]


@pytest.mark.slow
def test_full_runs(tmp_path: Path) -> None:
    """The published side aims at what ours has forgotten."""
    folder = setting.prepare(tmp_path, setting.QUICK)
    mine, theirs = (full.full(side, folder) for side in ("ours", "published"))
    assert mine["result"] == {"forget_steps": ours.RUN.steps}
    assert 1 <= theirs["result"]["epochs"] <= published.EPOCHS
    assert set(mine["accuracy"]) == set(theirs["accuracy"]) == set(full.SCORED)
    assert mine["before"] == theirs["before"]
    assert min(run["processor_seconds"] for run in (mine, theirs)) > 0


@pytest.mark.slow
def test_quick_bench(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(tmp_path), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    found = json.loads((tmp_path / "latest.json").read_text())
    for name in (
        "saliency_wall",
        "saliency_peak",
        "mask_disk",
        "epoch_wall",
        "evaluation_wall",
        "evaluation_candidates_wall",
        "full_run_wall",
    ):
        assert found[f"{name}_ratio"] > 0
        assert f"| {name}_ratio |" in done.stdout
    assert found["mask_disk_ratio"] > 32
    assert found["equality"]["saliency"]["beyond_rounding"] == 0
    model = setting.loaded(tmp_path / "work" / found["size"], "ours").model
    selectable = sum(model.get_parameter(name).numel() for name in candidates(model))
    assert found["equality"]["saliency"]["bits"] == selectable  # the masks of all parts, not those of the full runs
    assert found["equality"]["epoch"]["gradients"] < 1e-5
    assert found["equality"]["evaluation"]["same_scores"]
    assert found["equality"]["candidates"]["same_scores"]
    assert (tmp_path / "growth.svg").read_text().startswith("<?xml")
