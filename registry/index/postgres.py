"""The shared catalogue on PostgreSQL: connecting, whose turn it is to write, and its errors in our words."""

import os
import platform
import sys

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from loco.errors import InputError, LocoError, RegistryBusy, RegistryError, StorageError

_TURN = 0x10C0ED17
"""The advisory lock that whoever writes holds until the commit; one a database."""

_CONNECT = 10
"""Seconds that one attempt to connect may take."""

_HOLDERS = f"""
    SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), a.xact_start
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.objid = {_TURN} AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def engine(url: URL, *, read_only: bool) -> Engine:
    """An engine that opens a connection for each session and closes it after.

    Readers see one moment of the catalogue for as long as they look. Raises `InputError` where the driver is
    not installed.
    """
    who = f"loco {platform.node()}:{os.getpid()} {' '.join(sys.argv)}"[:60]
    arguments = {"connect_timeout": _CONNECT, "application_name": who}
    try:
        return create_engine(
            url,
            poolclass=NullPool,
            connect_args=arguments,
            isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        )
    except ModuleNotFoundError as error:
        raise InputError(
            "registry: a catalogue on PostgreSQL needs the driver: pip install 'loco-edit-service[postgres]'"
        ) from error


def take_turn(session: Session, timeout: float) -> None:
    """Wait until no one else writes to this catalogue; the turn ends with the transaction."""
    session.execute(text(f"SET LOCAL lock_timeout = {max(1, round(timeout * 1000))}"))
    session.execute(text(f"SELECT pg_advisory_xact_lock({_TURN})"))


def explain(name: str, error: BaseException, cause: str, timeout: float, url: URL) -> LocoError:
    """The server's error in our words, with its remedy."""
    state = getattr(error, "sqlstate", None)
    if state == "55P03":
        return RegistryBusy(
            f"the catalogue {name} is held by {_holder(url)} (waited {timeout:g} s); wait for it or stop it"
        )
    if state in ("53100", "53200"):
        return StorageError(
            f"the server of the catalogue {name} has no room: {cause}; free or enlarge its disk"
        )
    if state == "42501" or (state is not None and state.startswith("28")):
        return RegistryError(
            f"the catalogue {name} does not let us in: {cause}; check user, password and grants"
        )
    if state is None or state.startswith(("08", "57P")):
        return RegistryError(
            f"cannot reach the catalogue {name}: {cause}; check that the server runs and the URL is right, "
            f"then run the same command again"
        )
    return RegistryError(
        f"the catalogue {name} refused: {cause}; `loco registry verify` looks for damage, "
        f"`loco registry reindex` rebuilds it from the files"
    )


def errors() -> tuple[type[Exception], ...]:
    """What the driver raises, where it is loaded at all."""
    driver = sys.modules.get("psycopg")
    return () if driver is None else (driver.Error,)


def _holder(url: URL) -> str:
    """Who holds the turn to write, in words, as far as the server tells."""
    other = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 2})
    try:
        with other.connect() as connection:
            found = connection.execute(text(_HOLDERS)).all()
    except errors():
        found = []
    if not found:
        return "another process"
    return " and ".join(
        f"{application or 'another program'} (server process {pid}, from {address}) since {since:%Y-%m-%dT%H:%M:%S}"
        for pid, application, address, since in found
    )
