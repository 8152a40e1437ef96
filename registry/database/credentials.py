"""The password of a catalogue on a server: from the environment or a file that only its owner reads.

What is handed about (parameters of flows, schedules, chunks) is the URL without its password. Whoever connects finds
the password of just that URL in `LOCO_REGISTRY`, or in HOME/registry.secret, one URL a line; libpq's own ways
(PGPASSWORD, ~/.pgpass) come after both.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from loco.errors import InputError, StorageError
from loco.files import reading_errors, write_atomic
from loco.outside import opened

VARIABLE = "LOCO_REGISTRY"

_LIMIT = 2**16


def secret_file(folder: Path) -> Path:
    """The file with the passwords of a home's catalogues."""
    return folder / "registry.secret"


def without_password(url: URL) -> URL:
    """The URL as it may be handed about."""
    query = {name: value for name, value in url.query.items() if name not in ("password", "passfile")}
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)


def has_password(url: URL) -> bool:
    """Whether the URL tells its password."""
    return url.password is not None or "password" in url.query


def completed(url: URL, folder: Path) -> URL:
    """The URL with its password, if it has none and one is known; raises `StorageError` for a file others can read."""
    if has_password(url):
        return url
    bare = _key(url)
    return next((one for one in _known(folder) if _key(one) == bare and has_password(one)), url)


def whole(folder: Path, url: str) -> str:
    """The same for a URL as text; one that is none stays as it is."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url
    found = completed(parsed, folder)
    return url if found is parsed else found.render_as_string(hide_password=False)


def known_here_alone(folder: Path, url: str | None) -> bool:
    """Whether this process knows a password of the URL that no other finds in the home's file."""
    if url is None:
        return False
    wanted = {_key(one) for one in _parsed(url)}
    said = [one for one in _parsed(os.environ.get(VARIABLE, "")) if has_password(one) and _key(one) in wanted]
    return bool(said) and not any(_key(one) in wanted for one in _in_file(folder))


def keep(folder: Path, url: str) -> None:
    """Keep a URL with its password in the home's file, in place of any other password of that URL."""
    try:
        new = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InputError("password: expected a URL such as postgresql://USER@HOST/DATABASE") from error
    others = [one for one in _in_file(folder) if _key(one) != _key(new)]
    lines = [one.render_as_string(hide_password=False) + "\n" for one in (*others, new)]
    write_atomic(secret_file(folder), "".join(lines).encode(), mode=0o600)


def _known(folder: Path) -> Iterator[URL]:
    said = os.environ.get(VARIABLE)
    if said:
        yield from _parsed(said)
    yield from _in_file(folder)


def _in_file(folder: Path) -> list[URL]:
    path = secret_file(folder)
    with reading_errors(path):
        if not path.exists():
            return []
        told = path.stat()
    if stat.S_IMODE(told.st_mode) & 0o077 or told.st_uid != os.getuid():
        raise StorageError(f"{path} can be read by others; `chmod 600` it, as the user whom it belongs to")
    with opened(path, StorageError, _LIMIT) as file:
        lines = file.read().decode(errors="replace").splitlines()
    return [url for line in lines for url in _parsed(line.strip())]


def _parsed(text: str) -> list[URL]:
    try:
        return [make_url(text)] if text else []
    except (ArgumentError, ValueError):
        return []


def _key(url: URL) -> URL:
    """What makes two URLs the same but for the password: `postgresql://` and `postgresql+psycopg://` are one."""
    kind = url.get_backend_name()
    return without_password(url.set(drivername=kind))
