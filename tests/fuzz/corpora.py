"""The readers of the package: a small whole file of each kind, and the call that reads it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
from PIL import Image
from rich.console import Console
from support import fabricated, layouts, miniature
from support.tiny import VOCABULARY, examples, llava

from fuzz.reader import Reader
from mmunlearner import data, models, report, saliency
from mmunlearner.batches import Encoder, check_fit
from mmunlearner.cli import tables
from mmunlearner.config import DataConfig, EvaluateConfig, MaskConfig
from mmunlearner.core.files import repair_jsonl, write_json, write_jsonl, write_tensors
from mmunlearner.core.recipes import load_config, parse_text, to_yaml
from mmunlearner.data import Example, ImageRef, Splits
from mmunlearner.data.benchmarks import rows
from mmunlearner.data.collection import entities, wording
from mmunlearner.data.decoding import FORMATS
from mmunlearner.data.prompts import item_fields, prompt, target
from mmunlearner.data.tables import write_parquet
from mmunlearner.errors import DataError
from mmunlearner.evaluate import judge, lmms, scores
from mmunlearner.evaluate.answer import quick_scores
from mmunlearner.report import markdown
from mmunlearner.report.table import latex, table
from mmunlearner.report.write import summary
from mmunlearner.run import checks
from mmunlearner.run.collect import collect
from mmunlearner.run.inputs import record_inputs
from mmunlearner.run.run import run
from mmunlearner.run.run_dir import find_run, record_config
from mmunlearner.saliency.fisher import load_fisher
from mmunlearner.saliency.mask import FORMAT

FEW = ("Person A", "Person B", "Person C")


# --- data -----------------------------------------------------------------------------------------------------------


def use(splits: Splits) -> None:
    """Do with loaded data what a run does with them: prompts, fields of saved answers, decoded pictures."""
    for name, items in splits.sets.items():
        for item in items:
            json.dumps(item_fields(item, name)).encode()
            for image in (prompt(item), target(item)) and item.images:
                image.open()


def dataset(name: str, make: Callable[[Path], list[Path]], *, share: float = 1, **options: Any) -> Reader:
    return Reader(name, make, lambda root, _: use(data.load(DataConfig(root=str(root), **options))), share)


ROWS: list[dict[str, Any]] = [
    {"entity": who, "image": image, "question": f"What is {who[-1]} ({split})?", "answer": "a baker", "split": split}
    | ({"choices": ["a baker", "a pilot"]} if split == "eval" else {"perturbed": ["a pilot"], "paraphrase": "baker"})
    for who in FEW
    for split in ("train", "eval", "test")
    for image in ("images/a.png" if who == FEW[0] else "images/b.png", None)
]


def _images(root: Path) -> None:
    (root / "images").mkdir()
    for number, name in enumerate("ab"):
        (root / "images" / f"{name}.png").write_bytes(layouts.png(number))


def rows_jsonl(root: Path) -> list[Path]:
    _images(root)
    return [write_jsonl(root / "questions.jsonl", ROWS)]


def rows_json(root: Path) -> list[Path]:
    _images(root)
    return [write_json(root / "questions.json", ROWS)]


def _grid() -> list[list[Any]]:
    names = list(ROWS[0] | ROWS[2])
    return [names, *([json.dumps(v) if isinstance(v := row.get(n), list) else v for n in names] for row in ROWS)]


def rows_csv(root: Path) -> list[Path]:
    _images(root)
    with (root / "questions.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(_grid())
    return [root / "questions.csv"]


def rows_excel(root: Path) -> list[Path]:
    _images(root)
    book = openpyxl.Workbook()
    for row in _grid():
        book.worksheets[0].append(row)
    book.save(root / "questions.xlsx")
    return [root / "questions.xlsx"]


def rows_parquet(root: Path) -> list[Path]:
    images = {f"images/{name}.png": layouts.png(number) for number, name in enumerate("ab")}
    content = [{**row, "image": images[row["image"]] if row["image"] else None} for row in ROWS]
    return [write_parquet(root / "questions.parquet", rows.Row, content)]


def _examples() -> dict[str, list[Example]]:
    def about(who: str, number: int, *, image: bool) -> Example:
        images = (ImageRef.from_image(Image.new("RGB", (8, 8), (40 * number, 90, 0)), "x.png"),) if image else ()
        return Example(f"{who} {image}", who, f"What is {'shown' if image else who}?", "a baker", images)

    vqa, qa = ([about(who, n, image=image) for n, who in enumerate(FEW)] for image in (True, False))
    columns = {"forget_vqa": vqa[:1], "retain_vqa": vqa[1:], "forget_qa": qa[:1], "retain_qa": qa[1:]}
    return {"forget": vqa[:1], "retain": vqa[1:], "text": qa, **columns}


def conversations(root: Path) -> list[Path]:
    root.rmdir()
    return sorted(layouts.write_conversations(root, _examples()).glob("*.json"))


def chat(root: Path) -> list[Path]:
    root.rmdir()
    return sorted(layouts.write_chat(root, _examples()).glob("*.json"))


def mllmu(root: Path) -> list[Path]:
    return sorted(layouts.mllmu(root, people=3, share=25).rglob("*.parquet"))


def umu(root: Path) -> list[Path]:
    for split, numbers in {"full_data": range(3), "forget_15": [0], "retain_85": [1, 2]}.items():
        layouts.write_umu(root, split, [layouts.umu_person(n) for n in numbers])
    return sorted(root.rglob("*.parquet"))


def clear(root: Path) -> list[Path]:
    splits = {
        "full": [layouts.picture_of(n) for n in range(3)],
        "full+tofu": layouts.mixed([0, 1, 2]),
        "forget05": [layouts.picture_of(0)],
        "forget05+tofu": layouts.mixed([0]),
        "forget05_perturbed": [layouts.perturbed_picture(0)],
        "retain95": [layouts.picture_of(n) for n in (1, 2)],
        "retain95+tofu": layouts.mixed([1, 2]),
        "retain_perturbed": [layouts.perturbed_picture(1)],
    }
    for split, content in splits.items():
        layouts.write_clear(root, split, content)
    return sorted(root.rglob("*.parquet"))


def fiubench(root: Path) -> list[Path]:
    people = [layouts.identity(n) for n in range(3)]
    layouts.write_fiubench(root, people, {"forget5": ["000000"], "retain95": ["000001", "000002"]})
    return [root / "full.json", root / "split.json"]


def flags(root: Path) -> list[Path]:
    """Three countries with flags of noise, which look like no other's."""
    countries = []
    for number, (code, name) in enumerate((("np", "Nepal"), ("ca", "Canada"), ("fr", "France"))):
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        for view in ("icon", "flat", "waving"):
            (root / view).mkdir(exist_ok=True)
            Image.fromarray(noise).save(root / view / f"{code}.png")
        countries.append(
            {"code": code, "name": name, "capital": [f"C{number}"], "region": f"R{number}", "subregion": f"S{number}",
             "languages": [f"L{number}"], "currencies": [f"M{number}"], "un_member": True, "area_km2": 10.0 ** number}
        )  # fmt: skip
    return [write_json(root / "facts.json", countries)]


# --- init -----------------------------------------------------------------------------------------------------------


def facts(root: Path) -> list[Path]:
    for number, name in enumerate(FEW):
        (root / "photos" / name).mkdir(parents=True)
        (root / "photos" / name / "1.png").write_bytes(layouts.png(number))
    table = root / "facts.csv"
    table.write_text("name;Town;born\n" + "".join(f"{name};Town {n};19{n}0\n" for n, name in enumerate(FEW)))
    return [table]


ATTRIBUTES = ("Town", "born")


def wordings(root: Path) -> list[Path]:
    path = root / "wording.yaml"
    path.write_text(wording.wording_text(wording.default_wording(ATTRIBUTES, "person")))
    return [path]


# --- pictures -------------------------------------------------------------------------------------------------------

MODES = ("RGB", "L", "RGBA", "P", "I;16", "1", "LA", "CMYK", "F")


def pictures(root: Path) -> list[Path]:
    files = []
    for kind in FORMATS:
        for mode in MODES:
            image = Image.effect_noise((24, 16), 60).convert("RGB").convert(mode.replace("I;16", "L"))
            path = root / f"{kind}-{mode.replace(';', '')}.{kind.lower()}"
            try:
                (image if mode != "I;16" else image.convert("I;16")).save(path, kind)
            except (OSError, KeyError, ValueError):  # a format that has no such mode, or is not in this Pillow
                path.unlink(missing_ok=True)
            else:
                files.append(path)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    Image.new("RGB", (24, 16), "red").save(root / "phone.jpeg", "JPEG", exif=exif)
    Image.new("P", (24, 16)).save(root / "interlaced.gif", "GIF", transparency=0, save_all=True, duration=5)
    Image.effect_noise((24, 16), 60).save(root / "tiles.tiff", "TIFF", compression="tiff_lzw")
    return [*files, root / "phone.jpeg", root / "interlaced.gif", root / "tiles.tiff"]


def read_picture(_: Path, changed: Path) -> None:
    """What the check has accepted must never fail later."""
    image = ImageRef(str(changed))
    if problem := image.problem():
        raise DataError(problem)
    opened = image.open()
    if opened.size != image.size or opened.mode != "RGB" or not all(opened.size):
        raise AssertionError(f"{changed}: {opened.size} {opened.mode}, but {image.size}")


# --- recipes --------------------------------------------------------------------------------------------------------

RECIPE = """\
extends: base.yaml
name: mine
seed: 1
data: {format: rows, root: ., forget_entities: [a, "b, c"]}
model: {vanilla: "people:vanilla", oracle: "people:oracle"}
train: &budget {steps: 10, learning_rate: 1e-4, batch_size: 2}
methods:
  ours:
    method: mmunlearner
    mask: {parts: [vision, projector], density: 0.4}
    options: {anchor: 1, bound: 2}
    trials: [{learning_rate: 1e-4}, {learning_rate: 2e-4}]
  theirs: {method: ga_diff, role: baseline, train: {<<: *budget, steps: 5}}
"""
BASE = """\
name: base
goal: visual
bounds: {general: 5}
evaluate: {max_new_tokens: 8, limit: 300}
finetune: {steps: 3, lora: {rank: 4, alpha: 4}}
"""


def recipes(root: Path) -> list[Path]:
    (root / "recipe.yaml").write_text(RECIPE)
    (root / "base.yaml").write_text(BASE)
    return [root / "recipe.yaml", root / "base.yaml"]


def read_recipe(root: Path, _: Path) -> None:
    config = checks.check(load_config(root / "recipe.yaml"), installed=False)
    if load_config(_written(root / "again.yaml", to_yaml(config))) != config:
        raise AssertionError("the recipe is another one when it is written and read again")


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def flag(root: Path) -> list[Path]:
    (root / "trials.yaml").write_text("[{learning_rate: 1e-4}, {steps: 3, learning_rate: 2e-4}]")
    recipes(root)
    return [root / "trials.yaml"]


def read_flag(root: Path, changed: Path) -> None:
    # As Python decodes a command line.
    content = changed.read_bytes() if changed.is_file() else b""
    text = content.decode("utf-8", "surrogateescape").replace("\0", "")
    parse_text(text)
    checks.check(load_config(root / "recipe.yaml", {"methods.ours.trials": text}), installed=False)


def records(root: Path) -> list[Path]:
    config = load_config(_written(root / "c.yaml", RECIPE.replace("extends: base.yaml\n", "")))
    return [_written(root / "config.yaml", to_yaml(config))]


def read_record(root: Path, _: Path) -> object:
    directory = find_run(root)
    return directory.references, directory.masks, directory.root


@cache
def _finished(folder: Path) -> Path:
    """A whole run of the miniature, made once for a folder beside the corpora."""
    config = miniature.recipe(folder, trials=2)
    methods = {name: config.methods[name] for name in ("npo", "vision")}
    run(replace(config, methods=methods, finetune=replace(config.finetune, steps=4)))
    return Path(config.out) / config.name


def run_records(root: Path) -> list[Path]:
    """A finished run, without the weights of its models: what `mmunlearner run` reads when it is called again."""
    weights = shutil.ignore_patterns("*.safetensors", "plots", "report.*", "gallery")
    shutil.copytree(_finished(root.parent), root, dirs_exist_ok=True, ignore=weights)
    # Without the recipe, which `recipe of a run` changes.
    folders = ("models/*/train.json", "masks/*.json", "evaluation/*/*.json*", "logs/*.jsonl")
    return [root / "data.json", *sorted(path for pattern in folders for path in root.glob(pattern))]


def read_run(root: Path, _: Path) -> None:
    """What comes of a finished run that is called again, without its page."""
    directory = find_run(root)
    record_config(directory)
    record_inputs(directory, complete=True)
    collect(directory)
    report.load(root)
    tables.trials(root)


# --- models ---------------------------------------------------------------------------------------------------------


@cache
def tiny() -> models.Loaded:
    return llava(VOCABULARY)


QUESTIONS = {"questions": [*examples(2, 1), *examples(2, 1, images=False)]}


CONFIGS = ("config.json", "generation_config.json")
PROCESSOR = ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def model_files(*names: str) -> Callable[[Path], list[Path]]:
    def make(root: Path) -> list[Path]:
        models.save(tiny(), root)
        return [root / name for name in names]

    return make


def shards(root: Path) -> list[Path]:
    models.save(tiny(), root)
    (root / "model.safetensors").unlink()
    tiny().model.save_pretrained(str(root), max_shard_size="50KB")
    return [root / "model.safetensors.index.json", next(iter(sorted(root.glob("model-*.safetensors"))))]


def adapter(root: Path) -> list[Path]:
    import peft

    base = models.save(tiny(), root / "base")
    adapted = peft.get_peft_model(models.load(base, device="cpu").model, peft.LoraConfig(r=2, target_modules=["fc1"]))
    adapted.peft_config["default"].base_model_name_or_path = str(base)  # pyright: ignore[reportArgumentType]
    adapted.save_pretrained(str(root / "adapter"))
    return [root / "adapter" / "adapter_config.json", root / "adapter" / "adapter_model.safetensors"]


def read_skeleton(root: Path, _: Path) -> None:
    check_fit(Encoder(models.load_skeleton(root)), QUESTIONS)


def ask_model(root: Path, _: Path) -> None:
    """What was checked can be asked: no file that was accepted fails in the forward pass."""
    loaded = models.load(root, device="cpu")
    check_fit(Encoder(loaded), QUESTIONS)
    quick_scores(loaded, {"forget_vqa": QUESTIONS["questions"][:6]}, config=EvaluateConfig(max_new_tokens=2))


def read_model(root: Path, _: Path) -> None:
    models.end_token_ids(models.load(root, device="cpu"))


# --- masks ----------------------------------------------------------------------------------------------------------


def masks(root: Path) -> list[Path]:
    """A mask, and one without a checksum as earlier versions wrote it: changes reach the checks behind it."""
    from safetensors.torch import save

    pictures = examples(3, 1)
    splits = Splits(tuple(pictures[:1]), tuple(pictures[1:]), tuple(examples(3, 1, images=False)), {})
    mask = saliency.compute(Encoder(tiny()), splits, MaskConfig(parts=("projector",)))
    mask.save(root / "mask.safetensors")
    info = {**mask.info, "shapes": {name: list(shape) for name, shape in mask.shapes.items()}}
    old = save(dict(mask.bits), metadata={FORMAT: json.dumps(info)})
    (root / "old.safetensors").write_bytes(old)
    return [root / "mask.safetensors", root / "old.safetensors"]


def read_mask(_: Path, changed: Path) -> object:
    mask = saliency.load(changed)
    mask.check(tiny().model)
    return mask.warning, mask.config, [mask.of(name).sum() for name in mask.bits]


def squares(root: Path) -> list[Path]:
    import torch

    info = {"units": 3, "cost": {"seconds": 1.5, "peak_memory_bytes": 100}}
    return [write_tensors(root / "s.safetensors", {"a": torch.rand(3, 4)}, {"mmunlearner-squares-1": json.dumps(info)})]


def read_squares(_: Path, changed: Path) -> object:
    fisher = load_fisher(changed)
    return [fisher.squares[name].sum() / max(1, fisher.units) for name in fisher.squares]


# --- results --------------------------------------------------------------------------------------------------------


def results(root: Path) -> list[Path]:
    fabricated.make_run(root, count=8, only=("vanilla", "oracle", "ga_diff", "mmunlearner_vision"))
    return [root / "results.json"] * 3 + sorted([*root.glob("masks/*.json"), *root.glob("logs/*.jsonl")])


def earlier_results(root: Path) -> list[Path]:
    """A run of an earlier version: differences are computed from its saved answers."""
    fabricated.make_run(
        root, count=8, only=("vanilla", "oracle", "ga_diff"), change=lambda content: content.pop("forget_entities")
    )
    return [root / "results.json", *sorted(root.glob("evaluation/*/*_vqa.jsonl"))]


def read_results(root: Path, _: Path) -> None:
    content = report.load(root).results
    report.print_report(content, Console(file=io.StringIO(), width=80))
    json.dumps(summary(content), allow_nan=False)
    markdown.report(content)
    latex(table(content))


ANSWERS = "forget_vqa"


def answers(root: Path) -> list[Path]:
    lines = fabricated.lines_of("vanilla", 8, 0)[ANSWERS]
    judgements = [{"id": line["id"], "judge": "j", "asked": "0f", "score": 7, "said": "7"} for line in lines]
    return [
        write_jsonl(root / f"{ANSWERS}.jsonl", lines),
        write_jsonl(root / judge.JUDGE / f"{ANSWERS}.jsonl", judgements),
    ]


def read_answers(root: Path, _: Path) -> None:
    for rules in ("package", "released"):
        scores.rescore(root, rules)
    judge.unscored(root)
    [lines] = scores.read_columns(root).values()
    oracle = fabricated.lines_of("oracle", 8, 0)[ANSWERS]
    scores.memorisation_gate(lines, oracle)
    scores.distance_to_oracle(lines, oracle)
    for line in lines:
        judge.request_body(line, "judge")


def reply(root: Path) -> list[Path]:
    content = {"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Score: 8/10"}}]}
    return [write_json(root / "reply.json", content)]


def read_reply(_: Path, changed: Path) -> None:
    if changed.is_file():
        judge.score_in(judge._content(changed.read_bytes(), "http://localhost"))


LMMS = {
    "results": {
        "pope": {"alias": "pope", "pope_accuracy,none": 0.8667, "pope_accuracy_stderr,none": "N/A", "submission": None},
        "ai2d": {"exact_match,flexible": 0.55, "exact_match_stderr,flexible": 0.009, "exact_match_stderr_clt": 0.01},
    },
    "n-samples": {"pope": {"original": 9, "effective": 9}},
}


def lmms_results(root: Path) -> list[Path]:
    return [write_json(root / "20261125_results.json", LMMS)]


def lmms_scores(root: Path) -> list[Path]:
    (root / "config.json").write_text('{"model_type": "llava"}')
    columns = scores.ModelScores({"pope": {"accuracy": scores.Score(0.5, 0.1, 9)}}).to_json()["columns"]
    content = {"inputs": {"model": str(root.resolve()), "limit": 0}, "asked": ["pope"], "columns": columns}
    return [write_json(root / lmms.FILE, content)]


def step_log(root: Path) -> list[Path]:
    return [write_jsonl(root / "log.jsonl", fabricated.log("ga", 0, 5))]


READERS: Mapping[str, Reader] = {
    reader.name: reader
    for reader in (
        dataset("rows in JSONL", rows_jsonl, format="rows", forget_entities=FEW[:1]),
        dataset("rows in JSON", rows_json, format="rows", forget_entities=FEW[:1]),
        dataset("rows in CSV", rows_csv, format="rows", forget_entities=FEW[:1]),
        dataset("rows in Excel", rows_excel, format="rows", forget_entities=FEW[:1]),
        dataset("rows in parquet", rows_parquet, format="rows", forget_entities=FEW[:1]),
        dataset("conversations", conversations, format="conversations"),
        dataset("chat", chat, format="chat"),
        dataset("mllmu", mllmu, format="mllmu", forget=25),
        dataset("umu", umu, format="umu", forget=15),
        dataset("clear", clear, format="clear", forget=5),
        dataset("fiubench", fiubench, format="fiubench", forget=5),
        dataset("flags", flags, format="flags", forget_entities=("Nepal",), share=0.05),
        Reader("table of facts", facts, lambda root, _: entities.read_collection(root)),
        Reader("wordings", wordings, lambda _, changed: wording.read_wording(changed, ATTRIBUTES)),
        Reader("pictures", pictures, read_picture),
        Reader("recipe", recipes, read_recipe),
        Reader("flag of a command", flag, read_flag),
        Reader("recipe of a run", records, read_record),
        Reader("records of a run", run_records, read_run, share=0.2),
        Reader("config of a model", model_files(*CONFIGS), read_skeleton),
        Reader("processor and tokenizer", model_files(*PROCESSOR), read_skeleton),
        Reader("model that is asked", model_files(*CONFIGS, *PROCESSOR), ask_model, share=0.5),
        Reader("weights", model_files("model.safetensors"), read_model),
        Reader("weights in shards", shards, read_skeleton),
        Reader("adapter", adapter, lambda root, _: models.load(root / "adapter", device="cpu")),
        Reader("mask", masks, read_mask),
        Reader("squared gradients", squares, read_squares),
        Reader("results of a run", results, read_results),
        Reader("report of a run", results, lambda root, _: report.write(root), share=0.03),
        Reader("results of an earlier version", earlier_results, read_results),
        Reader("saved answers", answers, read_answers),
        Reader("reply of a judge", reply, read_reply),
        Reader("results of lmms-eval", lmms_results, lambda _, changed: lmms.parse(changed)),
        Reader("scores of lmms-eval", lmms_scores, lambda root, _: lmms.evaluate_lmms(root, ["pope"], root)),
        Reader("log of steps", step_log, lambda _, changed: repair_jsonl(changed)),
    )
}
"""Name -> reader."""
