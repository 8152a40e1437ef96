"""Ordered, recorded changes of the tables: how a catalogue of an older version comes to the present one.

Each step is plain SQL that DuckDB and PostgreSQL both take, runs in one transaction with its own record in
`migrations`, and never changes again once it was released: a new change is a new step at the end. Columns of figures
of evidence need none here: they come in the step of the version that the figure names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, text, update
from sqlalchemy.orm import Session

from loco.evidence import FIGURES
from registry.index.levels import fill
from registry.index.tables import SCHEMA_VERSION, MigrationRow, SchemaVersionRow


@dataclass(frozen=True)
class Migration:
    """One step: the version that it leads to, what it does in words, and the work."""

    version: int
    name: str
    work: Callable[[Session], None]


def _to_2(session: Session) -> None:
    """Evidence and costs of directions, what people say of them, sketches, scores; fewer indexes.

    A region that leaves next to no outside has no leakage.
    """
    server = session.get_bind().dialect.name == "postgresql"
    sketch = "REAL[]" if server else "FLOAT[128]"
    _run(
        session,
        "CREATE TABLE migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TIMESTAMP NOT NULL)",
        f"CREATE TABLE sketches (basis_id VARCHAR(32) NOT NULL, row INTEGER NOT NULL, sketch {sketch} NOT NULL"
        + (", PRIMARY KEY (basis_id, row))" if server else ")"),
        'CREATE TABLE history (seq INTEGER PRIMARY KEY, "end" BIGINT NOT NULL, "at" TIMESTAMP NOT NULL, '
        "who TEXT NOT NULL, action TEXT NOT NULL, direction_id TEXT NOT NULL, text TEXT NOT NULL)",
        "CREATE TABLE labels (direction_id VARCHAR(32), label VARCHAR(200), PRIMARY KEY (direction_id, label))",
        "CREATE TABLE aliases (name VARCHAR(200) PRIMARY KEY, direction_id TEXT NOT NULL)",
        "CREATE TABLE rejections (direction_id VARCHAR(32) PRIMARY KEY, reason TEXT NOT NULL)",
        "CREATE TABLE scores (run_id VARCHAR(32), direction_id VARCHAR(32), image_id VARCHAR(64), "
        "strength DOUBLE PRECISION, figures TEXT NOT NULL, "
        "PRIMARY KEY (run_id, direction_id, image_id, strength))",
        # DuckDB changes no table that an index depends on.
        "DROP INDEX IF EXISTS ix_directions_id",
    )
    mark = "('0x' || substr(checksum, 1, 15))::BIGINT"
    if server:
        mark = "('x' || lpad(substr(checksum, 1, 15), 16, '0'))::bit(64)::bigint"
    _rebuild(
        session,
        "bases",
        "found_at TIMESTAMP, dtype TEXT NOT NULL, loss DOUBLE PRECISION NOT NULL, size BIGINT NOT NULL, "
        "mark BIGINT NOT NULL",
        f"NULL, 'float32', 0, 0, {mark}",
        "PRIMARY KEY (id)",
    )
    _rebuild(
        session,
        "rois",
        "area DOUBLE PRECISION",
        "(SELECT min(roi_area) FROM directions d WHERE d.basis_id = rois.basis_id AND d.roi_id = rois.id)",
        "PRIMARY KEY (basis_id, position)" if server else None,
    )
    _rebuild(
        session,
        "directions",
        "leakage DOUBLE PRECISION, retained DOUBLE PRECISION, space TEXT NOT NULL, method TEXT NOT NULL, "
        "linear_range DOUBLE PRECISION, products INTEGER NOT NULL, evaluations INTEGER NOT NULL, "
        "seconds DOUBLE PRECISION NOT NULL, prompt TEXT NOT NULL, edit_prompt TEXT NOT NULL, "
        "found_at TIMESTAMP, shown BOOLEAN NOT NULL",
        "CASE WHEN roi_area <= 0.9 THEN leakage END, CASE WHEN roi_area <= 0.9 THEN retained END, "
        "'x_t', 'projected', NULL, 0, 0, 0, '', '', NULL, basis_id = min(basis_id) OVER (PARTITION BY id)",
        "PRIMARY KEY (basis_id, row)" if server else None,
    )
    if server:
        _run(
            session,
            "CREATE INDEX ix_bases_image_id ON bases (image_id)",
            "CREATE INDEX ix_directions_id ON directions (id)",
            "CREATE INDEX ix_directions_roi_t ON directions (roi, t, leakage)",
            "CREATE INDEX ix_directions_image_id ON directions (image_id)",
        )


def _to_3(session: Session) -> None:
    """Directions tell of what they are, at which level and where the Jacobian was taken."""
    _add(session, "directions", "scope", "TEXT", "'image'")
    _add(session, "directions", "images", "INTEGER", "1")
    figures = (
        "transfer transfer_low transfer_high transfer_gain transfer_leakage transfer_cosine transfer_range "
        "responding no_op strength strength_least strength_most"
    )
    columns = ", ".join(f"{name} DOUBLE PRECISION" for name in figures.split())
    _run(
        session,
        _collated(
            session,
            'CREATE TABLE transfers (direction_id VARCHAR(32) PRIMARY KEY, "at" TIMESTAMP NOT NULL, '
            f"run_id TEXT NOT NULL, on_dataset TEXT NOT NULL, transfer_images INTEGER NOT NULL, {columns}, "
            "details TEXT NOT NULL)",
        ),
    )
    for table in ("history", "labels"):
        _add(session, table, "author_kind", "TEXT", "'person'")
        _add(session, table, "method", "TEXT", "''")
        _add(session, table, "score", "DOUBLE PRECISION")
    _add(session, "directions", "alpha_bar", "DOUBLE PRECISION")
    _add(session, "directions", "log_snr", "DOUBLE PRECISION")
    _add(session, "directions", "point", "TEXT", "'inverted'")


_STEPS = (
    Migration(2, "directions tell their space, method, cost and prompts; labels, sketches, scores", _to_2),
    Migration(
        3, "directions tell of datasets and of how they do on other images; labels of who gave them", _to_3
    ),
)


def _with_figures(step: Migration) -> Migration:
    """The step, and the columns of the figures that come with its version."""
    names = {one.name: one.kind for one in FIGURES if one.since == step.version > 2}

    def work(session: Session) -> None:
        step.work(session)
        for name, kind in names.items():
            _add(session, "directions", name, "BOOLEAN" if kind == "yes or no" else "DOUBLE PRECISION")
        if step.version == 3:
            fill(session)  # when the tables are whole: DuckDB changes none whose rows were written before

    return Migration(step.version, step.name or f"figures: {', '.join(names)}", work)


def _none(version: int) -> Migration:
    """A step that brings figures alone."""
    return Migration(version, "", lambda session: None)


_WRITTEN = {step.version: step for step in _STEPS}

MIGRATIONS = tuple(
    _with_figures(_WRITTEN.get(version, _none(version))) for version in range(2, SCHEMA_VERSION + 1)
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


_COLUMNS_KEPT = {
    "bases": "id VARCHAR(32) NOT NULL, model TEXT NOT NULL, image_id TEXT NOT NULL, image_name TEXT NOT NULL, "
    "t DOUBLE PRECISION NOT NULL, recipe TEXT NOT NULL, refused TEXT NOT NULL, products INTEGER NOT NULL, "
    "evaluations INTEGER NOT NULL, provenance TEXT NOT NULL, checksum TEXT NOT NULL",
    "rois": "basis_id VARCHAR(32) NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, "
    "source TEXT NOT NULL",
    "directions": 'basis_id VARCHAR(32) NOT NULL, row INTEGER NOT NULL, id TEXT NOT NULL, "index" INTEGER NOT NULL, '
    "model TEXT NOT NULL, image_id TEXT NOT NULL, roi TEXT NOT NULL, roi_id TEXT NOT NULL, "
    "roi_area DOUBLE PRECISION NOT NULL, t DOUBLE PRECISION NOT NULL, step INTEGER NOT NULL, "
    "channels INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL, "
    "singular_value DOUBLE PRECISION NOT NULL, residual DOUBLE PRECISION NOT NULL, converged BOOLEAN NOT NULL, "
    "gain DOUBLE PRECISION NOT NULL",
}


def _rebuild(session: Session, table: str, added: str, values: str, key: str | None) -> None:
    """A table of version 1 anew with columns `added` holding `values`: DuckDB drops no primary key otherwise."""
    names = [column.split()[0] for column in _COLUMNS_KEPT[table].split(", ")]
    columns = f"{_COLUMNS_KEPT[table]}, {added}" + (f", {key}" if key else "")
    _run(
        session,
        f"CREATE TABLE {table}_new ({_collated(session, columns)})",
        f"INSERT INTO {table}_new SELECT {', '.join(names)}, {values} FROM {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE {table}_new RENAME TO {table}",
    )


def _add(session: Session, table: str, name: str, kind: str, value: str | None = None) -> None:
    """A column more, holding `value` in every row there is and never NULL then; else NULL."""
    if session.get_bind().dialect.name == "postgresql":
        kind = kind.replace("TEXT", 'TEXT COLLATE "C"')
    # DuckDB makes no column NOT NULL whose values a statement of the same transaction wrote: a default does.
    given = "" if value is None else f" DEFAULT {value}"
    _run(session, f"ALTER TABLE {table} ADD COLUMN {name} {kind}{given}")
    if value is not None:
        _run(
            session,
            f"ALTER TABLE {table} ALTER COLUMN {name} SET NOT NULL",
            f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT",
        )


def _collated(session: Session, columns: str) -> str:
    """Columns whose text PostgreSQL orders by its bytes, as `registry.index.tables` has it."""
    if session.get_bind().dialect.name != "postgresql":
        return columns
    return columns.replace(" TEXT", ' TEXT COLLATE "C"').replace("(32)", '(32) COLLATE "C"')


def _run(session: Session, *statements: str) -> None:
    for statement in statements:
        session.execute(text(statement))
