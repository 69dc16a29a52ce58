"""The single commands, each on paths, as a user types them."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import cli, models, saliency
from mmunlearner.data.benchmarks import rows

DATA = ["--data.format", "rows", "--data.forget_entities", "ann"]
BUDGET = ["--train.steps", "2", "--train.batch_size", "2", "--train.retain_per_forget", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a benchmark of four entities."""
    folder = tmp_path_factory.mktemp("single")
    models.save(llava(VOCABULARY), folder / "vanilla")
    models.save(llava(VOCABULARY, seed=1), folder / "other")
    items = [*examples(4, 2), *examples(4, 1, images=False)]
    records = [
        rows.as_row(replace(example, id=f"{split}/{example.id}"), split)
        for split in ("train", "eval")
        for example in items
    ]
    rows.write(folder / "data", records)
    return folder


def run(work: Path, *arguments: str) -> int:
    """Exit code of a command given in the folder."""
    with contextlib.chdir(work), pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def mask(work: Path) -> Path:
    options = ["--parts", "vision", "--parts", "language", "--beta", "1.5", "--limit", "4", "--device", "cpu"]
    assert (
        run(work, "mask", "--model", "vanilla", "--out", "mask.safetensors", *DATA, "--data.root", "data", *options)
        == 0
    )
    return work / "mask.safetensors"


@pytest.fixture(scope="module")
def unlearned(work: Path, mask: Path) -> Path:
    options = ["--model", "vanilla", "--mask", "mask.safetensors", "--out", "unlearned", "--options.bound", "3"]
    assert run(work, "unlearn", *options, *DATA, "--data.root", "data", *BUDGET) == 0
    return work / "unlearned"


def test_weights_have_the_chosen_number_format(work: Path) -> None:
    """In bfloat16, with activations computed again; the model that is written is of that format."""
    options = ["--model", "vanilla", "--out", "short", "--method", "ga_diff", "--weights", "bfloat16"]
    assert run(work, "unlearn", *options, *DATA, "--data.root", "data", *BUDGET, "--train.checkpointing") == 0
    assert models.load(work / "short", dtype="bfloat16").model.dtype == torch.bfloat16
    assert json.loads((work / "short" / "config.json").read_text())["dtype"] == "bfloat16"


def hidden(work: Path) -> list[str]:
    return [path.name for path in work.iterdir() if path.name.startswith(".")]


def test_a_mask_records_its_options(mask: Path) -> None:
    info = saliency.load(mask).info
    assert (info["parts"], info["beta"], info["limit"]) == (["vision", "language"], 1.5, 4)
    assert json.loads(mask.with_suffix(".json").read_text())["density"] > 0
    assert mask.with_suffix(".svg").read_text().lstrip().startswith("<")
    assert hidden(mask.parent) == []


def test_a_mask_is_printed_by_part_and_layer(mask: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mmunlearner.cli import tables as show

    show.mask(mask)
    output = capsys.readouterr().out
    statistics = json.loads(mask.with_suffix(".json").read_text())
    assert set(statistics["parts_density"]) == {"vision", "language"}
    assert f"{statistics['density']:.1%} of vision, language" in output


def test_the_forget_term_moves_nothing_outside_the_mask(unlearned: Path) -> None:
    record = json.loads((unlearned / "train.json").read_text())
    assert record["moved"]["forget_outside"] == 0
    assert record["moved"]["inside"] > 0
    assert models.load(unlearned, device="cpu").model.num_parameters() > 0
    assert hidden(unlearned.parent) == []


def test_an_unlearned_model_has_a_card(unlearned: Path) -> None:
    """It says how the model was made and of which one, gives no score, and names no folder of this machine."""
    card = (unlearned / "README.md").read_text()
    assert card.startswith("---\n")
    assert "# vanilla, unlearned by mmunlearner" in card
    assert all(words in card for words in ("bound = 3", "steps = 2", "Mask: mask.safetensors", "was not evaluated"))
    assert str(unlearned.parent) not in card
    assert "## Scores" not in card


def test_scores_are_read_again_without_the_model(
    work: Path, unlearned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "unlearned", "--out", "scores", *DATA, "--data.root", "data", "--device", "cpu"]
    assert run(work, "evaluate", *options, "--max_new_tokens", "3") == 0
    shutil.move(unlearned / "model.safetensors", work / "elsewhere")
    first = (work / "scores" / "scores.json").read_bytes()
    (work / "scores" / "scores.json").unlink()
    assert run(work, "evaluate", "--out", "scores") == 0
    shutil.move(work / "elsewhere", unlearned / "model.safetensors")
    assert (work / "scores" / "scores.json").read_bytes() == first
    output = capsys.readouterr()
    assert "forget_vqa" in output.out
    assert "evaluate unlearned" in output.err
    assert "evaluate vanilla" not in output.err


def test_the_distance_to_the_oracle_s_answers_is_shown(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("vanilla", "other"):
        options = ["--model", model, "--out", f"few-{model}", *DATA, "--data.root", "data", "--device", "cpu"]
        assert run(work, "evaluate", *options, "--max_new_tokens", "3", "--shots", "1") == 0
    assert "Answer: " in (work / "few-other" / "forget_vqa.jsonl").read_text()
    capsys.readouterr()
    assert run(work, "evaluate", "--out", "few-vanilla", "--oracle", "few-other") == 0
    output = capsys.readouterr().out
    assert "forget_vqa, multiple choice" in output
    assert "harmonic means (CLEAR)" in output
    options = ["--model", "vanilla", "--out", "said", *DATA, "--data.root", "data", "--device", "cpu", "--limit", "2"]
    assert run(work, "evaluate", *options, "--no-candidates", "--oracle", "few-other") == 0
    assert "no distance to the oracle" in capsys.readouterr().out


def test_a_model_is_fine_tuned(work: Path) -> None:
    options = ["--model", "vanilla", "--out", "taught", *DATA, "--data.root", "data", *BUDGET]
    assert run(work, "finetune", *options, "--oracle") == 0
    assert json.loads((work / "taught" / "train.json").read_text())["steps"] == 2


def test_a_model_is_fine_tuned_by_adapters(work: Path) -> None:
    """Every matrix moves by one of the adapters' rank; what is written is an ordinary model."""
    options = ["--model", "vanilla", "--out", "adapted", *DATA, "--data.root", "data", *BUDGET, "--lora.rank", "2"]
    assert run(work, "finetune", *options) == 0
    before, after = (
        dict(models.load(work / name, device="cpu").model.named_parameters()) for name in ("vanilla", "adapted")
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {part for name, part in models.candidates(models.load(work / "adapted").model).items() if name in moved} == {
        "vision", "projector", "language",
    }  # fmt: skip
    assert max(int(torch.linalg.matrix_rank(after[n] - before[n], rtol=1e-3)) for n in moved) <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mask", "--model", "vanilla", "--out", "data"], "data: exists already; choose another --out, or remove it"),
        (["mask", "--model", "./nothing", "--out", "m"], "model ./nothing: no such directory"),
        (
            ["mask", "--model", "vanilla", "--out", "m", "--beta=-1"],
            "--beta: expected 0 or more, found -1.0",
        ),
        (
            ["unlearn", "--model", "vanilla", "--out", "m", "--method", "mmunlearner"],
            "method mmunlearner needs a mask: give one",
        ),
        (["unlearn", "--model", "vanilla", "--out", "m", "--method", "np"], "unknown method np; did you mean npo?"),
        (
            ["unlearn", "--model", "other", "--out", "m", "--mask", "mask.safetensors"],
            "mask of another model: same arch",
        ),
        (
            ["unlearn", "--model", "vanilla", "--out", "m", "--mask", "data/questions.jsonl"],
            "mask data/questions.jsonl: c",
        ),
        (["evaluate", "--out", "nowhere"], "nowhere: no evaluated items there"),
        (["evaluate", "--model", "vanilla", "--out", "m", "--data.forget_entities", "zoe"], "zoe"),
    ],
)
def test_an_error_is_one_line_and_leaves_no_file(
    work: Path, mask: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = sorted(work.rglob("*"))
    data = (
        [*DATA, "--data.root", "data"]
        if "--data.forget_entities" not in arguments
        else [*DATA[:2], "--data.root", "data"]
    )
    assert run(work, *arguments, *(data if "nowhere" not in arguments else [])) == 2
    output = capsys.readouterr().err
    assert output.count("error: ") == 1
    assert message in output
    assert sorted(work.rglob("*")) == before


def test_an_interrupted_step_is_resumed_by_the_same_command(
    work: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those of a step that was not interrupted."""
    options = [
        "--model",
        "vanilla",
        "--method",
        "ga_diff",
        *DATA,
        "--data.root",
        "data",
        *BUDGET,
        "--train.save_every",
        "1",
    ]
    assert run(work, "unlearn", *options, "--out", "whole") == 0

    def interrupt(*what: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mmunlearner.core.progress.ProgressBar.report", interrupt)
        assert run(work, "unlearn", *options, "--out", "halves") == 130
    assert len(hidden(work)) == 1
    assert run(work, "unlearn", *options, "--out", "halves") == 0
    assert hidden(work) == []
    assert (work / "halves" / "model.safetensors").read_bytes() == (work / "whole" / "model.safetensors").read_bytes()
