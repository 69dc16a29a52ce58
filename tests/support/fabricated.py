"""A fabricated run directory: everything a finished run leaves, with scores that follow from its own items."""

from __future__ import annotations

import copy
import math
import random
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mmunlearner.core.files import write_json, write_jsonl
from mmunlearner.evaluate.scores import ItemScores, differences, distance_to_oracle, item_scores, score_lines

CHANCE = 0.125
COLUMNS = {
    "forget_vqa": ("Forget VQA", "oracle"),
    "forget_vqa_test": ("Forget VQA (unseen)", "oracle"),
    "forget_qa": ("Forget QA", "kept"),
    "forget_qa_test": ("Forget QA (unseen)", "kept"),
    "retain_vqa": ("Retain VQA", "kept"),
    "retain_vqa_test": ("Retain VQA (unseen)", "kept"),
    "retain_qa": ("Retain QA", "kept"),
    "retain_qa_test": ("Retain QA (unseen)", "kept"),
    "neighbour_vqa": ("Neighbour VQA", "kept"),
    "neighbour_qa": ("Neighbour QA", "kept"),
    "general": ("General", "kept"),
}
ATTRIBUTES = {
    "occupation": ["baker", "pilot", "painter", "nurse", "lawyer", "farmer", "chemist", "actor"],
    "city": ["Lisbon", "Oslo", "Quito", "Kyoto", "Cairo", "Perth", "Riga", "Lima"],
    "hobby": ["chess", "sailing", "pottery", "archery", "cooking", "hiking", "origami", "fencing"],
}
FREE = {
    "all": "everything, by both terms",
    "language": "the rest of language, by the retain term",
    "vision": "the rest of vision, projector, by the retain term",
    "both": "the rest of vision, projector, language, by the retain term",
}
# name: title, role, method, free, mask part, chance of a right answer per column (in COLUMNS' order)
MODELS: dict[str, tuple[str, str, str, str, str, list[float]]] = {
    "vanilla": ("Vanilla", "vanilla", "", "", "", [1, 0.985, 1, 1, 1, 0.97, 1, 1, 0.985, 1, 0.94]),
    "oracle": ("Retain oracle", "oracle", "", "", "", [0.09, 0.08, 1, 1, 1, 0.97, 1, 0.99, 0.99, 1, 0.94]),
    "ga": ("GA", "baseline", "ga", "all", "", [0.47, 0.44, 0.97, 0.96, 0.85, 0.81, 1, 1, 0.86, 1, 0.68]),
    "npo": ("NPO", "baseline", "npo", "all", "", [0.48, 0.45, 0.97, 0.96, 0.86, 0.82, 1, 1, 0.87, 1, 0.68]),
    "ga_diff": ("GA_Diff", "baseline", "ga_diff", "all", "", [0.18, 0.15, 0.93, 0.9, 0.9, 0.88, 1, 1, 0.89, 1, 0.64]),
    "kl_min": (
        "KL_Min", "baseline", "kl_min", "all", "",
        [0.08, 0.07, 0.86, 0.84, 0.94, 0.92, 0.99, 1, 0.86, 0.98, 0.67],
    ),
    "mmunlearner_language": (
        "MMUnlearner, language", "method", "mmunlearner", "language", "language",
        [0.24, 0.23, 0.54, 0.5, 0.96, 0.95, 0.98, 0.97, 0.83, 0.97, 0.65],
    ),
    "mmunlearner_vision": (
        "MMUnlearner, vision", "method", "mmunlearner", "vision", "vision",
        [0.07, 0.07, 1, 1, 0.99, 0.96, 1, 1, 0.93, 1, 0.78],
    ),
    "mmunlearner_both": (
        "MMUnlearner, both", "method", "mmunlearner", "both", "both",
        [0.11, 0.11, 0.83, 0.8, 0.95, 0.94, 0.99, 0.98, 0.77, 0.97, 0.6],
    ),
    "ga_diff_clipped": (
        "GA_Diff, clipped", "control", "ga_diff", "all", "",
        [0.12, 0.09, 0.91, 0.9, 0.95, 0.94, 1, 1, 0.91, 0.99, 0.68],
    ),
    "random_mask": (
        "Random mask, vision", "control", "mmunlearner", "vision", "vision",
        [0.08, 0.07, 1, 1, 0.98, 0.955, 1, 1, 0.92, 1, 0.77],
    ),
}  # fmt: skip
MASKS = {
    name: "-".join(parts)
    for name, parts in (
        ("language", ["language"]),
        ("vision", ["vision", "projector"]),
        ("both", ["vision", "projector", "language"]),
    )
}
PARTS = {"language": ["language"], "vision": ["vision", "projector"], "both": ["vision", "projector", "language"]}


def random_stream(seed: int, *what: object) -> random.Random:
    """A stream of its own for each thing, the same in every process."""
    return random.Random(zlib.crc32(repr((seed, *what)).encode()))


def items(model: str, column: str, chance: float, count: int, seed: int) -> list[dict[str, Any]]:
    """Evaluated items; an item that is hard for one model is hard for all, so that pairing means something."""
    group = column.split("_", maxsplit=1)[0]
    lines = []
    for i in range(count):
        entity = f"{group}-{i % max(2, count // 10):02d}"
        hard = random_stream(seed, "hard", column, i).random()
        noise = random_stream(seed, "noise", model, column, i).random()
        right = (hard if noise < 0.8 else 5 * (noise - 0.8)) < chance
        lines.append(item(entity, column, i, right, seed))
    return lines


def item(entity: str, column: str, i: int, right: bool, seed: int) -> dict[str, Any]:
    attribute = sorted(ATTRIBUTES)[i % 3]
    values = ATTRIBUTES[attribute]
    task = ("multiple_choice", "cloze", "generation")[i % 3]
    truth = random_stream(0, entity, attribute).randrange(8)
    choice = truth if right else (truth + 1 + i % 7) % 8
    line: dict[str, Any] = {
        "id": f"{column}/{i}", "entity": entity, "column": column, "task": task, "attribute": attribute,
        "modality": "qa" if "_qa" in column else "vqa", "image": f"{entity}.png", "prompt": f"What is the {attribute}?",
        "target": "ABCDEFGH"[truth] if task == "multiple_choice" else values[truth], "answer": values[truth],
        "output": "ABCDEFGH"[choice] if task == "multiple_choice" else f"It is {values[choice]}.",
        "answer_logp": -0.05 - (0 if right else 3) - random_stream(seed, column, i).random(), "answer_tokens": 2,
        "perturbed_logps": [-4.0 - (0 if not right else 3), -5.0], "perturbed_tokens": [2, 2],
    }  # fmt: skip
    return line | ({"choices": values} if task == "multiple_choice" else {})


def face(path: Path, seed: int) -> None:
    rng = random_stream(seed, "face")
    skin = rng.choice([(241, 205, 175), (198, 145, 105), (130, 86, 60), (222, 178, 140)])
    hair = rng.choice([(50, 35, 25), (150, 90, 40), (210, 180, 90), (120, 120, 125)])
    image = Image.new("RGB", (64, 64), tuple(rng.randrange(120, 230) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    draw.ellipse((14, 10, 50, 48), fill=hair)
    draw.ellipse((17, 16, 47, 56), fill=skin)
    for x in (25, 36):
        draw.ellipse((x, 30, x + 4, 34), fill=(40, 40, 60))
    draw.arc((25, 36, 39, 48), 20, 160, fill=(150, 60, 60), width=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def log(name: str, seed: int, steps: int = 40) -> list[dict[str, Any]]:
    rng = random_stream(seed, "log", name)
    top, speed = 3 + 2 * rng.random(), 8 + 10 * rng.random()
    return [
        {
            "step": step,
            "forget": None if step % 3 else 0.05 + top * (1 - math.exp(-step / speed)) + 0.2 * rng.random(),
            "retain": 0.02 + 0.5 * math.exp(-(((step - 10) / 12) ** 2)) * rng.random(),
            "learning_rate": 1e-4 * (1 - step / steps), "grad_norm": 0.3 + rng.random(), "seconds": 0.1,
        }
        for step in range(1, steps + 1)
    ]  # fmt: skip


def mask(part: str, seed: int, *, even: bool = False) -> dict[str, Any]:
    layers = []
    for name in PARTS[part]:
        blocks = [f"{name}.linear_{i}" for i in (1, 2)]
        if name != "projector":
            matrices = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "mlp.up", "mlp.down")
            blocks = [f"{name}.layers.{i}.{matrix}" for i in range(3) for matrix in matrices]
        for i, layer in enumerate(blocks):
            rng = random_stream(seed, layer)
            forget = 1e-5 * math.exp(2 * rng.random() - i / 8)
            share = 0.49 if even else min(0.95, 0.35 + 0.4 * rng.random())
            layers.append(
                {"name": layer, "part": name, "candidates": 16384, "selected": int(16384 * share),
                 "saliency_forget": forget, "saliency_preserve": forget * (0.4 + 1.5 * rng.random())}
            )  # fmt: skip
    parts = {
        name: {key: sum(layer[key] for layer in layers if layer["part"] == name) for key in ("selected", "candidates")}
        for name in PARTS[part]
    }
    chosen, candidates = (sum(counts[key] for counts in parts.values()) for key in ("selected", "candidates"))
    density = chosen / candidates
    return {
        "beta": 1.0,
        "unit": "image",
        "random": even,
        "parts": PARTS[part],
        "density": density,
        "parts_density": parts,
        "layers": layers,
    }


def make_run(
    out: Path,
    *,
    seed: int = 0,
    count: int = 60,
    goal: str = "visual",
    only: tuple[str, ...] = tuple(MODELS),
    beside: bool = True,
    gate: bool = True,
    change: Callable[[dict[str, Any]], None] = lambda results: None,
) -> Path:
    """Write a run directory. `only`: the models it has; `beside=False`: results.json and nothing else."""
    columns = [
        {"name": name, "title": title, "good": "oracle" if goal == "full" and name.startswith("forget") else good,
         "chance": CHANCE, "n": count}
        for name, (title, good) in COLUMNS.items()
    ]  # fmt: skip
    lines = {name: lines_of(name, count, seed) for name in only}
    judged = sorted(
        {line["id"] for each in lines.values() for some in each.values() for line in some if is_judged(line)}
    )
    models = [copy.deepcopy(model_record(name, count, seed, "oracle" in only)) for name in only]
    for model in models:
        if model["role"] not in ("vanilla", "oracle"):
            others = [name for name in only if name not in (model["name"], "oracle")]
            model["differences"] = {name: gaps(model["name"], name, count, seed) for name in others}
    if not gate:
        verdict = {"passed": False, "margin": 0.02, "stderr": 0.019, "text": "The vanilla model answers 2.0 ± 1.9 points more of the forget set than the retain oracle: nothing can be claimed."}  # fmt: skip  # noqa: E501
    else:
        verdict = {"passed": True, "margin": 0.91, "stderr": 0.021, "text": "The vanilla model answers 91.0 ± 2.1 points more of the forget set than the retain oracle: it knows what it is to forget."}  # fmt: skip  # noqa: E501
    results: dict[str, Any] = {
        "name": "demo", "goal": goal, "seed": seed, "benchmark": "people", "created": "2026-11-24T12:00:00+00:00",
        "columns": columns, "models": models, "gate": verdict if {"vanilla", "oracle"} <= set(only) else None,
        "forget_entities": max(2, count // 10), "judged": judged, "gallery": gallery(lines) if beside else [],
        "manifest": {
            "config": {"name": "demo", "goal": goal, "train": {"learning_rate": 1e-4, "steps": 40}},
            "versions": {"torch": "2.13.0", "transformers": "5.23.0"}, "device": "cpu (2 cores)",
        },
    }  # fmt: skip
    change(results)
    write_json(out / "results.json", results)
    if beside:
        write_files(out, only, lines, seed)
    return out


def is_judged(line: dict[str, Any]) -> bool:
    """Whether it belongs to the half that settings are chosen by: every other entity to forget or retain."""
    group, number = line["entity"].split("-")
    return group in ("forget", "retain") and int(number) % 2 == 1


def of_half(lines: dict[str, Any], judged: bool) -> dict[str, Any]:
    halves = {
        column: [line for line in items_of_column if is_judged(line) is judged]
        for column, items_of_column in lines.items()
    }
    return {column: items_of_column for column, items_of_column in halves.items() if items_of_column}


def scored(lines: dict[str, Any]) -> dict[str, Any]:
    return {
        column: {metric: score._asdict() for metric, score in score_lines(items_of_column).items()}
        for column, items_of_column in lines.items()
    }


@cache
def lines_of(name: str, count: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Column -> a model's evaluated items; not to be changed."""
    chances = zip(COLUMNS, MODELS[name][-1], strict=True)
    return {column: items(name, column, chance, count, seed) for column, chance in chances}


@cache
def accuracies_of(name: str, count: int, seed: int) -> dict[str, ItemScores]:
    return {
        column: item_scores(items_of_column)
        for column, items_of_column in of_half(lines_of(name, count, seed), False).items()
    }


@cache
def gaps(name: str, reference: str, count: int, seed: int) -> dict[str, Any]:
    """Column -> accuracy minus the reference's; not to be changed."""
    gaps_by_column = differences(accuracies_of(name, count, seed), accuracies_of(reference, count, seed))
    return {column: gap._asdict() for column, gap in gaps_by_column.items()}


@cache
def model_record(name: str, count: int, seed: int, with_oracle: bool) -> dict[str, Any]:
    """A model as results.json has it, made once, since scoring takes most of a test's time; not to be changed."""
    title, role, method, free, part, _ = MODELS[name]
    lines = lines_of(name, count, seed)
    tested = of_half(lines, False)
    oracle = of_half(lines_of("oracle", count, seed), False) if with_oracle else None
    quality = distance_to_oracle(tested["forget_vqa"], oracle["forget_vqa"]) if oracle else None
    rng = random_stream(seed, "cost", name)
    trained = role not in ("vanilla", "oracle")
    masked = role == "method" or name == "random_mask"
    seconds = {"mask": 2.1 + rng.random()} if masked else {}
    seconds |= {"unlearn": 6 + 5 * rng.random()} if trained else {}
    return {
        "name": name, "title": title, "role": role, "method": method, "free": FREE.get(free, ""),
        "settings": {"learning_rate": 3e-4} if trained else {},
        "trials": [{"settings": {"learning_rate": rate}, "objective": rate} for rate in (3e-4, 1e-3)] * trained,
        "mask": (MASKS[part] + "-random" * (name == "random_mask")) if part else None,
        "mask_config": {"parts": PARTS[part], "random": name == "random_mask"} if part else None,
        "family": "mmunlearner" if role == "method" else "", "chosen": name == "mmunlearner_vision",
        "scores": scored(tested), "scores_validation": scored(of_half(lines, True)),
        "oracle_gap": gaps(name, "oracle", count, seed) if oracle and name != "oracle" else {},
        "forget_quality": quality._asdict() if quality else None,
        "moved": {"inside": 310_000, "outside": 120_000, "forget_outside": 0, "total": 1_070_000} if masked else None,
        "seconds": seconds | {"evaluate": 3 + rng.random()},
        "peak_memory_bytes": {step: int(4e8 + 2e8 * rng.random()) for step in [*seconds, "evaluate"]},
        "tokens": {"unlearn": 240_000} if trained else {},
    }  # fmt: skip


def gallery(lines: dict[str, Any]) -> list[dict[str, Any]]:
    first = next(iter(lines.values()))["forget_vqa"]
    entries = []
    for i, line in enumerate(first[:17]):
        answers = {name: columns["forget_vqa"][i]["output"] for name, columns in lines.items()}
        entries.append(
            {"entity": line["entity"], "image": f"gallery/{line['entity']}.png", "question": line["prompt"],
             "truth": line["answer"], "answers": answers,
             "correct": {name: line["answer"] in text for name, text in answers.items()}}
        )  # fmt: skip
    return [entry for entry, line in zip(entries, first, strict=False) if line["task"] != "multiple_choice"]


def write_files(out: Path, only: tuple[str, ...], lines: dict[str, Any], seed: int) -> None:
    for name in only:
        for column, items_of_column in lines[name].items():
            write_jsonl(out / "evaluation" / name / f"{column}.jsonl", items_of_column)
        if MODELS[name][1] not in ("vanilla", "oracle"):
            write_jsonl(out / "logs" / f"{name}.jsonl", log(name, seed))
        if MODELS[name][4]:
            even = name == "random_mask"
            write_json(
                out / "masks" / f"{MASKS[MODELS[name][4]]}{'-random' * even}.json",
                mask(MODELS[name][4], seed, even=even),
            )
        (out / "models" / name).mkdir(parents=True)
    for i in range(12):
        face(out / "gallery" / f"forget-{i:02d}.png", i)
