"""What is written beside a run: whole or not at all, the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from support.fabricated import COLUMNS, MODELS, make_run
from support.tiny import llava, picture

from mmunlearner.errors import ConfigError, DataError
from mmunlearner.evaluate.rules import RULES
from mmunlearner.models import save
from mmunlearner.report import load, means_markdown, write
from mmunlearner.report.card import hub_id, model_card
from mmunlearner.report.criteria import gap
from mmunlearner.report.means import pool
from mmunlearner.report.results import Model, Results
from mmunlearner.report.template import percent, points
from mmunlearner.report.write import summary
from mmunlearner.run.side_by_side import ask, inquiries

FEW = ("vanilla", "oracle", "kl_min", "mmunlearner_vision", "mmunlearner_both", "random_mask")


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "demo", count=20, only=FEW)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report, for tests that only read it."""
    run_dir = make_run(tmp_path_factory.mktemp("written") / "demo", count=20, only=FEW)
    write(run_dir)
    return run_dir


# --- files ----------------------------------------------------------------------------------------------------------


def test_write_leaves_all_files_and_nothing_else(run_dir: Path) -> None:
    before = contents(run_dir)
    assert write(run_dir) == run_dir / "report.html"
    after = contents(run_dir)
    new = {"report.html", "report.md", "table.tex", "summary.json"} | {f"models/{name}/README.md" for name in FEW}
    names = {f"column-{column}" for column in COLUMNS} | {f"loss-{path.stem}" for path in run_dir.glob("logs/*")}
    names |= {"tradeoff", "cost"} | {f"saliency-{path.stem}" for path in run_dir.glob("masks/*.json")}
    assert set(after) - set(before) == new | {f"plots/{name}.{form}" for name in names for form in ("svg", "png")}
    # The page lists each of them.
    assert set(re.findall(r"<code>(plots/[^<]+)</code>", (run_dir / "report.html").read_text())) == {
        name for name in after if name.startswith("plots/")
    }
    assert {name: after[name] for name in before} == before


def test_writing_again_gives_the_same_bytes(run_dir: Path) -> None:
    write(run_dir)
    first = contents(run_dir)
    write(run_dir)
    assert contents(run_dir) == first


def test_a_model_without_a_directory_gets_no_card(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "demo", count=20, only=FEW, beside=False)
    write(run_dir)
    assert not (run_dir / "models").exists()


def test_a_broken_run_writes_nothing(run_dir: Path) -> None:
    (run_dir / "logs" / "kl_min.jsonl").write_text("1\n")
    before = contents(run_dir)
    with pytest.raises(DataError, match=r"kl_min\.jsonl, line 1"):
        write(run_dir)
    assert contents(run_dir) == before


def test_markdown_report_tells_what_the_page_tells(written: Path) -> None:
    text = (written / "report.md").read_text()
    assert text.startswith("# ")
    results = next(section for section in text.split("\n## ") if section.startswith("Results"))
    assert results.count("\n| ") == len(FEW) + 3  # with the heads and the last row
    assert "**Memorisation gate**" in text
    assert "What saliency adds to a random mask" in text


def test_the_report_says_by_which_rules_answers_are_scored(run_dir: Path) -> None:
    path = run_dir / "results.json"
    content = json.loads(path.read_text())
    for scoring in (None, "package", "released"):
        path.write_text(json.dumps(content | ({"scoring": scoring} if scoring else {})))
        write(run_dir)
        for name in ("report.md", "report.html"):
            text = (run_dir / name).read_text()
            named = [rules for rules in RULES if f"(evaluate.scoring: {rules})" in text]
            assert named == ([scoring] if scoring else [])


# --- summary --------------------------------------------------------------------------------------------------------


def test_harmonic_means_are_told_of_a_benchmark_that_has_some(run_dir: Path) -> None:
    write(run_dir)
    assert "Harmonic means" not in (run_dir / "report.md").read_text()
    results = json.loads((run_dir / "results.json").read_text())
    results["models"][0]["summary"] = {"real": 0.5, "retain": 0.25, "forget": 0.125, "ks_p": 1.8e-21}
    (run_dir / "results.json").write_text(json.dumps(results))
    write(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "| Model | Real | Retain | Forget ↓ | KS p | 1 − JS |" in text
    assert "| Vanilla | 0.5 | 0.25 | 0.125 | 1.8e-21 | – |" in text


def test_lmms_eval_s_scores_are_told_of_the_models_that_have_some(run_dir: Path) -> None:
    results = json.loads((run_dir / "results.json").read_text())
    results["models"][0]["lmms"] = {"pope": {"pope_accuracy": {"value": 0.8667, "stderr": 0.004, "n": 500}}}
    results["models"][1]["lmms"] = {"mme": {"mme_perception_score": {"value": 1510.7, "stderr": 0.0, "n": 0}}}
    (run_dir / "results.json").write_text(json.dumps(results))
    write(run_dir)
    text = (run_dir / "report.md").read_text()
    assert "| Task | Metric | Vanilla | Retain oracle |\n| --- | --- | ---: | ---: |\n" in text
    assert "| pope | pope\\_accuracy | 0.8667 ± 0.004 | – |\n" in text
    assert "| mme | mme\\_perception\\_score | – | 1511 |\n" in text


def test_summary_has_the_layout_that_scripts_rely_on(written: Path) -> None:
    content = json.loads((written / "summary.json").read_text())
    assert set(content) == {"models", "seconds", "peak_memory_bytes"}
    assert set(content["models"]) == {*FEW, "mmunlearner"}
    for columns in content["models"].values():
        assert set(columns) == set(COLUMNS)
        for score in columns.values():
            assert set(score) == {"value", "stderr", "n"}
            assert 0 <= score["value"] <= 1
            assert score["n"] > 0
    assert content["models"]["mmunlearner"] == content["models"]["mmunlearner_vision"]


def test_a_shared_mask_is_paid_for_once(written: Path) -> None:
    content = summary(load(written).results)
    assert {key for key in content["seconds"] if key.startswith("mask/")} == {
        "mask/vision-projector",
        "mask/vision-projector-random",
        "mask/vision-projector-language",
    }
    assert set(content["peak_memory_bytes"]) == set(content["seconds"])
    assert "evaluate/vanilla" in content["seconds"]
    assert "unlearn/kl_min" in content["seconds"]


def test_a_model_that_bears_its_familys_name_keeps_it(tmp_path: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["models"][2]["family"] = "kl_min"
        raw["models"][3].update(family="kl_min", chosen=True)

    results = load(make_run(tmp_path / "demo", count=20, only=FEW, beside=False, change=change)).results
    models = summary(results)["models"]
    assert models["kl_min"] == {
        name: score._asdict() for name in COLUMNS if (score := results.models[2].score(name)) is not None
    }


# --- model card -----------------------------------------------------------------------------------------------------


def test_card_carries_the_scores_in_text_and_metadata(written: Path) -> None:
    run = load(written)
    for model in run.results.models:
        text = (written / "models" / model.name / "README.md").read_text()
        card = ModelCard(text)
        assert card.data.library_name == "transformers"
        values = {result.dataset_config: result.metric_value for result in card.data.eval_results}
        assert values == {
            column: round(score.value, 4) for column in COLUMNS if (score := model.score(column)) is not None
        }
        for column in COLUMNS:
            score = model.score(column)
            assert score is not None
            assert f"| {percent(score.value)} ± {percent(score.stderr)} |" in text


@pytest.mark.slow
@pytest.mark.core
def test_the_use_that_a_card_describes_answers_as_the_package_does(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load(written)
    card = str(model_card(run.results, run.results.models[0]))
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    save(llava("Who is this ? ann ben"), tmp_path)
    picture(3).open().save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "card", "exec"), {})  # the code of the card, as a reader would run it
    said = capsys.readouterr().out
    ((reply,),) = ask(["."], inquiries(["Who is this?"], [Path("picture.png")]))
    assert said.strip() == reply.answer.strip()
    assert said.strip()


def test_only_the_main_models_card_tells_the_findings(written: Path) -> None:
    run = load(written)
    names = [model.name for model in run.results.models if "## Findings" in str(model_card(run.results, model))]
    assert names == ["mmunlearner_vision"]


def test_card_says_when_nothing_can_be_claimed(tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "demo", count=20, only=FEW, gate=False, beside=False))
    assert all("Nothing can be claimed" in str(model_card(run.results, model)) for model in run.results.models)


def test_card_of_a_lone_model_with_any_title_has_valid_metadata(tmp_path: Path) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["models"][0]["title"] = raw["name"] = raw["benchmark"] = 'a: "b"\n---\n# c | <b>'

    run = load(make_run(tmp_path / "demo", count=20, only=("kl_min",), change=change))
    text = str(model_card(run.results, run.results.models[0]))
    assert (
        yaml.safe_load(text.split("\n---\n", maxsplit=1)[0].removeprefix("---\n"))["pipeline_tag"]
        == "image-text-to-text"
    )
    assert "<b>" not in text.split("## ", 1)[1].replace("\\<b>", "")


@pytest.mark.parametrize(
    ("vanilla", "hub_name"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf"),
        ("", None),
        ("/models/llava", None),
        ("runs/demo", None),
        ("./a/b", None),
    ],
)
def test_hub_id_is_no_path(vanilla: str, hub_name: str | None) -> None:
    assert hub_id({"config": {"model": {"vanilla": vanilla}}}) == hub_name
    assert hub_id({"config": None}) is None


# --- several runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("seeds")

    def both(raw: dict[str, Any]) -> None:
        for model in raw["models"]:
            model["chosen"] = model["name"] == "mmunlearner_both"

    runs = [make_run(out / str(seed), count=20, seed=seed, only=FEW, beside=False) for seed in (0, 1)]
    return [*runs, make_run(out / "2", count=20, seed=2, only=FEW[:-1], beside=False, change=both)]


def model_of(results: Results, name: str) -> Model:
    return next(model for model in results.models if model.name == name)


def test_runs_are_pooled_to_mean_and_spread(seeds: list[Path]) -> None:
    pooled, runs = pool(seeds), [load(run_dir).results for run_dir in seeds]
    for column in pooled.columns:
        values = [run.models[2].scores[column.name]["accuracy"].value for run in runs]
        mean = sum(values) / 3
        model = model_of(pooled, "kl_min")
        score, off = model.score(column.name), gap(pooled, model, column)
        assert score is not None
        assert off is not None
        assert score.value == pytest.approx(mean)
        assert score.stderr == pytest.approx((sum((value - mean) ** 2 for value in values) / 2) ** 0.5)
        assert score.n == 3
        setter = 0 if column.good == "kept" else 1
        level = sum(run.models[setter].scores[column.name]["accuracy"].value for run in runs) / 3
        assert points(off.value) == points(mean - level)


def test_the_chosen_variant_of_each_run_forms_one_row(seeds: list[Path]) -> None:
    pooled = pool(seeds)
    model = model_of(pooled, "mmunlearner")
    assert model.title == "mmunlearner, as chosen (MMUnlearner, vision 2×, MMUnlearner, both 1×)"
    assert [model.name for model in pooled.models if model.chosen] == ["mmunlearner"]
    picked = ["mmunlearner_vision", "mmunlearner_vision", "mmunlearner_both"]
    values = [
        model_of(load(run_dir).results, name).scores["general"]["accuracy"].value
        for run_dir, name in zip(seeds, picked, strict=True)
    ]
    assert model.scores["general"]["accuracy"].value == pytest.approx(sum(values) / 3)


def test_a_model_of_some_runs_says_of_how_many(seeds: list[Path]) -> None:
    text = means_markdown(seeds)
    assert "Random mask, vision (2 of 3 runs)" in text
    assert "standard deviation over 3 runs" in text


def test_unlike_runs_are_not_compared(tmp_path: Path, seeds: list[Path]) -> None:
    full = make_run(tmp_path / "full", count=20, goal="full", only=FEW, beside=False)
    with pytest.raises(ConfigError, match=r"goal of .* is 'full'.*compare like with like"):
        means_markdown([seeds[0], full])
    other = make_run(tmp_path / "other", count=20, only=FEW, beside=False)
    content = json.loads((other / "results.json").read_text())
    (other / "results.json").write_text(json.dumps(content | {"scoring": "released"}))
    with pytest.raises(ConfigError, match=r"scoring of .* is 'released'"):
        means_markdown([seeds[0], other])
    with pytest.raises(ConfigError, match="1 run given; name at least two"):
        means_markdown(seeds[:1])


def test_every_role_was_fabricated() -> None:
    assert {role for _, role, *_ in MODELS.values()} == {"vanilla", "oracle", "baseline", "method", "control"}
