"""Growth of saliency's cost with the questions on an image, with entities, with weights."""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench import model, ours, people, published, setting
from mmunlearner.saliency import fisher_groups


def measure(quick: bool) -> dict[str, list[dict[str, float]]]:
    """Measure processor seconds of gradients: {"questions" | "entities" | "weights": [{x, published, ours}]}."""
    size = setting.QUICK if quick else setting.FULL
    questions, entities, depths = ((2, 4), (1, 2), (1, 2)) if quick else ((4, 8, 16, 32), (1, 2, 4), (3, 6, 11))
    few = questions[0]
    return {
        "questions": [_point(n, size, n, 1) for n in questions],
        "entities": [_point(n, size, few, n) for n in entities],
        "weights": [_point(None, replace(size, layers=n), few, 1) for n in depths],
    }


def _point(x: int | None, size: setting.Size, questions: int, entities: int) -> dict[str, float]:
    loaded = model.build(layers=size.layers, side=size.side)
    with tempfile.TemporaryDirectory() as folder:
        people.write(Path(folder) / "data", forget=1, retain=entities, neighbours=1, questions=questions)
        groups = fisher_groups(setting.splits(Path(folder)).retain, "image")
    point = {"x": float(x or loaded.model.num_parameters() / 1e6)}
    for side, gradients in (("published", published.gradients), ("ours", ours.gradients)):
        setting.attend(loaded, side)
        gradients(loaded, groups[0][:1])  # caches are filled here, and not timed
        started = time.process_time()
        for group in groups:
            gradients(loaded, group)
        point[side] = round(time.process_time() - started, 3)
    return point


def plot(growth: dict[str, list[dict[str, Any]]]) -> str:
    """Draw three panels, both axes logarithmic, and return them as SVG."""
    titles = {
        "questions": "questions on an image",
        "entities": "entities, one image each",
        "weights": "million weights",
    }
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for panel, (kind, points) in zip(panels, growth.items(), strict=True):
        for side, mark in (("published", "o--"), ("ours", "s-")):
            panel.loglog([p["x"] for p in points], [p[side] for p in points], mark, label=side)
        ticks = [p["x"] for p in points]
        panel.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        panel.minorticks_off()
        panel.set_xlabel(titles[kind])
    panels[0].set_ylabel("processor seconds of the gradients")
    panels[0].legend(frameon=False)
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()
