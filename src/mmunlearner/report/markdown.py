"""report.md: the headline, the table and the findings, for a terminal, a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Sequence

from mmunlearner.report import trials
from mmunlearner.report.findings import Finding, findings
from mmunlearner.report.results import Results
from mmunlearner.report.table import markdown, table
from mmunlearner.report.template import DASH, escape_markdown, pipe_table
from mmunlearner.report.verdict import answers, headline

SUMMARY = {"real": "Real", "retain": "Retain", "forget": "Forget ↓", "ks_p": "KS p", "one_minus_js": "1 − JS"}
"""A benchmark's own means and distances: key in results.json -> head of its column."""
SIGNS = {"met": "✓", "missed": "✗", "unclear": "?", "note": DASH}


def report(results: Results) -> str:
    """Write the report as Markdown."""
    summary = headline(results)
    about = [f"run `{results.name}`", f"benchmark {results.benchmark or 'unnamed'}", f"goal: {results.goal} unlearning"]
    about += [f"seed {results.seed}"] if results.seed is not None else []
    return "\n".join(
        [
            f"# {escape_markdown(summary.title)}\n",
            f"{escape_markdown(', '.join(about), code=True)}\n",
            f"{escape_markdown(summary.text)}\n",
            bullets([Finding(a.verdict, a.text, f"{a.question} {a.word}") for a in answers(results)]),
            "## Results\n",
            markdown(table(results)),
            *summaries(results),
            *general_ability(results),
            *settings_tried(results),
            "## Findings\n",
            bullets(findings(results)),
        ]
    )


def summaries(results: Results) -> list[str]:
    """Write the table of the benchmark's own means; return nothing if it has none."""
    models = [model for model in results.models if model.summary]
    if not models:
        return []
    rows = [
        [
            escape_markdown(model.title),
            *(f"{model.summary[key]:.3g}" if key in model.summary else DASH for key in SUMMARY),
        ]
        for model in models
    ]
    return ["## Harmonic means\n", pipe_table("l" + "r" * len(SUMMARY), ["Model", *SUMMARY.values()], rows)]


def general_ability(results: Results) -> list[str]:
    """Write the table of lmms-eval's scores, a row per metric; return nothing if no model has any."""
    models = [model for model in results.models if model.lmms]
    if not models:
        return []
    metrics = dict.fromkeys((task, m) for model in models for task, scores in model.lmms.items() for m in scores)
    rows = []
    for task, metric in metrics:
        # As lmms-eval gives them: some are fractions, others sums of points (MME), so none is turned into per cent.
        scores = [model.lmms.get(task, {}).get(metric) for model in models]
        cells = [DASH if s is None else f"{s.value:.4g}" + (f" ± {s.stderr:.2g}" if s.stderr else "") for s in scores]
        rows.append([escape_markdown(task), escape_markdown(metric), *cells])
    heads = ["Task", "Metric", *(escape_markdown(model.title) for model in models)]
    return ["## General ability (lmms-eval)\n", pipe_table("ll" + "r" * len(models), heads, rows)]


def settings_tried(results: Results) -> list[str]:
    """Write the table of the trials; return nothing if there are none."""
    rows, heads = trials.rows(results), trials.heads(results)
    if not rows:
        return []
    cells = [[escape_markdown(cell) for cell in row] for row in rows]
    table_of_trials = pipe_table("ll" + "r" * (len(heads) - 3) + "l", [escape_markdown(head) for head in heads], cells)
    return ["## Settings tried\n", f"{escape_markdown(trials.explanation(results))}\n", table_of_trials]


def bullets(entries: Sequence[Finding]) -> str:
    """Write one line per finding, with its sign and topic."""
    topics = [f"**{escape_markdown(entry.topic)}**: " if entry.topic else "" for entry in entries]
    return "".join(
        f"- {SIGNS[entry.verdict]} {topic}{escape_markdown(entry.text)}\n"
        for entry, topic in zip(entries, topics, strict=True)
    )
