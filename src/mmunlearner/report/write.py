"""A run directory -> all that is written of it. Everything is made before the first file is touched."""

from __future__ import annotations

import json
from pathlib import Path

from mmunlearner.core.files import write_text
from mmunlearner.report.card import model_card
from mmunlearner.report.figure import standalone_svg
from mmunlearner.report.markdown import report
from mmunlearner.report.page import page
from mmunlearner.report.results import Run, load
from mmunlearner.report.summary import summary
from mmunlearner.report.table import latex, table
from mmunlearner.report.tradeoff import trade_off, trade_off_points


def write(run_dir: Path | str) -> Path:
    """Write report.md, table.tex, tradeoff.svg, summary.json, the model cards and report.html, whose path comes back.

    Raises:
        DataError: results.json is missing or broken, or a log, mask or answer file is.
    """
    run = load(run_dir)
    made = files(run)
    for name, text in made.items():
        write_text(run.directory / name, text)
    return run.directory / "report.html"


def files(run: Run) -> dict[str, str]:
    """Path within the run directory -> text, in the order of writing: the page, which people look for, is last."""
    shown = table(run.results)
    made = {
        "report.md": report(run),
        "table.tex": latex(shown),
        "summary.json": json.dumps(summary(run.results), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    if len(trade_off_points(run.results)) > 1:
        made["tradeoff.svg"] = standalone_svg(trade_off(run.results), "Forgetting against keeping, one mark per model")
    for model in run.results.models:
        if (run.directory / "models" / model.name).is_dir():
            made[f"models/{model.name}/README.md"] = str(model_card(run, model))
    return made | {"report.html": page(run)}
