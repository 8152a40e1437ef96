"""What people say of directions: labels, aliases, rejections; a file that is only appended to. Scorers name them too.

HOME/history/directions.jsonl has one JSON object a line and is the truth; `registry.index.events` has its rows.
"""

import getpass
import os
import re
from dataclasses import replace
from pathlib import Path

from loco.errors import InputError
from loco.ids import check_id
from registry.files import checked
from registry.files.journal import Journal
from registry.home import Home
from registry.records import Event, now, utc

ACTIONS = ("label", "unlabel", "alias", "unalias", "reject", "restore")
"""What can be said of a direction."""

AUTHORS = ("person", "scorer")
"""Who can say something: a scorer gives and takes labels alone, and never a person's."""

_LONGEST = 200
_LONGEST_REASON = 2000


def history_path(home: Home) -> Path:
    """The file."""
    return home.root / "history" / "directions.jsonl"


def event(action: str, direction_id: str, text: str = "", who: str | None = None) -> Event:
    """An event of now; raises `InputError` for a text or name that cannot be kept as it is."""
    if action in ("alias", "unalias"):
        check_alias(text)
    elif action in ("label", "unlabel"):
        check_text(text, "label", _LONGEST, least=1)
    else:
        check_text(text, "reason", _LONGEST_REASON)
    who = check_text(_user() if who is None else who, "who", _LONGEST, least=1)
    return Event(now(), who, action, check_id(direction_id, "direction"), text)


def named(
    action: str, direction_id: str, text: str, *, who: str, method: str, score: float | None = None
) -> Event:
    """A label that the scorer `who` gives now, or takes away; raises `InputError` as `event` does."""
    if action not in ("label", "unlabel"):
        raise InputError(f"a scorer says: expected label or unlabel, found {action!r:.80}")
    check_text(method, "method", _LONGEST_REASON)
    return replace(event(action, direction_id, text, who), author_kind="scorer", method=method, score=score)


def check_alias(name: str) -> str:
    """`name` if it can be an alias such as `smile@prod`; raises `InputError` otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}@[A-Za-z0-9_.-]{1,99}", name):
        raise InputError(
            f"alias: expected NAME@LABEL of A-Z, a-z, 0-9, '.', '_' and '-', up to 100 each, found {name[:120]!r}"
        )
    return name


def check_text(text: str, what: str, longest: int, least: int = 0) -> str:
    """`text` if a line of people's words; raises `InputError` otherwise."""
    if not least <= len(text) <= longest or text != text.strip() or not text.isprintable():
        raise InputError(
            f"{what}: expected {least} to {longest} printable characters with no space at the ends, "
            f"found {len(text)}: {text[:80]!r}"
        )
    return text


def journal_of(home: Home) -> Journal[Event]:
    """The file as a journal of events."""
    return Journal(history_path(home), parse)


def parse(line: bytes) -> Event:
    """The event of a line, checked like one of now: a file may come from anywhere. Raises `Unfit`."""
    one = checked.parse(Event, line, most=checked.LONGEST)
    if one.action not in ACTIONS:
        raise checked.Newer(f"its action is {one.action[:40]!r}, which this program does not know")
    if one.author_kind not in AUTHORS:
        raise checked.Newer(f"its author is a {one.author_kind[:40]!r}, which this program does not know")
    try:
        utc(one.at)
        if one.author_kind == "scorer":
            named(one.action, one.direction_id, one.text, who=one.who, method=one.method)
        else:
            event(one.action, one.direction_id, one.text, one.who)
    except InputError as error:
        raise checked.Unfit(str(error)) from error
    return one


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id that the system does not know
        return f"user {os.getuid()}"
