"""Results of a run as people read them: tables, plots, one HTML page, model cards. Imports no torch."""

from mmunlearner.report.means import means_markdown
from mmunlearner.report.results import Results, Run, load
from mmunlearner.report.terminal import print_report
from mmunlearner.report.write import write

__all__ = ["Results", "Run", "load", "means_markdown", "print_report", "write"]
