"""Output names that unfinished runs have taken: what tells a killed run's images from somebody else's.

An image gets its name before its manifest line. So a name that was free is noted first, in a small SQLite file of the
home; a file of that name without a line is then a killed run's. Names leave when the manifest vouches for them. What
cannot be noted is not known afterwards, no more: then an image that nothing vouches for is left as it is.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from loco.files import make_folder
from loco.ids import content_id
from registry.home import Home

_TROUBLE = (sqlite3.Error, OSError)

_WAIT = 60.0
"""Seconds to wait for another process that notes names."""


def claims_path(home: Home, where: str) -> Path:
    """Where the names taken in that output folder or URL are noted."""
    return home.root / "outputs" / f"{content_id('outputs', where.rstrip('/'))}.claims"


def claimed(path: Path, names: Iterable[str]) -> set[str]:
    """Those of the names that were noted."""
    found: set[str] = set()
    if path.is_file():
        with contextlib.suppress(*_TROUBLE), _opened(path) as base:
            for name in names:
                if base.execute("SELECT 1 FROM claim WHERE name = ?", (name,)).fetchone() is not None:
                    found.add(name)
    return found


def claim(path: Path, names: Iterable[str]) -> None:
    """Note names."""
    with contextlib.suppress(*_TROUBLE):
        make_folder(path.parent)
        with _opened(path) as base:
            base.executemany("INSERT OR IGNORE INTO claim VALUES (?)", ((name,) for name in names))


def release(path: Path, names: Iterable[str]) -> None:
    """Forget names, and the file when it has none left."""
    if path.is_file():
        with contextlib.suppress(*_TROUBLE), _opened(path) as base:
            base.executemany("DELETE FROM claim WHERE name = ?", ((name,) for name in names))
            if base.execute("SELECT 1 FROM claim LIMIT 1").fetchone() is None:
                path.unlink(missing_ok=True)  # under the lock: nobody can be noting a name


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file in one transaction of its own."""
    with contextlib.closing(sqlite3.connect(path, timeout=_WAIT, isolation_level=None)) as base:
        base.execute("PRAGMA synchronous = OFF")  # a kill loses nothing all the same
        base.execute("BEGIN IMMEDIATE")
        base.execute("CREATE TABLE IF NOT EXISTS claim (name TEXT PRIMARY KEY) WITHOUT ROWID")
        yield base
        base.execute("COMMIT")
