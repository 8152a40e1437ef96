"""`loco outputs check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.app import PARTIAL, App, Column
from cli.options import FILE, Command, pass_app

if TYPE_CHECKING:
    from loco.marks.reading import Said


@click.command("check", cls=Command)
@click.argument("files", metavar="FILE|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--key", type=FILE, metavar="FILE", help="Look for the invisible mark of this key.")
@click.option(
    "--trust", type=FILE, metavar="PEM", help="Authorities that a signer's certificate is held against."
)
@pass_app
def check(app: App, /, files: tuple[Path, ...], key: Path | None, trust: Path | None) -> None:
    """What image files say of themselves, whether it holds, and what the home knows of it.

    Metadata and a signature are read from the file; an invisible mark is looked for where --key names its key, and p is
    the chance that an unmarked picture looks as marked. `changed` are files whose bytes are no longer those that were
    written: scaled, say, or saved again.

    The exit code is 3 where a file claims what does not hold (a broken signature, marks that name different edits, a
    claim that is none, another source than the home has), or cannot be read.
    """
    from loco.errors import InputError
    from loco.listing import walk
    from loco.marks.marking import key_of
    from loco.marks.reading import Said, said_of
    from loco.outside import TEXT_LIMIT, read

    secret = None if key is None else key_of(str(key))
    anchors = None if trust is None else read(trust, InputError, TEXT_LIMIT).decode("ascii", "replace")
    if anchors is not None and "-----BEGIN CERTIFICATE-----" not in anchors:
        raise InputError(f"--trust {trust}: expected certificates in PEM")
    known = app.registry().known_edits
    paths = [
        one for path in files for one in ([found.path for found in walk(path)] if path.is_dir() else [path])
    ]
    found: list[Said] = []
    with app.watch("check") as watch:
        watch.total(len(paths))
        for path in paths:
            found.append(said_of(path, secret, anchors, lambda edit: known([edit]).get(edit)))
            watch.advance()
    if app.json:
        for one in found:
            app.show(_record(one), {})
    else:
        app.table(found, _COLUMNS)
    unread = {why for one in found for why in one.unread}
    for why in sorted(unread):
        app.say(f"note: {why}")
    wrong = sum(1 for one in found if one.contradictions)
    app.say(
        f"files: {len(found)}, edited by what they say: {sum(1 for one in found if one.edit_id)}, wrong: {wrong}"
    )
    if wrong:
        click.get_current_context().exit(PARTIAL)


def _signature(said: "Said") -> str:
    if said.signature is None:
        return "-"
    if not said.signature.valid:
        return "broken"
    trusted = {None: "", True: ", trusted", False: ", not trusted"}[said.signature.trusted]
    return f"valid, by {said.signature.by}{trusted}"


def _watermark(said: "Said") -> str:
    if said.watermark is None:
        return "-"
    if not said.watermark.present:
        return f"none (p {said.watermark.p_value:.1g})"
    return f"{said.watermark.payload} (p {said.watermark.p_value:.0e})"


_COLUMNS: tuple[Column["Said"], ...] = (
    Column("file", lambda one: Path(one.file).name),
    Column("edit", lambda one: one.edit_id[:12]),
    Column("claim", lambda one: "yes" if one.claim else "-"),
    Column("signature", _signature),
    Column("watermark", _watermark),
    Column("here", lambda one: one.here or "-"),
    Column("what does not hold", lambda one: "; ".join(one.contradictions) or "-"),
)


def _record(said: "Said") -> dict[str, Any]:
    """The same for programs."""
    from dataclasses import asdict

    return asdict(said) | {
        "edit_id": said.edit_id,
        "watermark": None
        if said.watermark is None
        else asdict(said.watermark) | {"present": said.watermark.present},
    }
