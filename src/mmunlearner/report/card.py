"""The model card of a saved model directory: the kind of model, its scores and how it was made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from mmunlearner import __version__
from mmunlearner.report.criteria import target
from mmunlearner.report.findings import Finding, findings
from mmunlearner.report.markdown import bullets
from mmunlearner.report.results import Model, Results
from mmunlearner.report.template import DASH, count, escape_markdown, pipe_table, points, stop_check, with_error
from mmunlearner.report.verdict import answers, headline

KINDS = {
    "vanilla": "The model before unlearning: it knows everything.",
    "oracle": "The retain oracle: trained without the images of what is to be forgotten. The aim, not a result.",
    "baseline": "Unlearned by a baseline, for comparison.",
    "method": "Unlearned.",
    "control": "A control: it shows what part of the method's effect needs no saliency.",
}


MOVED = {
    "inside": "inside what the forget term may move",
    "outside": "outside it",
    "total": "weights in all",
    "forget_outside": "moved by the forget term outside it",
}
USE = """## Use

With transformers alone; MMUnlearner is not needed. `path` is this folder, or the name under which it was uploaded.

```python
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

path = "."
processor = AutoProcessor.from_pretrained(path)
model = AutoModelForImageTextToText.from_pretrained(path)

picture = Image.open("picture.png").convert("RGB")
question = {"type": "text", "text": "Who is this?"}
messages = [{"role": "user", "content": [{"type": "image"}, question]}]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
inputs = processor(images=picture, text=prompt, return_tensors="pt")
tokens = model.generate(**inputs.to(model.device, model.dtype), max_new_tokens=50, do_sample=False)
print(processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

`mmunlearner ask --model . --image picture.png "Who is this?"` does the same on the command line."""
LIMITS = """## Limits

The scores hold for this benchmark's questions and for the seed of this run. A low score on them is no proof that
nothing is left: attacks such as relearning or quantisation were not part of it."""


UNEVALUATED = """## Limits

This model was not evaluated. `mmunlearner evaluate --model . --out scores` asks it the questions of a benchmark, and
`--against` compares it with the model before. What it no longer answers may still be in it: attacks such as relearning
or quantisation show more."""


def model_card(results: Results, model: Model) -> ModelCard:
    """Return a README.md for `models/NAME`, with metadata that the hub reads."""
    gate = results.gate
    warning = f"> **Nothing can be claimed.** {escape_markdown(gate.text)}" if gate and not gate.passed else ""
    sections = [
        f"# {escape_markdown(model.title)}",
        f"{KINDS[model.role]} Run `{results.name}`, benchmark `{results.benchmark or 'unnamed'}`, "
        f"goal: {results.goal} unlearning, made with MMUnlearner {__version__}.",
        warning,
        _verdict(results) if model is results.main else "",
        USE,
        _facts(model),
        _scores(results, model),
        f"## Findings of the run\n\n{bullets(findings(results))}".rstrip() if model is results.main else "",
        LIMITS,
    ]
    # A warning or section without content is empty, and leaves no gap.
    body = "\n\n".join(section for section in sections if section)
    return ModelCard(f"---\n{_metadata(results, model).to_yaml()}\n---\n\n{body}\n")


def _verdict(results: Results) -> str:
    """Write the section with the headline of the run, and its four answers."""
    summary = headline(results)
    lines = bullets([Finding(a.verdict, a.text, f"{a.question} {a.word}") for a in answers(results)])
    return f"## {escape_markdown(summary.title)}\n\n{escape_markdown(summary.text)}\n\n{lines}".rstrip()


def _metadata(results: Results, model: Model) -> ModelCardData:
    """Return the YAML head of the card, from which the hub fills its own pages."""
    return ModelCardData(
        **_origin(model, hub_id(results.manifest)),
        model_name=f"{results.name}-{model.name}",
        eval_results=[
            EvalResult(
                task_type="visual-question-answering" if "vqa" in column.name else "question-answering",
                dataset_type=results.benchmark or "unnamed",
                dataset_name=f"{results.benchmark or 'unnamed'}: {column.title}",
                dataset_config=column.name,
                metric_type="accuracy",
                metric_value=round(score.value, 4),
            )
            for column in results.columns
            if (score := model.score(column.name))
        ],
    )


def unevaluated_card(model: Model, source: str) -> ModelCard:
    """Return a README.md for a model that one command unlearned of `source`, a directory or hub id: no scores."""
    # A directory by its name alone: its place on this machine means nothing to a reader.
    origin = Path(source).name if Path(source).is_dir() else source
    body = "\n\n".join(
        (
            f"# {escape_markdown(f'{origin}, unlearned by {model.title}')}",
            f"Made with MMUnlearner {__version__}.",
            USE,
            _facts(model),
            UNEVALUATED,
        )
    )
    base = hub_id({"config": {"model": {"vanilla": "" if Path(source).is_dir() else source}}})
    return ModelCard(f"---\n{ModelCardData(**_origin(model, base)).to_yaml()}\n---\n\n{body}\n")


def _origin(model: Model, base_model: str | None) -> dict[str, Any]:
    """Return the metadata on a model's kind and method."""
    return {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "base_model": base_model,
        "tags": ["mmunlearner", "machine-unlearning", *([model.method.split(":")[0]] if model.method else [])],
    }


def hub_id(manifest: Mapping[str, Any]) -> str | None:
    """Return the vanilla model's name on the hub; None where it is a directory or was trained by the run."""
    config = manifest.get("config")
    named = str((config.get("model") or {}).get("vanilla") or "") if isinstance(config, Mapping) else ""
    # Relative paths and those of trained models (`runs/...`) can have the form OWNER/NAME too.
    return named if re.fullmatch(r"[\w.-]+/[\w.-]+", named) and not named.startswith((".", "runs/")) else None


def _facts(model: Model) -> str:
    """Write the section on how the model was made, one fact per line."""
    facts = {
        "Method": model.method,
        "Settings": ", ".join(f"{key} = {value}" for key, value in model.settings.items()),
        "Mask": model.mask,
        "May move without a mask": model.free,
        "Training": stop_check(model.look) if model.look else "",
        "Weights moved": ", ".join(f"{count(value)} {MOVED.get(key, key)}" for key, value in model.moved.items()),
    }
    lines = [f"- {name}: {escape_markdown(text)}" for name, text in facts.items() if text]
    return "## How it was made\n\n" + "\n".join(lines) if lines else ""


def _scores(results: Results, model: Model) -> str:
    """Write the section on scores, with a row per column that the model has a score in."""
    # A model has no distance to itself.
    references = [None if reference is model else reference for reference in (results.vanilla, results.oracle)]
    rows = []
    for column in results.columns:
        score = model.score(column.name)
        if score is None:
            continue
        levels = [reference.score(column.name) if reference else None for reference in references]
        gaps = [points(score.value - level.value) if level else DASH for level in levels]
        rows.append([escape_markdown(column.title), with_error(score), target(results, column).words, *gaps])
    heads = ["Column", "Accuracy, %", "Should", "Against vanilla", "Against the oracle"]
    text = pipe_table("lrlrr", heads, rows)
    return f"## Scores\n\n{text}\nStandard errors are clustered by entity; differences in points."
