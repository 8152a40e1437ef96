"""An output folder's manifest: which of its lines are ours, and the same lines as a Parquet table.

A file of that name may be somebody else's (`manifest.jsonl` is a usual name in data work). Lines that are not ours are
kept as they are, byte by byte, and a file without a line of ours is refused.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from loco.errors import InputError
from loco.files import writing
from loco.outside import regular

_BATCH = 2000
"""Rows of the table in memory at a time."""

LONGEST = 4 * 2**20
"""Bytes of a line that can be ours."""

_TORN = b'{"cause": "'
"""How a line of ours begins: its keys are sorted."""

_TEXTS = ("id", "output", "checksum", "run_id", "image_name")


def ours(line: Any) -> bool:
    """Whether a parsed line is one that this program writes, whole and of the right types."""
    return (
        isinstance(line, dict)
        and all(isinstance(line.get(name), str) for name in _TEXTS)
        and all(isinstance(line.get(name, ""), str) for name in ("image_id", "recipe_id", "status", "cause"))
        and all(isinstance(line.get(name, 0.0), int | float) for name in ("strength", "applied", "seconds"))
        and isinstance(line.get("recipe"), dict)
        and _pairs(line["recipe"].get("directions", []))
        and isinstance(line.get("metrics", {}), dict)
        and isinstance(line.get("notes", []), list)
        and all(isinstance(line.get(name, ""), str) for name in ("shard", "member"))
        and bool(line["output"])
    )


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 2 and isinstance(one[1], int | float) for one in value
    )


def vouched(line: dict[str, Any]) -> str:
    """The checksum that a line of ours vouches for, or empty; a failure vouches for what was there before it."""
    return str(line.get("former") or line["checksum"])


def pieces(file: BinaryIO) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """A manifest's lines as bytes, each with what it says where it is ours; too long ones in parts."""
    inside = False
    while text := file.readline(LONGEST):
        yield text, None if inside else _parsed(text)
        inside = not text.endswith(b"\n")


def lines(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Our lines in a file, parsed and as text; a missing file has none. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError), regular(path) as file:
        for text, line in pieces(file):
            if line is not None:
                yield line, text.decode("utf-8").rstrip("\n")


def _parsed(text: bytes) -> dict[str, Any] | None:
    if not text.startswith(b"{"):
        return None
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if ours(line) else None


def torn(fragment: bytes) -> bool:
    """Whether an end without a newline is the beginning of a line of ours, cut off by a kill."""
    return _TORN.startswith(fragment[: len(_TORN)]) and _parsed(fragment) is None and not _whole(fragment)


def _whole(fragment: bytes) -> bool:
    """Whether it says something by itself: then somebody else wrote it, without a newline."""
    try:
        json.loads(fragment)
    except (ValueError, RecursionError):
        return False
    return True


def torn_output(path: Path) -> str | None:
    """The output that a torn last line of ours is about, where the part that is left says so; raises `OSError`."""
    last = b""
    with contextlib.suppress(FileNotFoundError), regular(path) as file:
        for text, _ in pieces(file):
            last = text
    if last.endswith(b"\n") or not torn(last):
        return None
    begin = last.rfind(b'"output": ')
    try:
        return str(json.JSONDecoder().raw_decode(last[begin + 10 :].decode("ascii", "replace"))[0])
    except ValueError:
        return None


def check_manifest(file: BinaryIO, shown: str) -> None:
    """Refuse a manifest that is somebody else's, with an `InputError` that says what to do."""
    empty = True
    for text, line in pieces(file):
        if line is not None or (not text.endswith(b"\n") and torn(text)):
            return
        empty = False
    if not empty:
        raise taken(shown, "no line of it is of ours")


def check_table(file: BinaryIO, shown: str) -> None:
    """The same for the table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = set(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        raise taken(shown, "no Parquet file of ours") from error
    if not {"output", "image", "edit_id", "checksum", "strength"} <= found:
        raise taken(shown, "it has other columns than ours")


def taken(shown: str, why: str) -> InputError:
    """What is said of a file that is not ours."""
    return InputError(
        f"{shown} is somebody else's ({why}) and stays as it is; give ours another name with --manifest NAME, "
        f"or choose another --out"
    )


def replace_lines(path: Path, texts: Iterable[str]) -> None:
    """A manifest of these lines of ours in place of the old one, whose other lines stay; the lock goes with the old.

    Raises `StorageError`.
    """
    with writing(path) as file:
        end = b"\n"
        with regular(path) as old:
            for text, line in pieces(old):
                if line is None and not (end.endswith(b"\n") and not text.endswith(b"\n") and torn(text)):
                    file.write(text)
                    end = text
        if not end.endswith(b"\n"):
            file.write(b"\n")
        file.writelines(f"{text}\n".encode() for text in texts)


def write_table(path: Path, texts: Iterable[str]) -> None:
    """The manifest's lines as Parquet, one row an output, some rows at a time; raises `StorageError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.float64()
    kinds = {
        "output": text,
        "image": text,
        "image_id": text,
        "edit_id": text,
        "recipe_id": text,
        "checksum": text,
        "status": text,
        "cause": text,
        "strength": number,
        "applied": number,
        "unit": text,
        "t": number,
        "steps": pa.int64(),
        "directions": pa.list_(text),
        "weights": pa.list_(number),
        "change": number,
        "metrics": text,
        "notes": pa.list_(text),
        "seconds": number,
        "marks": pa.list_(text),
        "shard": text,
        "member": text,
    }
    schema = pa.schema(list(kinds.items()))
    with writing(path) as file, pq.ParquetWriter(file, schema) as writer:
        rows: list[dict[str, Any]] = []
        for one in texts:
            rows.append(_row(json.loads(one)))
            if len(rows) == _BATCH:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _row(line: dict[str, Any]) -> dict[str, Any]:
    recipe, metrics = line.get("recipe", {}), line.get("metrics", {})
    pairs = recipe.get("directions", [])
    return {
        "output": line["output"],
        "image": line.get("image_name"),
        "image_id": line.get("image_id"),
        "edit_id": line["id"],
        "recipe_id": line.get("recipe_id"),
        "checksum": line["checksum"],
        "status": line.get("status", "done"),
        "cause": line.get("cause", ""),
        "strength": float(line.get("strength", 0.0)),
        "applied": float(line.get("applied", line.get("strength", 0.0))),
        "unit": recipe.get("unit", "lambda"),
        "t": recipe.get("t"),
        "steps": recipe.get("steps"),
        "directions": [str(pair[0]) for pair in pairs],
        "weights": [float(pair[1]) for pair in pairs],
        "change": float(metrics.get("change", 0.0)),
        "metrics": json.dumps(metrics, sort_keys=True),
        "notes": [str(one) for one in line.get("notes", [])],
        "seconds": float(line.get("seconds", 0.0)),
        "marks": list(line.get("marks", [])),
        "shard": line.get("shard"),
        "member": line.get("member"),
    }
