"""Writes rows of a layout as one parquet file, as the data sets on the hub are stored."""

from __future__ import annotations

import io
import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

import pyarrow as pa
import pyarrow.parquet as pq

from mmunlearner.core.files import write_bytes
from mmunlearner.data.images import ImageRef
from mmunlearner.data.schema import Cell, Json, columns, fit

_TEXT, _IMAGE = pa.string(), pa.struct({"bytes": pa.binary(), "path": pa.string()})
_PLAIN = {str: _TEXT, int: pa.int64(), float: pa.float64(), bool: pa.bool_(), ImageRef: _IMAGE}


def write_parquet(path: Path, kind: type, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows, whole or not at all; returns the file. Equal rows give equal bytes.

    Images are encoded bytes (PNG, JPEG), PIL images or `ImageRef`; `Json` columns are JSON text or values.
    `datasets` decodes the images, by the metadata that its own files have.

    Raises:
        DataError: a row does not fit the layout; names row and column.
    """
    fitted: list[Any] = [fit(row, kind, Cell(path, number)) for number, row in enumerate(rows, 1)]
    kinds = {name: inner for name, (inner, _) in columns(kind).items()}
    schema = {name: _arrow(inner, [row.get(name) for row in fitted]) for name, inner in kinds.items()}
    cells = [{name: _cell(value, kinds[name]) for name, value in row.items()} for row in fitted]
    info = json.dumps({"info": {"features": {name: _feature(type_) for name, type_ in schema.items()}}})
    stream = io.BytesIO()
    table = pa.Table.from_pylist(cells, schema=pa.schema(schema, metadata={"huggingface": info}))
    pq.write_table(table, stream, compression="zstd", row_group_size=100)
    return write_bytes(path, stream.getvalue())


def _cell(value: Any, kind: Any) -> Any:
    """A value as the table stores it."""
    if get_origin(kind) is Annotated and Json in get_args(kind):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, ImageRef):
        return {"bytes": value.read_bytes(), "path": None if value.data is not None else Path(value.path).name}
    return [_cell(item, object) for item in value] if isinstance(value, list) else value


def _arrow(kind: Any, values: Sequence[Any]) -> pa.DataType:
    """The Arrow type of a kind; `values` are all that it has to hold."""
    values = [value for value in values if value is not None]
    origin, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        return pa.struct({name: _arrow(k, [v.get(name) for v in values]) for name, (k, _) in columns(kind).items()})
    if origin is Annotated:
        return _TEXT if Json in inner else _arrow(inner[0], values)
    if origin in (Union, types.UnionType):
        return _arrow(inner[0], values)
    if origin is list:
        return pa.list_(_arrow(inner[0], [item for value in values for item in value]))
    if origin is dict:
        return pa.struct({name: _arrow(inner[1], [v.get(name) for v in values]) for name in _names(values)})
    return _TEXT if origin is Literal else _PLAIN[kind]


def _names(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names that any value has; the letters of options are A to D at least, which other readers rely on."""
    names = {name for value in values for name in value}
    return sorted(names | set(ascii_uppercase[:4]) if names <= set(ascii_uppercase) else names)


def _feature(kind: pa.DataType) -> Any:
    """An Arrow type in the words of `datasets`."""
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {"_type": "Image"} if kind == _IMAGE else {field.name: _feature(field.type) for field in kind}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}
