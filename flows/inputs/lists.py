"""Lists of images as people and other programs write them: names a line, tables with a column of paths, JSON lines.

UTF-8, UTF-16 and UTF-32 with a mark or without, any ends of lines. An entry that makes no sense is an item with a
trouble; so is a line that cannot be read. Names of outputs stay in the output folder, wherever the entries lead.
"""

import csv
import io
import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from flows.inputs.places import Source, at, is_url, local_path
from loco.errors import InputError
from loco.listing import ending
from loco.outside import encoding_of
from loco.urls import name_of

COLUMNS = ("path", "file_name", "filename", "file_path", "image_path", "image", "img", "file", "url", "name")
"""Columns and keys that can hold the paths, the likeliest first."""

ENDINGS = ("txt", "lst", "csv", "tsv", "jsonl", "ndjson", "json")
"""Endings of lists."""

_WHOLE = 256 * 2**20
"""Bytes of a list that must be read as a whole: JSON that is no lines."""

_LINE = 2**20
"""Characters of a line that are read."""

_ENTRY = 2**15
"""Characters of a path or URL that are tried; no system takes more."""


def listed_in(where: str) -> Iterator[Source]:
    """The images that a list names; relative ones count from its own folder. Raises `InputError`, `StorageError`."""
    kind = ending(where)
    with at(where) as file:
        text = _decoded(file)
        match kind:
            case "csv" | "tsv":
                entries = _table(where, text, "\t" if kind == "tsv" else None)
            case "jsonl" | "ndjson":
                entries = _json_lines(text)
            case "json":
                entries = _json(where, text)
            case _:
                entries = _names(text)
        number = 0
        for number, (entry, trouble) in enumerate(entries, start=1):
            if len(entry) > _ENTRY:
                trouble = f"entry {number} has {len(entry)} characters, which no path and no URL has"
            yield Source(f"entry {number}", where, trouble=trouble) if trouble else _source(where, entry)
    if not number:
        raise InputError(f"{where}: a list without an entry")


def _decoded(file: BinaryIO) -> io.TextIOWrapper:
    """Its lines, whatever ends them; bytes that are no text stay what they are in UTF-8."""
    head = file.read(4)
    file.seek(0)
    encoding = encoding_of(head)
    return io.TextIOWrapper(file, encoding, errors="surrogateescape" if "8" in encoding else "replace")


def _lines(text: io.TextIOWrapper, first: int = 1) -> Iterator[tuple[int, str | None]]:
    """The lines with their numbers, None for one that is too long to be read."""
    number = first
    while line := text.readline(_LINE):
        whole = line.endswith("\n") or len(line) < _LINE
        yield number, line if whole else None
        while not whole:
            line = text.readline(_LINE)
            whole = line.endswith("\n") or len(line) < _LINE
        number += 1


def _long(number: int) -> tuple[str, str]:
    return "", f"line {number} has more than {_LINE} characters"


def _names(text: io.TextIOWrapper) -> Iterator[tuple[str, str]]:
    for number, line in _lines(text):
        entry = "" if line is None else line.strip()
        if len(entry) > 2 and entry[0] == entry[-1] == '"':  # as file managers copy paths
            entry = entry[1:-1]
        if line is None:
            yield _long(number)
        elif entry and not entry.startswith("#"):
            yield entry, ""


def _table(where: str, text: io.TextIOWrapper, delimiter: str | None) -> Iterator[tuple[str, str]]:
    first = text.readline(_LINE)
    if delimiter is None:
        delimiter = max(",;\t|", key=first.count)
    try:
        header = [one.strip() for one in next(csv.reader([first], delimiter=delimiter), [])]
    except csv.Error as error:
        raise InputError(f"{where}: its first line is no header of a table ({error})") from error
    column = _column(header)
    if column is None:
        raise InputError(
            f"{where}: no column of paths; its columns are {', '.join(header) or 'none'}, "
            f"expected one of {', '.join(COLUMNS)}"
        )
    for number, row, trouble in _rows(text, delimiter):
        if trouble:
            yield "", f"{where}: line {number} is no row of a table ({trouble})"
        elif any(row):
            entry = row[column].strip() if column < len(row) else ""
            yield (entry, "") if entry else ("", f"{where}: line {number} has no {header[column]}")


def _rows(text: io.TextIOWrapper, delimiter: str) -> Iterator[tuple[int, list[str], str]]:
    """The rows after the header, with the numbers of their first lines and why one is none.

    Where quotes make no sense, as those that are never closed, a row is its own line: it costs none of those after it.
    """
    lines, ahead = _lines(text, 2), deque[tuple[int, str | None]]()
    while (first := ahead.popleft() if ahead else next(lines, None)) is not None:
        number, line = first
        if line is None:
            yield number, [], f"more than {_LINE} characters"
            continue
        taken: list[tuple[int, str | None]] = []
        try:
            quoted = _quoted(line, ahead, lines, taken)
            yield number, next(csv.reader(quoted, delimiter=delimiter, strict=True)), ""
        except csv.Error:
            ahead.extendleft(reversed(taken))
            try:
                yield number, next(csv.reader([line], delimiter=delimiter)), ""
            except csv.Error as error:
                yield number, [], str(error)


def _quoted(
    line: str,
    ahead: deque[tuple[int, str | None]],
    lines: Iterator[tuple[int, str | None]],
    taken: list[tuple[int, str | None]],
) -> Iterator[str]:
    """A line and those after it, for as long as quotes go on; what is `taken` can be given back."""
    yield line
    while (one := ahead.popleft() if ahead else next(lines, None)) is not None:
        taken.append(one)
        if one[1] is None:
            raise csv.Error("a line that is too long")
        yield one[1]


def _column(header: list[str]) -> int | None:
    lower = [one.lower() for one in header]
    return next((lower.index(name) for name in COLUMNS if name in lower), None)


def _json_lines(text: io.TextIOWrapper) -> Iterator[tuple[str, str]]:
    for number, line in _lines(text):
        if line is None:
            yield _long(number)
        elif line.strip():
            try:
                yield _entry(json.loads(line), f"line {number}")
            except (ValueError, RecursionError):
                yield "", f"line {number} is not JSON"


def _json(where: str, text: io.TextIOWrapper) -> Iterator[tuple[str, str]]:
    """A list of names or objects, or an object that has one under `images`."""
    content = text.read(_WHOLE)
    if text.read(1):
        raise InputError(f"{where}: more than {_WHOLE >> 20} MiB of JSON; write it as lines (.jsonl)")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    if isinstance(value, dict):
        value = value.get("images")
    if not isinstance(value, list):
        raise InputError(f'{where}: expected a list of paths, or {{"images": [{{"file_name": "a.png"}}]}}')
    for number, one in enumerate(value, start=1):
        yield _entry(one, f"entry {number}")


def _entry(value: Any, which: str) -> tuple[str, str]:
    if isinstance(value, str) and value:
        return value, ""
    if isinstance(value, dict):
        for name in COLUMNS:
            if isinstance(value.get(name), str) and value[name]:
                return value[name], ""
    return "", f"{which} has no path (one of {', '.join(COLUMNS)})"


def _source(where: str, entry: str) -> Source:
    """What an entry means. Its name is its path below the list's folder, or where it leads elsewhere, what is left."""
    own = local_path(where)
    base = where.partition("?")[0].rpartition("/")[0]
    path = None
    if is_url(entry):
        path = local_path(entry)
        if path is None:
            try:
                parts = urlsplit(entry)
                name = f"{parts.hostname or parts.scheme}/{parts.path.strip('/')}"
            except ValueError as error:
                return Source(name_of(entry), entry, trouble=f"{entry}: not a URL ({error})")
            return Source("/".join(one for one in name.split("/") if one not in ("", ".", "..")), entry)
    if path is None and own is None and not entry.startswith("/"):
        return Source(_within(PurePosixPath(entry)), f"{base}/{entry}")
    full = (own.parent if own is not None else PurePosixPath(base)) / (path or entry)
    # Not resolved: a list may well go through links.
    root = os.path.normpath(own.parent.absolute() if own is not None else base)
    relative = os.path.relpath(os.path.normpath(Path(full).absolute()), root)
    if relative.startswith(".."):
        given = PurePosixPath(entry if path is None else path)
        return Source(given.name if given.is_absolute() else _within(given), str(full))
    return Source(relative, str(full))


def _within(path: PurePosixPath) -> str:
    """A path without what leads out of its folder."""
    parts: list[str] = []
    for part in path.parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    return "/".join(parts) or path.name
