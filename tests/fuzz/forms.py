"""Forms of files: how a mutator gets at the values in a file, and the mutation of any file by its suffix."""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from fuzz.mutators import mutate_bytes, mutate_value

Mutation = Callable[[Random, bytes], bytes]


def _json_text(value: Any) -> str:
    # Not json.dumps of huge integers: Python refuses to write more than 4300 digits.
    return json.dumps(value, default=str, ensure_ascii=True)


def mutate_json(rng: Random, content: bytes) -> bytes:
    return _json_text(mutate_value(rng, json.loads(content))).encode()


def mutate_jsonl(rng: Random, content: bytes) -> bytes:
    lines = [json.loads(line) for line in content.splitlines()]
    changed = mutate_value(rng, lines)
    return b"".join(_json_text(line).encode() + b"\n" for line in (changed if isinstance(changed, list) else [changed]))


def mutate_yaml(rng: Random, content: bytes) -> bytes:
    value = mutate_value(rng, yaml.safe_load(content))
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=rng.choice((None, True, False))).encode()


def mutate_csv(rng: Random, content: bytes) -> bytes:
    text = content.decode("utf-8-sig")
    separator = max(",;", key=text.count)
    rows = mutate_value(rng, [list(row) for row in csv.reader(io.StringIO(text), delimiter=separator)])
    stream = io.StringIO()
    rows = rows if isinstance(rows, list) else [[rows]]
    csv.writer(stream, delimiter=separator).writerows(row if isinstance(row, list) else [row] for row in rows)
    return stream.getvalue().encode(errors="backslashreplace")


def mutate_zip(rng: Random, content: bytes) -> bytes:
    """Change one file of an archive, as an Excel file is one."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(stream, "w") as changed:
        names = archive.namelist()
        target = rng.choice([name for name in names if "sheet" in name.lower() or not rng.randrange(3)] or names)
        for name in names:
            data = archive.read(name)
            if name != target:
                changed.writestr(name, data)
            elif rng.randrange(8):  # else it is left out
                changed.writestr(name, mutate_bytes(rng, data))
    return stream.getvalue()


def mutate_parquet(rng: Random, content: bytes) -> bytes:
    """Change cells, or a column's type."""
    table = pq.read_table(io.BytesIO(content))
    if rng.randrange(3):
        table = pa.Table.from_pylist(mutate_value(rng, table.to_pylist()))
    else:
        name = rng.choice(table.column_names)
        kinds = (pa.string(), pa.binary(), pa.int64(), pa.float64(), pa.bool_(), pa.null(), pa.large_string())
        column = rng.choice((pa.nulls(len(table), rng.choice(kinds)), table[name].combine_chunks().dictionary_encode()))
        table = table.set_column(table.column_names.index(name), name, column)
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def mutate_safetensors(rng: Random, content: bytes) -> bytes:
    """Change the header, with its length made right again or not."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    # What the package keeps in the metadata is JSON within a text.
    metadata = header.get("__metadata__", {})
    for name, text in metadata.items():
        if text.startswith("{") and rng.randrange(2):
            metadata[name] = _json_text(mutate_value(rng, json.loads(text)))
            break
    else:
        header = mutate_value(rng, header)
    changed = _json_text(header).encode()
    stated = rng.choice((len(changed), len(changed), len(changed), length, 0, 2**40, 2**63))
    return struct.pack("<Q", stated) + changed + content[8 + length :]


def mutate_png(rng: Random, content: bytes) -> bytes:
    """Change the content of one chunk and make its checksum right again, so that readers look further than that."""
    chunks, at = list[tuple[bytes, bytes]](), 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    place = rng.randrange(len(chunks))
    kind, data = chunks[place]
    if kind == b"IDAT" and rng.randrange(2):
        data = zlib.compress(mutate_bytes(rng, zlib.decompress(data)))
    else:
        data = mutate_bytes(rng, data)
    chunks[place : place + 1] = [(kind, data)] * rng.choice((0, 1, 1, 1, 2))
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


STRUCTURED: Mapping[str, Mutation] = {
    ".json": mutate_json,
    ".jsonl": mutate_jsonl,
    ".yaml": mutate_yaml,
    ".csv": mutate_csv,
    ".xlsx": mutate_zip,
    ".parquet": mutate_parquet,
    ".safetensors": mutate_safetensors,
    ".png": mutate_png,
}
"""Suffix -> mutation that knows the form."""


def mutate(rng: Random, content: bytes, suffix: str) -> bytes:
    """Change a file: by its form in two of three cases, else its bytes."""
    structured = STRUCTURED.get(suffix)
    return structured(rng, content) if structured and rng.randrange(3) else mutate_bytes(rng, content)
