"""Objects by `package.module:name`, and suggestions for names that do not exist."""

from __future__ import annotations

import json

import pytest

from mmunlearner.core.names import did_you_mean, resolve_name
from mmunlearner.errors import ConfigError


def test_a_name_gives_its_object() -> None:
    assert resolve_name("json:loads", "loader") is json.loads
    assert resolve_name("json:JSONEncoder.encode", "loader") is json.JSONEncoder.encode


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("json", "not of the form package.module:name"),
        ("json:", "not of the form package.module:name"),
        (":loads", "not of the form package.module:name"),
        ("gone:load", "cannot be imported (No module named 'gone')"),
        ("json:lode", "cannot be imported (module 'json' has no attribute 'lode')"),
        ("a b:c", "cannot be imported (invalid format: 'a b:c')"),
    ],
)
def test_a_name_without_object_is_an_error_of_one_line(name: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve_name(name, "loader")
    assert str(error.value) == f"loader {name}: {problem}"


def test_the_most_similar_name_is_suggested() -> None:
    assert did_you_mean("betta", ["alpha", "beta"]) == "did you mean beta?"
    assert did_you_mean("x", ["alpha", "beta"]) == "known: alpha, beta"
    assert did_you_mean("x", []) == "known: none"
    assert did_you_mean("x", map(str, range(500))).endswith(", 28, 29 and 470 more")
