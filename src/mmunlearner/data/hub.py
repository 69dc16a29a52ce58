"""Data sets by hub id: the folder that a download, or an earlier one, leaves behind."""

from __future__ import annotations

import re
from pathlib import Path

from mmunlearner.errors import DataError


def local_folder(root: Path | str) -> Path:
    """The folder itself, or that of a hub id such as `MLLMMU/MLLMU-Bench`, downloaded where it is not yet.

    Raises:
        DataError: there is no such folder, and the hub has no such data set or cannot be reached.
    """
    if Path(root).exists() or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(root)):
        return Path(root)
    from huggingface_hub import snapshot_download  # a second of imports, only for hub ids

    try:
        return Path(snapshot_download(str(root), repo_type="dataset"))
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split()).split(". ")[0]
        raise DataError(
            f"{root}: no such folder, and no data set of that id could be fetched from the hub ({said}); "
            "download it where there is a network and give its folder"
        ) from None
