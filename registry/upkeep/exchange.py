"""A selection of directions as one portable file that another registry reads: `export` and `import`.

The file is a ZIP archive without compression: `bases/<id>.safetensors` as they lie in a home, `found.jsonl` with when
they were found, `models/<name>.json` of the models, `history.jsonl` with what was said of them. It may come from
anywhere: names are matched whole, nothing is ever unpacked by its name, and every basis is verified before it is kept.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from loco.errors import Damaged, InputError, LocoError, NewerFormat, StorageError
from loco.files import reading_errors, sweep, write_atomic, writing
from loco.ids import canonical
from loco.outside import opened
from registry.files import found, history, registered
from registry.files.basis import Entry, decode, holds, read_entry, read_header, write_basis
from registry.files.found import Found
from registry.home import Home
from registry.index import events, queries, rows
from registry.index.selection import Filters, chosen
from registry.index.session import Catalogue
from registry.records import Event, ModelRecord, utc

_BASIS = re.compile(r"bases/([0-9a-f]{32})\.safetensors")
_MODEL = re.compile(r"models/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.json")
_HISTORY = "history.jsonl"
_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of all members: two exports of one selection are the same bytes."""

_LARGEST = {"bases": 4 << 30, "models": 1 << 20, _HISTORY: 256 << 20, found.NAME: 256 << 20}
_CHUNK = 200


@dataclass(frozen=True)
class Exported:
    """What an export wrote: numbers of bases, directions and models."""

    bases: int
    directions: int
    models: int


@dataclass(frozen=True)
class Imported:
    """What an import brought: numbers of bases that are new and that were known, of models and events that are new.

    `refused` pairs each member that was not taken with the cause.
    """

    added: int
    known: int
    models: int
    events: int
    refused: tuple[tuple[str, str], ...]


def export(catalogue: Catalogue, home: Home, path: Path, filters: Filters) -> Exported:
    """Write the bases that hold the chosen directions, their models and what was said of them, to `path`.

    Raises `InputError` where nothing is chosen, `Damaged` or `StorageError` for a basis that cannot be read.
    """

    def look(session: Session) -> tuple[list[tuple[str, str, str]], list[ModelRecord], list[Event]]:
        rows = [(row.basis_id, row.id, row.model) for row in session.scalars(chosen(session, filters))]
        return rows, queries.models(session), queries.history(session, None)

    nothing: tuple[list[tuple[str, str, str]], list[ModelRecord], list[Event]] = ([], [], [])
    wanted, models, events = catalogue.read(look, nothing)
    if not wanted:
        raise InputError("export: no direction matches; fewer filters choose more")
    bases = sorted({basis_id for basis_id, _, _ in wanted})
    used = {model for _, _, model in wanted}
    models = [model for model in models if model.id in used]
    held: set[str] = set()
    times: list[Found] = []
    sweep(path.parent, deep=False)
    with writing(path, check=_check) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for basis_id in bases:
            holds(home, basis_id)
            data = home.basis(basis_id).read_bytes() if home.basis(basis_id).is_file() else b""
            held.update(one.id for one in decode(home.basis(basis_id), data).directions)
            _put(archive, f"bases/{basis_id}.safetensors", data)
            path = home.basis(basis_id)
            times.append(found.look(path, read_header(path).body))
        for model in models:
            _put(archive, f"models/{model.name}.json", registered.text(model))
        _put(archive, found.NAME, found.text(times))
        said = [one for one in events if one.direction_id in held]
        _put(archive, _HISTORY, "".join(f"{canonical(asdict(one))}\n" for one in said).encode())
    return Exported(len(bases), len({key for _, key, _ in wanted}), len(models))


def import_(catalogue: Catalogue, home: Home, path: Path) -> Imported:
    """Take what an exported file holds and is not here yet; what cannot be taken is named and passed over.

    A model comes under its name, unless that is taken or its id is known. Raises `InputError` for a file that is
    no such archive, `StorageError` when it cannot be read or the disk does not take it.
    """
    refused: list[tuple[str, str]] = []
    with reading_errors(path):
        if not path.exists():
            raise InputError(f"import: there is no file {path}")
    try:
        with reading_errors(path), opened(path, InputError) as file, zipfile.ZipFile(file) as archive:
            members = list(_members(archive, refused))
            times = {
                one.id: one
                for name, info in members
                if name == found.NAME
                for one in _times(archive, info, refused)
            }
            bases = [(name, info) for name, info in members if name.startswith("bases/")]
            added, known, ids = 0, 0, set[str]()
            for part in rows.chunks(bases, _CHUNK):
                fresh, old, more = _take(catalogue, home, archive, part, times, refused)
                added, known = added + fresh, known + old
                ids |= more
            models = sum(
                _take_model(catalogue, home, archive, info, refused)
                for name, info in members
                if name.startswith("models/")
            )
            events = sum(
                _take_history(catalogue, home, archive, info, ids, refused)
                for name, info in members
                if name == _HISTORY
            )
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise InputError(f"import: {path} is no file of `loco directions export`: {error}") from error
    return Imported(added, known, models, events, tuple(refused))


def _members(
    archive: zipfile.ZipFile, refused: list[tuple[str, str]]
) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The members that an export would have written, by name; the others go to `refused`."""
    seen = set()
    for info in archive.infolist():
        name = info.filename
        kind = name.partition("/")[0]
        if not (name in (_HISTORY, found.NAME) or _BASIS.fullmatch(name) or _MODEL.fullmatch(name)):
            refused.append((name[:200], "not a name that an export has"))
        elif (
            info.compress_type != zipfile.ZIP_STORED
            or info.file_size != info.compress_size
            or info.flag_bits & 1
        ):
            refused.append((name, "compressed or encrypted, which an export never is"))
        elif info.file_size > _LARGEST[kind]:
            refused.append((name, f"too large: {info.file_size} bytes"))
        elif name in seen:
            refused.append((name, "there twice"))
        else:
            seen.add(name)
            yield name, info


def _take(
    catalogue: Catalogue,
    home: Home,
    archive: zipfile.ZipFile,
    part: list[tuple[str, zipfile.ZipInfo]],
    times: dict[str, Found],
    refused: list[tuple[str, str]],
) -> tuple[int, int, set[str]]:
    """Files, then rows in one transaction; returns how many were new, how many known, and all direction ids."""
    entries, known = list[Entry](), 0
    ids = set[str]()
    for name, info in part:
        basis_id = name[6:38]
        try:
            basis = decode(Path(name), archive.read(info))
            if basis.id != basis_id:
                raise Damaged(f"holds the basis {basis.id}")
        except (StorageError, zipfile.BadZipFile) as error:
            refused.append((name, str(error)))
            continue
        if holds(home, basis_id):
            try:
                write_basis(home, basis)  # mends a damaged one
            except NewerFormat as error:
                refused.append((name, str(error)))
                continue
            known += 1
        else:
            found.note(home.basis(basis_id), times.get(basis_id) or found.just(basis_id))
            write_atomic(home.basis(basis_id), archive.read(info))
            write_basis(home, basis)  # sends it to a shared store
            entries.append(read_entry(home.basis(basis_id)))
        ids.update(one.id for one in basis.directions)
    if entries:
        catalogue.write(lambda session: rows.put_bases(session, entries))
    return len(entries), known, ids


def _times(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, refused: list[tuple[str, str]]
) -> Iterator[Found]:
    """When the bases were found."""
    for number, line in enumerate(archive.read(info).split(b"\n")[:-1], start=1):
        try:
            yield found.parse(line)
        except InputError as error:
            refused.append((f"{found.NAME} line {number}", str(error)[:200]))


def _take_model(
    catalogue: Catalogue,
    home: Home,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    refused: list[tuple[str, str]],
) -> bool:
    name = Path(info.filename)
    try:
        record = registered.model_from(archive.read(info), name)
        here = catalogue.read(queries.models, list[ModelRecord]())
        if any(record.id == one.id for one in here):
            return False
        if any(record.name == one.name for one in here):
            raise InputError(
                f"another model has the name {record.name!r} here; register it under a name of its own"
            )

        def work(session: Session) -> None:
            registered.write_model(home, record)
            rows.put_model(session, record)

        utc(record.added_at)
        catalogue.write(work)
    except LocoError as error:
        refused.append((info.filename, str(error)))
        return False
    return True


def _take_history(
    catalogue: Catalogue,
    home: Home,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    ids: set[str],
    refused: list[tuple[str, str]],
) -> int:
    """Events of the imported directions that are not here yet, in their order."""
    here = set(catalogue.read(lambda session: queries.history(session, None), list[Event]()))
    fresh = []
    for number, line in enumerate(archive.read(info).split(b"\n")[:-1], start=1):
        try:
            one = history.event_from(json.loads(line))
        except (ValueError, TypeError, InputError, RecursionError) as error:
            refused.append((f"{_HISTORY} line {number}", str(error)[:200]))
            continue
        if one.direction_id in ids and one not in here:
            fresh.append(one)
    if fresh:
        catalogue.write(lambda session: events.add(session, home, fresh))
    return len(fresh)


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _TIME), data)


def _check(path: Path) -> None:
    """Raise unless the written archive reads back whole."""
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise StorageError(f"{path}: {bad} does not read back as it was written; check the disk")
