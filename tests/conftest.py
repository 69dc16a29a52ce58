"""What every test starts from: one thread, no network, and the real data where there is any."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Set before torch or transformers is imported: both read their environment once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", MPLBACKEND="agg")
# The package remembers there which images it has decoded; a test must not find what another session wrote.
os.environ["HF_ASSETS_CACHE"] = tempfile.mkdtemp(prefix="mmunlearner-assets-")

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# Other processes on the machine must not make a test fail; the failing example is printed to be pasted into a test.
settings.register_profile("default", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("default")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that these tests stand in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data (flags, published logs): MMUNLEARNER_TEST_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get("MMUNLEARNER_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; name its folder in MMUNLEARNER_TEST_DATA")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
