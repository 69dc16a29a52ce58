"""All plots of a run, each with its name: the page shows them, and each is written as SVG and PNG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure

from mmunlearner.report import plots
from mmunlearner.report.results import Model, Run
from mmunlearner.report.tradeoff import trade_off, trade_off_points

PLOTS = "plots"
"""Folder of the files within the run directory."""
Section = Literal["tradeoff", "bars", "losses", "masks", "cost"]
NAMES: dict[Section, str] = {
    "tradeoff": "tradeoff", "bars": "column", "losses": "loss", "masks": "saliency", "cost": "cost"
}  # fmt: skip
"""Section of the page -> beginning of the files' names."""


@dataclass(frozen=True)
class Drawing:
    """A plot of the report."""

    section: Section
    """Place on the page."""
    label: str
    """Description of the plot in words."""
    figure: Figure
    subject: str = ""
    """Name of the column, model or mask that it is about."""

    @property
    def name(self) -> str:
        """Name of its files, without their ending: letters, digits, `_`, `-` and `.` only."""
        # Results from elsewhere may have other names, and a name with slashes could lead out of the folder.
        kind = NAMES[self.section]
        return f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]', '-', self.subject)}" if self.subject else kind


def drawings(run: Run) -> list[Drawing]:
    """Draw every plot that the run has data for, in the order of the page."""
    results, drawn = run.results, list[Drawing]()
    if len(trade_off_points(results)) > 1:  # one point shows no trade-off
        label = "Forgetting against keeping, one mark per model"
        drawn.append(Drawing("tradeoff", label, trade_off(results)))
    for column in results.columns:
        if any(model.score(column.name) for model in results.unlearned):
            figure = plots.column_bars(results, column)
            drawn.append(Drawing("bars", column.title, figure, column.name))
    # In the order of the tables, not of the files.
    for model in results.models:
        if figure := plots.loss_curves(model.title, run.logs.get(model.name, ())):
            drawn.append(Drawing("losses", f"Losses of {model.title}", figure, model.name))
    for name in mask_names(run):
        if figure := plots.saliency_layers(run.masks[name], width=1060):
            drawn.append(Drawing("masks", f"Saliency per layer, mask {name}", figure, name))
    if figure := plots.cost(results, width=1060):
        drawn.append(Drawing("cost", "Seconds and peak memory per model", figure))
    return drawn


def mask_names(run: Run) -> list[str]:
    """Return the masks of the run's models that have statistics, the main model's first."""
    # A dict, since several models may share a mask.
    models: tuple[Model | None, ...] = (run.results.main, *run.results.models)
    return list(dict.fromkeys(model.mask for model in models if model and model.mask in run.masks))
