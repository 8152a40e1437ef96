"""`loco sql`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.app import App, Column
from cli.options import FILE, Command, Real, pass_app

if TYPE_CHECKING:
    from registry.sql.question import Answer, Reader

_SHOWN = 1_000
"""Rows that people are shown; programs and files get all."""

_FORMATS = ("table", "csv", "parquet", "arrow", "jsonl")


@click.command("sql", cls=Command)
@click.argument("question", metavar="[QUERY|FILE]", required=False)
@click.option(
    "--format", "kind", type=click.Choice(_FORMATS), help="What to write; default: by --out, else a table."
)
@click.option("--out", type=FILE, metavar="FILE", help="Write to a file: .csv, .parquet, .arrow or .jsonl.")
@click.option(
    "--timeout",
    type=Real(0, 7 * 86400, min_open=True),
    metavar="S",
    default=600.0,
    show_default=True,
    help="Seconds that one question may take.",
)
@click.option(
    "--max-memory",
    metavar="SIZE",
    default="2GB",
    show_default=True,
    help="Memory that one question may take.",
)
@pass_app
def sql(
    app: App, question: str | None, kind: str | None, out: Path | None, timeout: float, max_memory: str
) -> None:
    """Ask the catalogue in SQL. Reads only, keeps nobody waiting, and reaches no other file.

    The question is one or more statements in DuckDB's SQL, or a file of them; without one a prompt takes them, or
    standard input. A copy of the catalogue as it is now is asked; it is kept, and made anew when the catalogue has
    changed. A catalogue on a server is asked directly, in PostgreSQL's SQL, in a transaction that may only read.

    \b
    loco sql "SELECT roi, count(*), avg(gain) FROM directions GROUP BY roi"
    loco sql "SELECT d.id, l.label FROM directions d JOIN labels l ON l.direction_id = d.id" --out found.parquet
    """
    from registry.sql.question import Limits

    if out is not None:
        out = out.expanduser().absolute()
    if app.json and (out is not None or kind is not None):
        raise click.UsageError(
            "--json excludes --out and --format: it is one JSON object a line on standard output"
        )
    if out is None and kind in ("parquet", "arrow"):
        raise click.UsageError(f"--format {kind} is for files; name one with --out")
    if out is not None and kind == "table":
        raise click.UsageError("--format table is for people; --out takes csv, parquet, arrow or jsonl")
    asked = _question(question)
    with app.registry().sql(Limits(timeout, max_memory)) as reader:
        if asked is None:
            from cli.prompt import prompt

            prompt(app, reader, show)
        elif out is not None:
            _write(app, reader, asked, kind, out)
        else:
            for answer in reader.ask(asked):
                show(app, answer, kind)


def _question(given: str | None) -> str | None:
    """What to ask, or None for a prompt."""
    if given is None or given == "-":
        if given is None and sys.stdin.isatty():
            return None
        return _text(sys.stdin.buffer.read(), "standard input")
    path = Path(given).expanduser()
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # too long for a name, or none at all
        is_file = False
    if is_file:
        from loco.files import reading_errors

        with reading_errors(path):
            return _text(path.read_bytes(), str(path))
    if given.endswith(".sql"):
        raise click.UsageError(f"there is no file {given}")
    return given


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{name}: expected SQL in UTF-8, found other bytes") from error


def show(app: App, answer: "Answer", kind: str | None = None) -> None:
    """An answer on standard output, all of it for programs, the first rows for people."""
    if app.json or kind in ("csv", "jsonl"):
        from registry.sql.answers import lines

        for line in lines(answer, "csv" if kind == "csv" else "jsonl"):
            click.echo(line, nl=False)
        return
    rows: list[tuple[Any, ...]] = []
    for row in answer.rows():
        if len(rows) == _SHOWN:
            app.say(f"only the first {_SHOWN} rows are shown; --json and --out give all")
            break
        rows.append(row)
    columns = [_column(number, name, rows) for number, name in enumerate(answer.names)]
    app.table(rows, columns)
    if not rows:
        app.say("no row")


def _column(number: int, name: str, rows: list[tuple[Any, ...]]) -> Column[tuple[Any, ...]]:
    numbers = all(row[number] is None or isinstance(row[number], int | float) for row in rows)
    return Column(name, lambda row: row[number], right=numbers)


def _write(app: App, reader: "Reader", asked: str, kind: str | None, out: Path) -> None:
    """The answer to the last statement, to a file."""
    from loco.files import writing
    from registry.sql import answers

    kind = answers.kind_of(out.name, kind)
    found = 0
    with writing(out) as file:
        for answer in reader.ask(asked):
            file.seek(0)
            file.truncate()
            found = answers.write(answer, kind, file)
    app.show({"rows": found, "file": str(out)}, {"rows": found, "file": out})
