from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from mmunlearner.core.records import check_record, read_record, read_records
from mmunlearner.errors import DataError
from mmunlearner.report.records import Training
from mmunlearner.saliency.mask_content import LayerInfo

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
)


class Record(TypedDict):
    a: int
    b: NotRequired[Mapping[str, float]]


def test_further_entries_stay_and_nulls_are_absent():
    assert check_record({"a": 1, "b": None, "c": [None]}, Record, "x") == {"a": 1, "c": [None]}


@given(PLAIN)
def test_any_value_is_a_record_or_one_line(value: Any):
    try:
        record = check_record(value, Record, "x.json")
    except DataError:
        return
    assert record["a"] == value["a"]


def test_file_and_line_are_named(tmp_path: Path):
    (tmp_path / "r.json").write_text(json.dumps({"b": {}}))
    with pytest.raises(DataError, match=r"r\.json: a: expected this field, found only b"):
        read_record(tmp_path / "r.json", Record)
    (tmp_path / "r.jsonl").write_text('{"a": 1}\n\n{"a": "1"}\n')
    with pytest.raises(DataError, match=r"r\.jsonl, line 3: a: expected a whole number, found '1'"):
        read_records(tmp_path / "r.jsonl", Record)


def test_counts_of_real_models_have_no_upper_end():
    """Options have one (a thousand million steps are a mistake); seven billion weights and a card's memory are none."""
    cost = {"seconds": 1.0, "peak_memory_bytes": 80 * 2**30}
    training = {**cost, "tokens": 10**12, "moved": {"inside": 7 * 10**9}, "tuning": {"trials": [], **cost}}
    assert check_record(training, Training, "train.json") == training
    layer = {"name": "w", "part": "language", "selected": 3 * 10**9, "candidates": 7 * 10**9}
    layer |= {"saliency_forget": 1.0, "saliency_preserve": 1.0}
    assert check_record(layer, LayerInfo, "mask") == layer
