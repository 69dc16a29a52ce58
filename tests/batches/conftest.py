from __future__ import annotations

import pytest
from support.tiny import VOCABULARY, llava

from mmunlearner.batches import Encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))
