"""Results of a run as people read them: tables, plots, one HTML page, model cards. Imports no torch."""

from mmunlearner.report.card import model_card
from mmunlearner.report.compare import compare_latex, compare_markdown, compare_runs
from mmunlearner.report.findings import Finding, Headline, findings, headline, sentences
from mmunlearner.report.results import Results, Run, load
from mmunlearner.report.summary import summary
from mmunlearner.report.table import Table, latex, markdown, print_table, table, terminal
from mmunlearner.report.write import files, write

__all__ = [
    "Finding",
    "Headline",
    "Results",
    "Run",
    "Table",
    "compare_latex",
    "compare_markdown",
    "compare_runs",
    "files",
    "findings",
    "headline",
    "latex",
    "load",
    "markdown",
    "model_card",
    "print_table",
    "sentences",
    "summary",
    "table",
    "terminal",
    "write",
]
