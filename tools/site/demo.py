"""The finished run whose report the site shows: the few files that a report is made of, stored in `docs/demo`."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmunlearner import report
from mmunlearner.report.drawings import PLOTS

FILES = ("results.json", "gallery/*", "logs/*.jsonl", "masks/*.json")
"""What the page of a report reads; models, answers and data are left out."""


def store(run: Path, folder: Path) -> None:
    """Copy the files of a finished run that its report is made of into a new folder.

    Raises:
        DataError: the run has no results.
    """
    report.load(run)  # before the stored run is removed
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in FILES:
        for file in sorted(run.glob(pattern)):
            copy = folder / file.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def write_page(folder: Path, work: Path, page: Path) -> None:
    """Write the report of a stored run to the file `page`, with today's code; `work` is a folder for its other files.

    Raises:
        DataError: the stored run is not complete, or of another version.
    """
    shutil.copytree(folder, work)
    page.parent.mkdir(parents=True)
    shutil.move(report.write(work), page)
    shutil.copytree(work / PLOTS, page.parent / PLOTS)  # the page names these files
