"""Answers of SQL as files: written batch by batch, so that their size does not matter."""

import csv
import io
import itertools
import json
from collections.abc import Iterator
from typing import BinaryIO

from loco.errors import InputError
from registry.index.outputs import FORMATS
from registry.sql.question import Answer, json_value, unlike


def kind_of(name: str, given: str | None) -> str:
    """The kind of file: as `given`, or by the ending of the file's name; raises `InputError` for any other."""
    kind = given or name.rpartition(".")[2].lower()
    if kind not in FORMATS:
        raise InputError(
            f"out: expected a name that ends in .{', .'.join(FORMATS)}, or --format, found {name!r}"
        )
    return kind


def write(answer: Answer, kind: str, file: BinaryIO) -> int:
    """Write the rows in one of `FORMATS`; returns how many there were."""
    if kind in ("csv", "jsonl"):
        count = 0
        for line in lines(answer, kind):
            file.write(line.encode())
            count += 1
        return count - (kind == "csv")
    import pyarrow
    from pyarrow import ipc, parquet

    batches = answer.source.batches()
    first = next(batches)
    count = 0
    names = unlike(first.schema.names)
    schema = pyarrow.schema([field.with_name(name) for field, name in zip(first.schema, names, strict=True)])
    sink = parquet.ParquetWriter(file, schema) if kind == "parquet" else ipc.new_file(file, schema)
    with sink as writer:
        for batch in itertools.chain([first], batches):
            writer.write_table(pyarrow.Table.from_batches([batch]).rename_columns(names))
            count += batch.num_rows
    return count


def lines(answer: Answer, kind: str) -> Iterator[str]:
    """The rows as lines of text; for CSV the columns' names come first."""
    if kind == "jsonl":
        yield from (json.dumps(record) + "\n" for record in answer.records())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in itertools.chain([answer.names], answer.rows()):
        writer.writerow(map(_cell, row))
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _cell(value: object) -> object:
    """A value in CSV: lists and the like as JSON, and yes and no as there."""
    plain = json_value(value)
    return json.dumps(plain) if isinstance(plain, list | dict | bool) else plain
