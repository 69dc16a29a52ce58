"""report.md: the headline, the table and the findings, for a terminal, a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Sequence

from mmunlearner.report.findings import Finding, findings, headline
from mmunlearner.report.results import Results, Run
from mmunlearner.report.table import escape_markdown, markdown, table

SUMMARY = {"real": "Real", "retain": "Retain", "forget": "Forget ↓", "ks_p": "KS p", "one_minus_js": "1 − JS"}
"""CLEAR's columns: what the run recorded -> its head."""
SIGNS = {"met": "✓", "missed": "✗", "note": "–"}


def report(run: Run) -> str:
    """The report as Markdown."""
    results, shown, head = run.results, table(run.results), headline(run)
    about = [f"run `{results.name}`", f"benchmark {results.benchmark or 'unnamed'}", f"goal: {results.goal} unlearning"]
    about += [f"seed {results.seed}"] if results.seed is not None else []
    return "\n".join(
        [
            f"# {escape_markdown(head.title)}\n",
            f"{escape_markdown(', '.join(about), code=True)}\n",
            f"{escape_markdown(head.text)}\n",
            "## Results\n",
            markdown(shown),
            f"{escape_markdown(shown.caption)} In brackets: distance to the oracle in points.\n",
            *summaries(results),
            *general_ability(results),
            "## Findings\n",
            bullets(findings(run)),
        ]
    )


def summaries(results: Results) -> list[str]:
    """CLEAR's table, of runs on CLEAR: nothing for others."""
    models = [model for model in results.models if model.summary]
    if not models:
        return []
    lines = [["Model", *SUMMARY.values()], ["---", *["---:"] * len(SUMMARY)]]
    for model in models:
        values = [f"{model.summary[name]:.3g}" if name in model.summary else "–" for name in SUMMARY]
        lines.append([escape_markdown(model.title), *values])
    return ["## Harmonic means\n", pipe_table(lines)]


def general_ability(results: Results) -> list[str]:
    """lmms-eval's scores of the models that have some: a row per metric."""
    models = [model for model in results.models if model.lmms]
    if not models:
        return []
    metrics = dict.fromkeys((task, m) for model in models for task, scores in model.lmms.items() for m in scores)
    lines = [
        ["Task", "Metric", *(escape_markdown(model.title) for model in models)],
        ["---"] * 2 + ["---:"] * len(models),
    ]
    for task, metric in metrics:
        scores = [model.lmms.get(task, {}).get(metric) for model in models]
        cells = ["–" if s is None else f"{s.value:.4g}" + (f" ± {s.stderr:.2g}" if s.stderr else "") for s in scores]
        lines.append([escape_markdown(task), escape_markdown(metric), *cells])
    return ["## General ability (lmms-eval)\n", pipe_table(lines)]


def pipe_table(lines: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown; the second is the rule."""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def bullets(found: Sequence[Finding]) -> str:
    """One line per finding, with its sign and topic."""
    return "".join(f"- {SIGNS[each.verdict]} {_topic(each)}{escape_markdown(each.text)}\n" for each in found)


def _topic(finding: Finding) -> str:
    return f"**{escape_markdown(finding.topic)}**: " if finding.topic else ""
