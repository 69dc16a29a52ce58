"""Mutators of bytes and of plain values. All draw from a `random.Random`, which may be one of hypothesis."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from random import Random
from typing import Any

JUNK = (
    b"\0", b"\0\0\0\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8",
    b"\xe2\x80\x8b", b"\xcc\x81", b"\x1b[31m", b"\r", b"\n", b"\r\n", b"\t", b'"', b"'", b"\\", b"\\u0000", b"\\ud83d",
    b"{", b"}", b"[", b"]", b",", b":", b": ", b"- ", b"&a ", b"*a", b"!!int ", b"!!python/object:os.system ", b"<<: ",
    b"#", b"%", b"null", b"true", b"NaN", b"-Infinity", b"../", b"/dev/null", b"<image>", b"{{", b"{%",
    b"version https://git-lfs.github.com/spec/v1\n",
)  # fmt: skip
NUMBERS = (b"0", b"-1", b"1e400", b"-0.0", b"2147483648", b"18446744073709551616", b"9" * 400, b"9" * 5000, b"1.5")
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 2**64, 10**300, 10**4000, 0.0, -0.5, 1e-320, 1e308, float("nan"),
    float("inf"), "", " ", "0", "-1", "1e400", "null", "no", "a", "A", "\0", "a\0b", "\ud83d", "\u2028", "\u200b",
    "\ufeff", "\x1b[31m", "\x85", "e\u0301", "../..", "/dev/null", "<image>", "images/a.png", "{who}", "{0}", "%s", "[",
    "[1]", '{"a": 1}', "x" * 5000, "(" * 300, [], [None], [[]], [0], ["a"], ["a", "a"], {}, {"": None}, {"a": 1},
    {"bytes": None, "path": None}, {"bytes": "x", "path": "\0"}, [{}], {"a": {"a": {}}},
)  # fmt: skip
"""Odd values of every type of JSON and YAML."""
DEEP = (3, 60, 600, 20_000)
"""Depths of brackets within brackets."""
Bytes = Callable[[Random, bytes], bytes]


# --- bytes ----------------------------------------------------------------------------------------------------------


def _place(rng: Random, content: bytes) -> int:
    """A place in the content: the first hundred bytes, where headers are, as often as all of it."""
    return rng.randrange(min(len(content), rng.choice((100, len(content)))) + 1) if content else 0


def _stretch(rng: Random, content: bytes) -> tuple[int, int]:
    start = _place(rng, content)
    return start, start + rng.choice((1, 2, 8, 60, 1000))


def flip(rng: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20)) if content else 0):
        changed[min(_place(rng, content), len(content) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    return content[:start] + bytes([rng.randrange(256)]) * (end - start) + content[end:]


def truncate(rng: Random, content: bytes) -> bytes:
    return content[: _place(rng, content)]


def behead(rng: Random, content: bytes) -> bytes:
    return content[_place(rng, content) :]


def remove(rng: Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    return content[:start] + content[end:]


def duplicate(rng: Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    return content[:end] + content[start:end] * rng.choice((1, 1, 2, 50)) + content[end:]


def splice(rng: Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    target = _place(rng, content)
    return content[:target] + content[start:end] + content[target + rng.choice((0, end - start)) :]


def insert_junk(rng: Random, content: bytes) -> bytes:
    start = _place(rng, content)
    return content[:start] + rng.choice(JUNK) * rng.choice((1, 1, 1, 3, 500)) + content[start:]


def replace_number(rng: Random, content: bytes) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(?:\.\d+)?", content))
    if not numbers:
        return insert_junk(rng, content)
    number = rng.choice(numbers)
    return content[: number.start()] + rng.choice(NUMBERS) + content[number.end() :]


def nest(rng: Random, content: bytes) -> bytes:
    start, depth = _place(rng, content), rng.choice(DEEP)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"- ", b""), (b"(", b")")))
    return content[:start] + opening * depth + closing * rng.choice((0, depth)) + content[start:]


def swap_lines(rng: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], rng.choice((lines[a], lines[b], b""))
    return b"\n".join(lines)


def recode(rng: Random, content: bytes) -> bytes:
    """As another program would save the text: in another encoding, or with other line ends."""
    text = content.decode("utf-8", "replace")
    encoded = text.encode(rng.choice(("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "utf-7")), "replace")
    return rng.choice((encoded, content.replace(b"\n", b"\r\n"), content.replace(b"\n", b"\r")))


ON_BYTES: tuple[Bytes, ...] = (
    flip, overwrite, truncate, behead, remove, duplicate, splice, insert_junk, replace_number, nest, swap_lines, recode,
)  # fmt: skip


def mutate_bytes(rng: Random, content: bytes) -> bytes:
    """Change bytes by one to three mutators."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(ON_BYTES)(rng, content)
    return content


# --- plain values ---------------------------------------------------------------------------------------------------


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """All entries below a value, as (container, key or index)."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys:
            entries += [(value, key), *_nodes(value[key])]
    return entries


def odd_value(rng: Random, value: Any) -> Any:
    """A value in the place of another: an odd one, or the same in another type."""
    if rng.randrange(2):
        return copy.deepcopy(rng.choice(VALUES))
    nested: Any = value
    for _ in range(rng.choice((1, 1, 50, 600))):
        nested = [nested]
    number = value if isinstance(value, int | float) else len(str(value))
    listed = list(value.items()) if isinstance(value, dict) else list(str(value)[:50])
    return rng.choice(
        (str(value), [value], {"a": value}, nested, number, -number, number * 10**9, listed, str(value) * 2)
    )  # fmt: skip


def _replace(rng: Random, owner: Any, key: Any) -> None:
    owner[key] = odd_value(rng, owner[key])


def _remove(rng: Random, owner: Any, key: Any) -> None:
    del owner[key]


def _rename(rng: Random, owner: Any, key: Any) -> None:
    if isinstance(owner, dict):
        owner[rng.choice((f"{key}s", str(key).upper(), "", "\0", "\ud83d", "x" * 300, "<<", "1"))] = owner.pop(key)
    else:
        owner.insert(key, copy.deepcopy(rng.choice(VALUES)))


def _double(rng: Random, owner: Any, key: Any) -> None:
    """Double an item of a list; give a mapping one more entry."""
    if isinstance(owner, list):
        owner.extend(copy.deepcopy(owner[key]) for _ in range(rng.choice((1, 1, 30))))
    else:
        owner[f"{key}_2"] = copy.deepcopy(owner[key])


def mutate_value(rng: Random, value: Any) -> Any:
    """Return a changed copy of a plain value: one to three of its entries are replaced, removed, renamed or doubled."""
    value = copy.deepcopy(value)
    if not rng.randrange(40):
        return odd_value(rng, value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        nodes = _nodes(value)
        if not nodes:
            return odd_value(rng, value)
        # Entries near the top as often as those of long lists below.
        owner, key = rng.choice(nodes[: rng.choice((8, len(nodes)))])
        if not rng.randrange(6):
            other, place = rng.choice(nodes)
            owner[key] = copy.deepcopy(other[place])
        else:
            rng.choice((_replace, _replace, _replace, _remove, _rename, _double))(rng, owner, key)
    return value
