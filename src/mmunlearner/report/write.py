"""A run directory -> all files of its report. All texts are made before the first file is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmunlearner.core.files import write_text
from mmunlearner.report.card import model_card
from mmunlearner.report.figure import standalone_svg
from mmunlearner.report.markdown import report
from mmunlearner.report.page import page
from mmunlearner.report.results import Results, Run, load
from mmunlearner.report.table import latex, table
from mmunlearner.report.tradeoff import trade_off, trade_off_points


def write(run_dir: Path | str) -> Path:
    """Write report.md, table.tex, tradeoff.svg, summary.json, the model cards and report.html; return the last one.

    Raises:
        DataError: results.json is missing or broken, or a log or a mask's statistics are.
    """
    run = load(run_dir)
    texts = files(run)
    for name, text in texts.items():
        write_text(run.directory / name, text)
    return run.directory / "report.html"


def files(run: Run) -> dict[str, str]:
    """Return path within the run directory -> text, in the order of writing."""
    results = run.results
    texts = {
        "report.md": report(results),
        "table.tex": latex(table(results)),
        "summary.json": json.dumps(summary(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    if len(trade_off_points(results)) > 1:
        label = "Forgetting against keeping, one mark per model"
        texts["tradeoff.svg"] = standalone_svg(trade_off(results), label)
    for model in results.models:
        # A run may keep no weights, or be copied without them.
        if (run.directory / "models" / model.name).is_dir():
            texts[f"models/{model.name}/README.md"] = str(model_card(results, model))
    # The page is what people open: when it is there, the other files are too.
    return texts | {"report.html": page(run)}


def summary(results: Results) -> dict[str, Any]:
    """Return the content of summary.json, on which scripts can rely.

    `{"models": {NAME: {COLUMN: {"value", "stderr", "n"}}}, "seconds": {STEP: s}, "peak_memory_bytes": {STEP: b}}`.
    Values are fractions. A family's chosen variant stands under the family's name too; a step is `unlearn/NAME`.
    """
    # Only the accuracy: scripts that need other metrics read results.json.
    models = {
        name: {column.name: score._asdict() for column in results.columns if (score := model.score(column.name))}
        for name, model in results.by_name.items()
    }
    costs: dict[str, dict[str, float]] = {"seconds": {}, "peak_memory_bytes": {}}
    for kind, of_step in costs.items():
        for model in results.models:
            for step, cost in getattr(model, kind).items():
                # A mask that several models share is counted once, under its own name.
                name = (model.mask if step == "mask" else "") or model.name
                of_step[f"{step}/{name}"] = cost
    return {"models": models, **costs}
