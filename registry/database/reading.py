"""Reading the embedded catalogue: DuckDB instances that stay, and have the file for as long as a read takes.

Starting an instance and filling its memory anew costs more than most questions: with one that stays, a question to a
million directions takes half the time. Between reads the file is closed, so that other processes may write.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

CONFIG = {"autoinstall_known_extensions": False}
"""Of every DuckDB instance: extensions would be fetched from the network, and nothing here needs one."""

_NAME = "catalogue"

_idle: dict[int, list[Any]] = {}
"""Process id -> instances that nobody uses: those of the parent are not a forked child's."""

_turn = threading.Lock()


def attached(file: Path) -> Any:
    """A connection, as SQLAlchemy's dialect wants it, that reads the DuckDB file; raises `duckdb.Error`."""
    from duckdb_sqlalchemy import ConnectionWrapper

    class Attached(ConnectionWrapper):  # type: ignore[misc]
        """Lets go of the file when it is closed, and keeps the instance for the next."""

        closed: bool = False

        def close(self) -> None:
            if not self.closed:
                self.closed = True
                _let_go(instance)

    instance = _take()
    try:
        path = str(file).replace("'", "''")
        instance.execute(f"ATTACH '{path}' AS {_NAME} (READ_ONLY)")
        instance.execute(f"USE {_NAME}")
    except BaseException:
        instance.close()
        raise
    return Attached(instance)


def _take() -> "duckdb.DuckDBPyConnection":
    import duckdb

    with _turn:
        idle = _idle.setdefault(os.getpid(), [])
        if idle:
            instance: duckdb.DuckDBPyConnection = idle.pop()
            return instance
    return duckdb.connect(":memory:", config=dict(CONFIG))


def _let_go(instance: "duckdb.DuckDBPyConnection") -> None:
    import duckdb

    try:
        with contextlib.suppress(duckdb.TransactionException):  # there is none when all went well
            instance.rollback()
        instance.execute("USE memory")
        instance.execute(f"DETACH {_NAME}")
    except duckdb.Error:
        instance.close()  # and the file with it
        return
    with _turn:
        _idle.setdefault(os.getpid(), []).append(instance)
