"""The shared catalogue on PostgreSQL: connecting, whose turn it is to write, and its errors in our words."""

import os
import platform
import sys
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from loco.errors import InputError, LocoError, RegistryBusy, RegistryError, StorageError
from loco.urls import masked
from registry.database.waiting import Passing, telling

_TURN = 0x10C0ED17
"""The advisory lock that whoever writes holds until the commit; one a database."""

_LIVENESS = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""How a server that is not there any more is noticed: within a minute, not within the hours that TCP allows."""

_LONGEST_WAIT = 2**31 - 1
"""Milliseconds that the server's timeouts can say."""

_PASSES = ("08", "57P", "40001", "40P01")
"""States of what passes: a connection that broke, a server that starts or stops, transactions in each other's way."""

_PASSES_SAYING = (
    "Connection refused",
    "timeout expired",
    "timed out",
    "starting up",
    "shutting down",
    "closed the connection",
    "connection is closed",
    "connection is lost",
    "consuming input failed",
    "reset by peer",
    "Broken pipe",
    "unreachable",
    "EOF detected",
)
"""The same where the driver tells no state."""

_HOLDERS = f"""
    SELECT a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), a.xact_start
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.objid = {_TURN} AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def engine(url: URL, timeout: float, *, read_only: bool) -> Engine:
    """An engine that opens a connection for each session and closes it after.

    Readers see one moment of the catalogue for as long as they look, which is `timeout` seconds at most for one
    statement. Connecting raises `RegistryError` where the database is not in UTF-8. Raises `InputError` where the
    driver is not installed.
    """
    who = masked(f"loco {platform.node()}:{os.getpid()} {' '.join(sys.argv)}")[:60]
    arguments = {"application_name": who, "client_encoding": "UTF8", **_LIVENESS}
    try:
        made = create_engine(
            url,
            poolclass=NullPool,
            connect_args={name: value for name, value in arguments.items() if name not in url.query},
            isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        )
    except ModuleNotFoundError as error:
        raise InputError(
            "registry: a catalogue on PostgreSQL needs the driver: pip install 'loco-edit-service[postgres]'"
        ) from error
    limit = max(1, min(_LONGEST_WAIT, round(timeout * 1000)))

    def prepare(connection: Any, _: Any) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise RegistryError(
                f"the catalogue {masked(str(url))} is in a database whose encoding is {encoding}, and names and labels "
                f"need UTF8; make another: CREATE DATABASE loco ENCODING 'UTF8' TEMPLATE template0"
            )
        if read_only:
            connection.execute(f"SET lock_timeout = {limit}")
            connection.execute(f"SET statement_timeout = {limit}")
            connection.commit()

    event.listen(made, "connect", prepare)
    return made


def take_turn(session: Session, timeout: float) -> None:
    """Wait until no one else writes to this catalogue; the turn ends with the transaction."""
    limit = max(1, min(_LONGEST_WAIT, round(timeout * 1000)))
    session.execute(text(f"SET LOCAL lock_timeout = {limit}"))
    url = session.get_bind().engine.url
    with telling(masked(str(url)), lambda: _holder(url), timeout):
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
    if "cannot contain NUL" in cause:
        return InputError(f"expected text without NUL characters: {cause}")
    if state == "57014":
        return RegistryBusy(
            f"the catalogue {name} took longer than {timeout:g} s to answer; wait longer with --wait"
        )
    passes = (
        any(sign in str(error) for sign in _PASSES_SAYING) if state is None else state.startswith(_PASSES)
    )
    if state is None or passes:
        kind = Passing if passes else RegistryError
        return kind(
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
    except SQLAlchemyError:
        found = []
    if not found:
        return "another process"
    return " and ".join(
        f"{application or 'another program'} (server process {pid}, from {address}) since {since:%Y-%m-%dT%H:%M:%S}"
        for pid, application, address, since in found
    )
