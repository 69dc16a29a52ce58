"""report.md: the headline, the table and the findings, for a terminal, a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Sequence

from mmunlearner.report.findings import Finding, findings, headline
from mmunlearner.report.results import Run
from mmunlearner.report.table import escape_markdown, markdown, table

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
            "## Findings\n",
            bullets(findings(run)),
        ]
    )


def bullets(found: Sequence[Finding]) -> str:
    """One line per finding, with its sign and topic."""
    return "".join(f"- {SIGNS[each.verdict]} {_topic(each)}{escape_markdown(each.text)}\n" for each in found)


def _topic(finding: Finding) -> str:
    return f"**{escape_markdown(finding.topic)}**: " if finding.topic else ""
