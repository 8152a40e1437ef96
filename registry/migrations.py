"""Ordered, recorded changes of the tables: how a catalogue of an older version comes to the present one.

Each step is plain SQL that DuckDB and PostgreSQL both take, runs in one transaction with its own record in
`migrations`, and never changes again once it was released: a new change is a new step at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, text, update
from sqlalchemy.orm import Session

from registry.tables import MigrationRow, SchemaVersionRow


@dataclass(frozen=True)
class Migration:
    """One step: the version that it leads to, what it does in words, and the work."""

    version: int
    name: str
    work: Callable[[Session], None]


def _to_2(session: Session) -> None:
    """Directions tell their space, method, linear range, cost and prompts; migrations are recorded."""
    _run(
        session,
        "CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TIMESTAMP NOT NULL)",
        # DuckDB changes no table that an index depends on.
        "DROP INDEX IF EXISTS ix_directions_id",
    )
    for name, kind, default in (
        ("space", "TEXT", "'x_t'"),
        ("method", "TEXT", "'projected'"),
        ("linear_range", "DOUBLE PRECISION", None),
        ("products", "INTEGER", "0"),
        ("evaluations", "INTEGER", "0"),
        ("seconds", "DOUBLE PRECISION", "0"),
        ("prompt", "TEXT", "''"),
        ("edit_prompt", "TEXT", "''"),
    ):
        _add_column(session, "directions", name, kind, default)
    _run(session, "CREATE INDEX ix_directions_id ON directions (id)")


MIGRATIONS: tuple[Migration, ...] = (
    Migration(2, "directions tell their space, method, linear range, cost and prompts", _to_2),
)
"""All steps, in order. Version 1 is the first that there was."""


def pending(version: int) -> tuple[Migration, ...]:
    """The steps that a catalogue of that version still has before it."""
    return tuple(step for step in MIGRATIONS if step.version > version)


def apply(session: Session, step: Migration) -> None:
    """Do one step and record it, in the caller's transaction."""
    step.work(session)
    now = datetime.now(UTC).replace(tzinfo=None)
    session.execute(insert(MigrationRow), [{"version": step.version, "name": step.name, "applied_at": now}])
    session.execute(update(SchemaVersionRow).values(version=step.version))


def _add_column(session: Session, table: str, name: str, kind: str, default: str | None) -> None:
    """A new column; with a default it takes no NULL."""
    if default is None:
        _run(session, f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
        return
    _run(
        session,
        f"ALTER TABLE {table} ADD COLUMN {name} {kind} DEFAULT {default}",
        f"ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL",
    )


def _run(session: Session, *statements: str) -> None:
    for statement in statements:
        session.execute(text(statement))
