"""Rows in bulk: Arrow into DuckDB, COPY into PostgreSQL, and whole results out of both as Arrow tables."""

import contextlib
import gc
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Executable, insert, select
from sqlalchemy.orm import Session

from loco.ids import canonical
from registry.files.sketches import SKETCH
from registry.index.tables import PlainJson, SketchRow, Table

if TYPE_CHECKING:
    import pyarrow

_ARROW_FROM = 20
"""Rows from which the bulk path pays: below it, loading pyarrow (0.3 s) costs more than binding.

Binding takes up to 3 ms a row: without pandas installed, DuckDB 1.5 looks for it on the disk at each value.
"""

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""The same text as `canonical`, five times as fast, for what was plain data before."""

_SKETCH = ("varchar", "int4", "float4[]")
"""PostgreSQL's types of a row of `sketches`."""


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within it Python does not look for cyclic garbage: among many rows there is none, and looking takes a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def insert_rows(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows given by column; many at once take the database's bulk path."""
    names = [column.name for column in table.__table__.columns]
    insert_columns(session, table, {name: [row[name] for row in rows] for name in names})


def insert_columns(session: Session, table: type[Table], data: Mapping[str, Sequence[Any]]) -> None:
    """The same for whole columns."""
    names = [column.name for column in table.__table__.columns]
    count = len(data[names[0]])
    if count < _ARROW_FROM:
        if count:
            values = zip(*(data[name] for name in names), strict=True)
            session.execute(insert(table), [dict(zip(names, row, strict=True)) for row in values])
        return
    import pyarrow

    arrays = {
        # The bulk paths do not know of SQLAlchemy's types: do here what they would.
        column.name: pyarrow.array(
            list(map(_JSON.encode, data[column.name]))
            if isinstance(column.type, PlainJson)
            else data[column.name],
            type=arrow_type(column.type),
        )
        for column in table.__table__.columns
    }
    insert_arrow(session, table, pyarrow.table(arrays))


def insert_arrow(session: Session, table: type[Table], data: "pyarrow.Table") -> None:
    """Insert an Arrow table whose columns are the database's own: JSON is text there."""
    if not data.num_rows:
        return
    if session.get_bind().dialect.name == "duckdb":
        from duckdb_sqlalchemy import insert_from_arrow

        insert_from_arrow(session.connection(), table.__table__, data)
        return
    from pyarrow import csv

    stream = io.BytesIO()
    # Quotes round all that is not NULL: an empty text and none stay two things.
    csv.write_csv(data, stream, csv.WriteOptions(include_header=False, quoting_style="all_valid"))
    names = ", ".join(f'"{name}"' for name in data.column_names)
    _copy_in(session, f"COPY {table.__tablename__} ({names}) FROM STDIN (FORMAT csv)", stream.getbuffer())


def insert_sketches(
    session: Session, basis_ids: Sequence[str], rows: Sequence[int], sketches: NDArray[np.float32]
) -> None:
    """Insert sketches [n, SKETCH]; never as bound lists, which take 60 ms a row in DuckDB."""
    if not len(rows):
        return
    if session.get_bind().dialect.name == "postgresql":
        cursor = session.connection().connection.cursor()
        with cursor.copy("COPY sketches (basis_id, row, sketch) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(_SKETCH)
            for one in zip(basis_ids, map(int, rows), sketches.tolist(), strict=True):
                copy.write_row(one)
        cursor.close()
        return
    import pyarrow

    flat = pyarrow.array(np.ascontiguousarray(sketches, dtype=np.float32).reshape(-1))
    data = {
        "basis_id": pyarrow.array(basis_ids, type=pyarrow.string()),
        "row": pyarrow.array(rows, type=pyarrow.int32()),
        "sketch": pyarrow.FixedSizeListArray.from_arrays(flat, SKETCH),
    }
    insert_arrow(session, SketchRow, pyarrow.table(data))


def to_arrow(session: Session, query: Executable) -> "pyarrow.Table":
    """The result of a query as an Arrow table."""
    import pyarrow

    if session.get_bind().dialect.name == "duckdb":
        result = session.connection().execution_options(duckdb_arrow=True).execute(query)
        found = result.arrow  # type: ignore[attr-defined]
        return found if isinstance(found, pyarrow.Table) else found.read_all()
    result = session.connection().execute(query)
    names = list(result.keys())
    kinds = [column.type for column in query.selected_columns]  # type: ignore[attr-defined]
    columns = list(zip(*result.tuples().all(), strict=True)) or [()] * len(names)
    arrays = [
        pyarrow.array(
            [canonical(value) for value in values] if isinstance(kind, PlainJson) else values,
            type=arrow_type(kind),
        )
        for values, kind in zip(columns, kinds, strict=True)
    ]
    return pyarrow.table(arrays, names=names)


def read_sketches(
    session: Session,
) -> tuple[NDArray[np.bytes_], NDArray[np.int32], NDArray[np.float32]]:
    """All sketches: basis ids, rows and numbers [N, SKETCH]."""
    if session.get_bind().dialect.name == "duckdb":
        table = to_arrow(
            session, select(SketchRow.basis_id, SketchRow.row, SketchRow.sketch)
        ).combine_chunks()
        ids = np.asarray(table["basis_id"].to_numpy(zero_copy_only=False)).astype("S32")
        numbers = np.zeros((table.num_rows, SKETCH), np.float32)
        at = 0
        for chunk in table["sketch"].chunks:
            numbers[at : at + len(chunk)] = chunk.flatten().to_numpy().reshape(-1, SKETCH)
            at += len(chunk)
        return ids, table["row"].to_numpy().astype(np.int32), numbers
    cursor = session.connection().connection.cursor()
    with cursor.copy("COPY (SELECT basis_id, row, sketch FROM sketches) TO STDOUT (FORMAT BINARY)") as copy:
        copy.set_types(_SKETCH)
        rows = list(copy.rows())
    cursor.close()
    return (
        np.array([basis_id for basis_id, _, _ in rows], "S32"),
        np.array([row for _, row, _ in rows], np.int32),
        np.array([numbers for _, _, numbers in rows], np.float32).reshape(-1, SKETCH),
    )


def arrow_type(kind: Any) -> Any:
    """The Arrow type of a column's type, or None where the values must tell."""
    import pyarrow
    from sqlalchemy import types

    for one, arrow in (
        (types.Boolean, pyarrow.bool_()),
        (types.BigInteger, pyarrow.int64()),
        (types.Integer, pyarrow.int32()),
        (types.Double, pyarrow.float64()),
        (types.DateTime, pyarrow.timestamp("us")),
        (types.String, pyarrow.string()),
        (PlainJson, pyarrow.string()),
    ):
        if isinstance(kind, one):
            return arrow
    return None


def _copy_in(session: Session, statement: str, data: Any) -> None:
    cursor = session.connection().connection.cursor()
    with cursor.copy(statement) as copy:
        copy.write(data)
    cursor.close()
