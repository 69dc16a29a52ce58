"""Every family's tiny model, written to a directory and loaded from there as users load theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from families.zoo import FAMILIES

from mmunlearner.batches import Encoder
from mmunlearner.models import Loaded, load, save

Fresh = Callable[[], Loaded]
"""Loads a family's model anew."""


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Fresh]:
    """Name of a family -> what loads it; each is built once, when it is first asked for."""
    folder = tmp_path_factory.mktemp("families")
    built: dict[str, Loaded] = {}

    def fresh(name: str) -> Fresh:
        home: Path = folder / name
        if name not in built:
            built[name] = Loaded(*FAMILIES[name](), name)
            save(built[name], home)
        return lambda: load(home, device="cpu")

    return fresh


@pytest.fixture(scope="session", params=FAMILIES)
def fresh(request: pytest.FixtureRequest, shelf: Callable[[str], Fresh]) -> Fresh:
    return shelf(request.param)


@pytest.fixture(scope="session")
def family(fresh: Fresh) -> Loaded:
    """One that no test may change."""
    return fresh()


@pytest.fixture(scope="session")
def encoder(family: Loaded) -> Encoder:
    return Encoder(family)
