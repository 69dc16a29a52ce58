"""What relearning brings back: unlearned models beside the oracle, attacked alike; a table and a picture.

`python -m bench.relearning --models A B --oracle O --data-fold 12a --out FILE.json`. Attacks that FILE has already are
not made again, so that a killed command goes on and models can be added; a model is known by its name there.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from mmunlearner import data
from mmunlearner.audit import Attack, Attacker, Curve, Measurement, halves, relearn, returned, rounded
from mmunlearner.audit.relearning import COLUMNS, LEVELS, RETAINED, SEEN, UNSEEN, retained
from mmunlearner.config import DataConfig
from mmunlearner.core.files import read_json, write_json, write_text
from mmunlearner.data.benchmarks.people import prepare
from mmunlearner.evaluate import quick_scores
from mmunlearner.models import load

ROUNDED = "4 bits"
Record = dict[str, Any]
"""An attack on a model: model, fold, attack, rate, points."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.relearning", description=__doc__)
    parser.add_argument("--models", nargs="+", required=True, help="unlearned models, as NAME=FOLDER or FOLDER")
    parser.add_argument("--oracle", default="people:oracle")
    parser.add_argument("--data-fold", default="", help="fold of the embedded people; empty: the share of 15 %%")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4], help="learning rates of the attacker")
    parser.add_argument("--steps", type=int, default=64, help="steps of an attack, at most")
    parser.add_argument(
        "--retained", type=int, default=40, help="steps of fine-tuning on retained people; 0: not tried"
    )
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).parent / "made" / "people", help="folder of the data"
    )
    parser.add_argument("--out", type=Path, required=True, help="FILE.json; FILE.svg and FILE.md go beside it")
    options = parser.parse_args()
    splits = data.load(DataConfig(root=str(prepare(options.data)), fold=options.data_fold))
    records: list[Record] = read_json(options.out) if options.out.exists() else []
    planned = [(attack, rate, options.steps) for rate in options.rates for attack in halves(splits)]
    if options.retained:
        planned.append((retained(splits), options.rates[0], options.retained))
    for spec in ("oracle=" + options.oracle, *options.models):
        name, _, source = spec.rpartition("=")
        measure(records, name or source, source, options.data_fold, planned, splits.evaluation, options.out)
    text = table([record for record in records if record["fold"] == options.data_fold])
    write_text(options.out.with_suffix(".md"), text + "\n")
    write_text(options.out.with_suffix(".svg"), plot(records, options.data_fold))
    print(text)


def measure(
    records: list[Record],
    name: str,
    source: str,
    fold: str,
    planned: Sequence[tuple[Attack, float, int]],
    evaluation: Mapping[str, Any],
    out: Path,
) -> None:
    """Make the attacks on a model that the records lack, and write the records after each."""
    model = None
    for attack, rate, steps in planned:
        key: Record = {"model": name, "fold": fold, "attack": attack.name, "rate": rate, "steps": steps}
        if any(key.items() <= record.items() for record in records):
            continue
        model = model or load(source, device="cpu")
        points = [asdict(p) for p in relearn(model, attack, evaluation, Attacker(learning_rate=rate, steps=steps))]
        _add(records, key | {"points": points}, out)
    key = {"model": name, "fold": fold, "attack": ROUNDED}
    if not any(key.items() <= record.items() for record in records):
        items = {column: evaluation[column] for column in COLUMNS}
        scores = quick_scores(rounded(model or load(source, device="cpu"), 4), items)
        point = asdict(Measurement(0, {}, {column: score.value for column, score in scores.items()}))
        _add(records, key | {"rate": 0.0, "points": [point]}, out)


def _add(records: list[Record], record: Record, out: Path) -> None:
    records.append(record)
    write_json(out, records)
    print(record["model"], record["attack"], record["rate"], record["points"][-1], flush=True)


def curves_of(records: Sequence[Record], model: str, rate: float) -> list[Curve]:
    """Return the curves of a model's attacks by halves at a rate."""
    chosen = [r for r in records if r["model"] == model and r["rate"] == rate and r["attack"].endswith("half")]
    return [[Measurement(**point) for point in record["points"]] for record in chosen]


def last_of(records: Sequence[Record], model: str, attack: str) -> str:
    """Return seen / unseen at the end of another attack on a model."""
    points = [record["points"][-1] for record in records if record["model"] == model and record["attack"] == attack]
    return " / ".join(f"{100 * points[0]['others'][column]:.0f}" for column in COLUMNS) if points else "-"


def table(records: Sequence[Record]) -> str:
    """Return a table in Markdown: others seen / unseen, after how many steps, at each level of learning."""
    models = list(dict.fromkeys(record["model"] for record in records))
    heads = ["model", "rate", "before", *(f"at {level:.0%}: step: others" for level in LEVELS), RETAINED, ROUNDED]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for rate in sorted({record["rate"] for record in records}):
        for model in models:
            attacked = curves_of(records, model, rate)
            if not attacked:
                continue
            start = [100 * sum(c[0].others[name] for c in attacked) / len(attacked) for name in (SEEN, UNSEEN)]
            cells = [f"{start[0]:.0f} / {start[1]:.0f}"]
            for level in LEVELS:
                value = returned(attacked, level)
                seen, unseen = (100 * value.others[name] for name in (SEEN, UNSEEN)) if value else (0.0, 0.0)
                cells.append(f"{value.steps:.1f}: {seen:.0f} / {unseen:.0f}" if value else "-")
            cells += [last_of(records, model, attack) for attack in (RETAINED, ROUNDED)]
            lines.append(f"| {model} | {rate:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(records: Sequence[Record], fold: str) -> str:
    """Draw as SVG what others regain against what is learned, and what is learned against steps; a line per model."""
    records = [record for record in records if record["fold"] == fold]
    rates = sorted({record["rate"] for record in records} - {0.0})
    figure = Figure(figsize=(10, 3.6 * len(rates)), layout="constrained")
    for row, rate in zip(figure.subplots(len(rates), 2, squeeze=False), rates, strict=True):
        for number, model in enumerate(dict.fromkeys(record["model"] for record in records)):
            for curve in curves_of(records, model, rate):
                learned = [100 * point.learned[SEEN] for point in curve]
                others = [100 * sum(point.others.values()) / len(point.others) for point in curve]
                row[0].plot(learned, others, ".-", color=f"C{number}", label=model)
                row[1].plot([point.step for point in curve], learned, ".-", color=f"C{number}")
        row[0].set(xlabel="half that is learned again, %", ylabel="other half, %", ylim=(0, 60))
        row[0].set_title(f"attacker's rate {rate:g}", fontsize=9)
        row[1].set(xlabel="step of the attack", ylabel="half that is learned again, %")
        lines, labels = row[0].get_legend_handles_labels()
        unique = dict(zip(labels, lines, strict=True))
        row[0].legend(unique.values(), unique.keys(), frameon=False, fontsize=7)
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
