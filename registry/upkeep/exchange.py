"""A selection of directions as one portable file that another registry reads: `export` and `import`.

The file is a ZIP archive without compression: `bases/<id>.safetensors` as they lie in a home, `found.jsonl` with when
they were found, `models/<name>.json` of the models, `history.jsonl` with what was said of them, `transfers.jsonl` with
how they do on other images. It may come from anywhere: names are matched whole, nothing is ever unpacked by its name,
and every basis is verified before it is kept.
"""

import contextlib
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from loco.errors import Damaged, InputError, LocoError, NewerFormat, StorageError
from loco.files import sweep, write_atomic, writing
from loco.outside import opened, regular_bytes
from registry.files import checked, found, history, journal, registered, transfers
from registry.files.basis import Entry, holds, read_entry, read_header, write_basis
from registry.files.basis_bytes import decode
from registry.files.found import Found
from registry.home import Home
from registry.index import events, queries, rows
from registry.index.selection import Filters, chosen
from registry.index.session import Catalogue
from registry.index.tables import BasisRow
from registry.records import Event, ModelRecord, Transfer, utc

_BASIS = re.compile(r"bases/([0-9a-f]{32})\.safetensors")
_MODEL = re.compile(r"models/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.json")
_HISTORY = "history.jsonl"
_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of all members: two exports of one selection are the same bytes."""

FORMAT = 1
"""Version of an export's layout; a later one is told in a member `format.json`."""

_SAYS = "format.json"
_LARGEST = {
    "bases": 1 << 30,
    "models": 1 << 20,
    _HISTORY: 256 << 20,
    found.NAME: 256 << 20,
    transfers.NAME: 256 << 20,
    _SAYS: 1 << 16,
}
_DIRECTORY = 64 << 20
"""Bytes that the archive's own directory may have, and the header of a basis file in it."""

_LINE = 1 << 16
_REFUSED = 10_000
_CHUNK = 200

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Exported:
    """What an export wrote: numbers of bases, of all their directions, of models, and of the directions chosen."""

    bases: int
    directions: int
    models: int
    chosen: int


@dataclass(frozen=True)
class Imported:
    """What an import brought: numbers of bases that are new and that were known, of models and events that are new.

    `refused` pairs each member that was not taken with the cause; `directions` counts those of the new bases.
    """

    added: int
    known: int
    models: int
    events: int
    refused: tuple[tuple[str, str], ...]
    directions: int = 0


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
            data = regular_bytes(home.basis(basis_id)) if home.basis(basis_id).is_file() else b""
            held.update(one.id for one in decode(home.basis(basis_id), data).directions)
            _put(archive, f"bases/{basis_id}.safetensors", data)
            times.append(found.look(home.basis(basis_id), read_header(home.basis(basis_id)).body))
        for model in models:
            _put(archive, f"models/{model.name}.json", registered.text(model))
        _put(archive, found.NAME, journal.text(times))
        scored = catalogue.read(
            lambda session: queries.transfers(session, sorted(held)), dict[str, Transfer]()
        )
        if scored:  # an older program names a member that it does not know
            _put(archive, transfers.NAME, journal.text(scored[key] for key in sorted(scored)))
        said = [one for one in events if one.direction_id in held]
        _put(archive, _HISTORY, journal.text(said))
    return Exported(len(bases), len(held), len(models), len({key for _, key, _ in wanted}))


def import_(catalogue: Catalogue, home: Home, path: Path) -> Imported:
    """Take what an exported file holds and is not here yet; what cannot be taken is named and passed over.

    A model comes under its name, unless that is taken or its id is known. Raises `InputError` for a file that is
    no such archive, `StorageError` when it cannot be read or the disk does not take it.
    """
    refused: list[tuple[str, str]] = []
    done = _Done()
    if not path.exists():
        raise InputError(f"import: there is no file {path}")
    try:
        with opened(path, InputError) as file:
            bounded = _Bounded(file, _DIRECTORY)
            with zipfile.ZipFile(cast(BinaryIO, bounded)) as archive:
                bounded.most = max(_LARGEST.values())
                members = dict(_members(archive, refused))
                _not_newer(path, archive, members)
                times = {one.id: one for one in _lines(archive, members, found.NAME, found.parse, refused)}
                said = list(_lines(archive, members, _HISTORY, history.parse, refused))
                scored = list(_lines(archive, members, transfers.NAME, transfers.parse, refused))
                bases = [name for name in members if name.startswith("bases/")]
                for part in rows.chunks(bases, _CHUNK):
                    _take(
                        catalogue, home, archive, {name: members[name] for name in part}, times, refused, done
                    )
                models = sum(
                    _take_model(catalogue, home, archive, info, refused)
                    for name, info in members.items()
                    if name.startswith("models/")
                )
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise InputError(f"import: {path} is no file of `loco directions export`: {error}") from error
    _take_transfers(catalogue, home, [one for one in scored if one.direction_id in done.ids])
    told = _take_history(catalogue, home, [one for one in said if one.direction_id in done.ids])
    return Imported(done.added, done.known, models, told, tuple(refused), done.directions)


class _Bounded:
    """A file of which no read takes more than `most` bytes: an archive says how large its parts are, and may lie."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self.most = file, most
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """As a file's; raises `BadZipFile` for more than the bound."""
        data = self._file.read(min(size, self.most + 1) if size >= 0 else self.most + 1)
        if len(data) > self.most:
            raise zipfile.BadZipFile(f"it has a part of more than {self.most} bytes")
        return data


@dataclass
class _Done:
    """What was taken so far; `ids` are those of all directions of bases that are here now."""

    added: int = 0
    known: int = 0
    directions: int = 0
    ids: set[str] = field(default_factory=set)


def _members(
    archive: zipfile.ZipFile, refused: list[tuple[str, str]]
) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The members that an export would have written, by name; the others go to `refused`."""
    seen = set()
    for info in archive.infolist():
        name = info.filename
        kind = name.partition("/")[0]
        if not (
            name in (_HISTORY, found.NAME, transfers.NAME, _SAYS)
            or _BASIS.fullmatch(name)
            or _MODEL.fullmatch(name)
        ):
            _refuse(refused, name[:200], "not a name that an export has")
        elif (
            info.compress_type != zipfile.ZIP_STORED
            or info.file_size != info.compress_size
            or info.flag_bits & 1
        ):
            _refuse(refused, name, "compressed or encrypted, which an export never is")
        elif info.file_size > _LARGEST[kind]:
            _refuse(refused, name, f"too large: {info.file_size} bytes")
        elif name in seen:
            _refuse(refused, name, "there twice")
        else:
            seen.add(name)
            yield name, info


def _not_newer(path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> None:
    """Raise `NewerFormat` for an export that says it is of a format that is not read here."""
    if _SAYS in members:
        with checked.explained("export", path, "export it again"):
            told = checked.plain(archive.read(members[_SAYS]), _LARGEST[_SAYS])
            checked.not_newer(told.get("format") if isinstance(told, dict) else None, FORMAT)


def _take(
    catalogue: Catalogue,
    home: Home,
    archive: zipfile.ZipFile,
    part: Mapping[str, zipfile.ZipInfo],
    times: Mapping[str, Found],
    refused: list[tuple[str, str]],
    done: _Done,
) -> None:
    """Files, then rows in one transaction; a file whose row a killed import did not write gets it now."""
    ids = [name[6:38] for name in part]
    query = select(BasisRow.id).where(rows.among(BasisRow.id, ids))
    listed = catalogue.read(lambda session: set(session.scalars(query)), set[str]())
    entries: list[Entry] = []
    for name, info in part.items():
        basis_id = name[6:38]
        try:
            data = _basis_bytes(archive, info)
            basis = decode(Path(name), data)
            if basis.id != basis_id:
                raise Damaged(f"holds the basis {basis.id}")
            if not holds(home, basis_id):
                found.note(home.basis(basis_id), times.get(basis_id) or found.just(basis_id))
                write_atomic(home.basis(basis_id), data)
            write_basis(home, basis)  # mends a damaged one, and sends it to a shared store
            if basis_id not in listed:
                entries.append(read_entry(home.basis(basis_id)))
                done.directions += len(basis.directions)
        except (Damaged, NewerFormat, InputError, zipfile.BadZipFile) as error:
            _refuse(refused, name, str(error))
            continue
        done.known += basis_id in listed
        done.ids.update(one.id for one in basis.directions)
    if entries:
        catalogue.write(lambda session: rows.put_bases(session, entries))
    done.added += len(entries)


def _basis_bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes, read only when the first ones describe a file of that size."""
    with archive.open(info) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(info.file_size, _DIRECTORY):
            raise Damaged("its header cannot be read")
        try:
            told = checked.plain(file.read(length), _DIRECTORY)
            ends = [one["data_offsets"][1] for name, one in told.items() if name != "__metadata__"]
            whole = max(ends, default=0) + length + 8 == info.file_size
        except (checked.Unfit, AttributeError, KeyError, IndexError, TypeError) as error:
            raise Damaged(f"its header cannot be read: {str(error)[:200]}") from error
    if not whole:
        raise Damaged("its arrays are not as long as its header says")
    return archive.read(info)


def _lines(
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    name: str,
    parse: Callable[[bytes], _Item],
    refused: list[tuple[str, str]],
) -> Iterator[_Item]:
    """What the lines of a member say; those that say nothing go to `refused`, by their numbers."""
    if name not in members:
        return
    with archive.open(members[name]) as file:
        number = 0
        while line := file.readline(_LINE + 1):
            number += 1
            long = len(line) > _LINE
            while line and not line.endswith(b"\n"):
                line = file.readline(_LINE)
            if not line:
                return
            try:
                if long:
                    raise checked.Unfit(f"it is longer than {_LINE} bytes")
                yield parse(line)
            except checked.Unfit as error:
                _refuse(refused, f"{name} line {number}", str(error)[:200])


def _refuse(refused: list[tuple[str, str]], what: str, cause: str) -> None:
    """Name a part that is not taken; raises `InputError` where there are too many for this to be an export."""
    refused.append((what, cause))
    if len(refused) > _REFUSED:
        raise InputError(
            f"import: more than {_REFUSED} parts of it cannot be taken, the last one {what}: {cause}"
        )


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
        path = registered.model_path(home, record.name)
        with contextlib.suppress(Damaged):
            if path.is_file():  # it may have no row: an import was killed between the two
                here.append(registered.read_model(path))
        if any(record.name == one.name and record.id != one.id for one in here):
            raise InputError(
                f"another model has the name {record.name!r} here; register it under a name of its own"
            )

        def work(session: Session) -> None:
            registered.write_model(home, record)
            rows.put_model(session, record)

        catalogue.write(work)
    except (LocoError, zipfile.BadZipFile) as error:
        _refuse(refused, info.filename, str(error))
        return False
    return True


def _take_history(catalogue: Catalogue, home: Home, said: list[Event]) -> int:
    """Append what is not here yet, in its order; returns how much that was."""
    return catalogue.write(events.adding(home, said, known=False)) if said else 0


def _take_transfers(catalogue: Catalogue, home: Home, scored: list[Transfer]) -> None:
    """Keep what is told of directions on other images where nothing as new is known of them here."""
    if not scored:
        return
    ids = [one.direction_id for one in scored]
    here = catalogue.read(lambda session: queries.transfers(session, ids), dict[str, Transfer]())
    fresh = {
        one.direction_id: one
        for one in scored
        if one.direction_id not in here or utc(one.at) > utc(here[one.direction_id].at)
    }

    def work(session: Session) -> None:
        transfers.append(home, fresh.values())
        rows.put_transfers(session, fresh.values())

    if fresh:
        catalogue.write(work)


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _TIME), data)


def _check(path: Path) -> None:
    """Raise unless the written archive reads back whole."""
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    if bad is not None:
        raise StorageError(f"{path}: {bad} does not read back as it was written; check the disk")
