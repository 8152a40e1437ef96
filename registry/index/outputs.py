"""Found directions as tables for other programs: Arrow, and CSV, Parquet, Arrow or JSON files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from loco.errors import InputError
from loco.files import write_atomic
from registry.home import Home
from registry.index import names
from registry.index.bulk import arrow_type, to_arrow
from registry.index.selection import Filters, ordered
from registry.index.session import Catalogue
from registry.index.tables import DirectionRow

if TYPE_CHECKING:
    import pyarrow

FORMATS = ("csv", "parquet", "arrow", "jsonl")
"""Kinds of files, each the ending of its names."""


def table(catalogue: Catalogue, home: Home, filters: Filters) -> "pyarrow.Table":
    """The directions that pass the filters: their own columns, the path of each basis file under `artifact`, and what
    others tell of them (`registry.index.names`)."""
    import pyarrow
    from pyarrow import compute

    own = [column.name for column in DirectionRow.__table__.columns if column.name != "shown"]
    every = {name: getattr(DirectionRow, name) for name in own} | names.beside()
    columns = [names.text(one).label(name) for name, one in every.items()]
    empty = pyarrow.table({one.name: pyarrow.array([], type=arrow_type(one.type)) for one in columns})

    def work(session: Session) -> "pyarrow.Table":
        # Columns, not entities: whole results skip the ORM.
        return to_arrow(session, names.joined(*ordered(session, filters), own))

    found = catalogue.read(work, empty)
    folder = f"{home.bases}/"
    ids = found["basis_id"].cast(pyarrow.string())
    paths = compute.binary_join_element_wise(
        folder, compute.utf8_slice_codeunits(ids, 0, 2), "/", ids, ".safetensors", ""
    )
    return found.add_column(len(own), "artifact", paths)


def write(data: "pyarrow.Table", path: Path) -> None:
    """Write a table to a file, whose ending says the format; raises `InputError` for any other ending."""
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise InputError(f"{path}: expected a name that ends in .{', .'.join(FORMATS)}, found {path.name!r}")
    write_atomic(path, encode(data, kind))


def encode(data: "pyarrow.Table", kind: str) -> bytes:
    """The table in one of `FORMATS`."""
    import pyarrow
    from pyarrow import csv, ipc, parquet

    if kind == "jsonl":
        return "".join(json.dumps(row, default=_text) + "\n" for row in data.to_pylist()).encode()
    stream = pyarrow.BufferOutputStream()
    if kind == "csv":
        csv.write_csv(data, stream)
    elif kind == "parquet":
        parquet.write_table(data, stream)
    else:
        with ipc.new_file(stream, data.schema) as writer:
            writer.write_table(data)
    return bytes(stream.getvalue())


def _text(value: Any) -> str:
    return str(value.isoformat())
