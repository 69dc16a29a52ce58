"""A run directory -> all files of its report. All texts are made before the first file is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmunlearner.core.files import write_bytes
from mmunlearner.report.card import model_card
from mmunlearner.report.drawings import PLOTS, drawings
from mmunlearner.report.figure import png, standalone_svg
from mmunlearner.report.markdown import report
from mmunlearner.report.page import page
from mmunlearner.report.results import Results, Run, load
from mmunlearner.report.table import latex, table


def write(run_dir: Path | str) -> Path:
    """Write report.md, table.tex, summary.json, the plots, the model cards and report.html; return the last one.

    Raises:
        DataError: results.json is missing or broken, or a log or a mask's statistics are.
    """
    run = load(run_dir)
    contents = files(run)
    for name, content in contents.items():
        write_bytes(run.directory / name, content if isinstance(content, bytes) else content.encode())
    return run.directory / "report.html"


def files(run: Run) -> dict[str, str | bytes]:
    """Return path within the run directory -> content, in the order of writing."""
    results, drawn = run.results, drawings(run)
    contents: dict[str, str | bytes] = {
        "report.md": report(results),
        "table.tex": latex(table(results)),
        "summary.json": json.dumps(summary(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for drawing in drawn:
        contents[f"{PLOTS}/{drawing.name}.svg"] = standalone_svg(drawing.figure, drawing.label)
        contents[f"{PLOTS}/{drawing.name}.png"] = png(drawing.figure)
    for model in results.models:
        # A run may keep no weights, or be copied without them. A name from elsewhere may lead out of the directory.
        if Path(model.name).name == model.name and (run.directory / "models" / model.name).is_dir():
            contents[f"models/{model.name}/README.md"] = str(model_card(results, model))
    # The page is what people open: when it is there, the other files are too.
    return contents | {"report.html": page(run, drawn)}


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
