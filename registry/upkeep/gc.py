"""`gc`: what nobody needs any more, found and deleted."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from loco import files
from loco.errors import Damaged, StorageError
from loco.files import storage_errors
from registry.alike import matrix
from registry.files import shared
from registry.files.basis import is_newer, read_basis
from registry.home import Home
from registry.index import rows
from registry.index.session import Catalogue
from registry.index.tables import AliasRow, DirectionRow, LabelRow, RejectionRow
from registry.upkeep import verify


@dataclass(frozen=True)
class Garbage:
    """Something that can go: its path, why, and how many bytes that frees."""

    path: str
    why: str
    size: int


def garbage(
    catalogue: Catalogue, home: Home, *, rejected: bool = False, damaged: bool = False
) -> list[Garbage]:
    """What nobody needs: what killed processes left half written, and old caches.

    With `rejected` also bases of which every direction was rejected and none has a label or an alias, with
    `damaged` also basis files that cannot be used any more.
    """
    found = [_item(path, "half written") for path in files.leftovers(home.root)]
    found += [_item(path, "of an older set of bases") for path in matrix.stale(catalogue, home)]
    if rejected:
        found += [
            _item(home.basis(basis_id), "all of its directions were rejected")
            for basis_id in catalogue.read(_rejected, list[str]())
            if not is_newer(home.basis(basis_id))
        ]
    if damaged:
        for path in verify.basis_files(home):
            try:
                read_basis(path)
            except Damaged:
                found.append(_item(path, "damaged"))
            except StorageError:
                continue  # a newer program's, or a file that cannot be read now
    return found


def collect(catalogue: Catalogue, home: Home, items: list[Garbage]) -> int:
    """Delete these; rows go before files, so that no row is ever without its file. Returns the bytes freed."""
    bases = [path.stem for path in (Path(item.path) for item in items) if home.basis(path.stem) == path]
    if bases:
        catalogue.write(lambda session: rows.drop_bases(session, bases))
    store = shared.shared(home)
    freed = 0
    for item in items:
        path = Path(item.path)
        with storage_errors(path):
            if files.is_partial(path):
                files.discard(path)  # unless it is a living process' by now
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if store is not None and path.stem in bases and store.has(path.stem):
            store.delete(path.stem)
        freed += item.size
    return freed


def _rejected(session: Session) -> list[str]:
    """Bases of which every direction was rejected and none has a label or an alias."""
    row = DirectionRow
    kept = select(row.basis_id).where(row.id.not_in(select(RejectionRow.direction_id)))
    named = select(row.basis_id).where(
        row.id.in_(select(LabelRow.direction_id).union(select(AliasRow.direction_id)))
    )
    query = select(row.basis_id).where(row.basis_id.not_in(kept), row.basis_id.not_in(named)).distinct()
    return sorted(session.scalars(query))


def _item(path: Path, why: str) -> Garbage:
    try:
        size = sum(one.stat().st_size for one in path.rglob("*")) if path.is_dir() else path.stat().st_size
    except OSError:
        size = 0
    return Garbage(str(path), why, size)
