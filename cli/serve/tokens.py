"""Who may ask the served catalogue: tokens, of which the home keeps names, roles and hashes, never the tokens.

A token is 256 random bits, so a plain SHA-256 of it tells nobody what it is; what can be guessed needs a slow hash,
and nothing here can.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from loco.errors import InputError, StorageError
from loco.files import make_folder, storage_errors, write_atomic
from loco.outside import regular_bytes
from registry.files import checked
from registry.files.registered import check_name
from registry.home import Home
from registry.records import now

ROLES = ("read", "label", "run")
"""What a token allows, each with all before it: to look, to say something of directions, to start jobs."""


@dataclass(frozen=True)
class Token:
    """What is kept of a token: its name, its role, the SHA-256 of the token in hexadecimal, when it was made."""

    name: str
    role: str
    sha256: str
    added_at: str


def tokens_file(home: Home) -> Path:
    """Where they lie; only its owner can read it."""
    return home.root / "serve.tokens"


def hashed(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def fresh() -> str:
    """A new token, for people to copy."""
    return f"loco_{secrets.token_urlsafe(32)}"


def read_tokens(home: Home) -> list[Token]:
    """All tokens of a home; raises `StorageError` for a file that is damaged or that others could have read."""
    path = tokens_file(home)
    try:
        data, found = regular_bytes(path), path.stat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})") from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise StorageError(
            f"{path} can be read by others; delete it and make new tokens with `loco token add NAME`"
        )
    try:
        lines = checked.plain(data, checked.LONGEST)
        if not isinstance(lines, list):
            raise checked.Unfit("expected a list")
        kept = [checked.typed(Token, one) for one in lines]
        if any(one.role not in ROLES for one in kept):
            raise checked.Unfit(f"role: expected one of {', '.join(ROLES)}")
    except checked.Unfit as error:
        raise StorageError(
            f"{path} is damaged ({error}); delete it and make new tokens with `loco token add NAME`"
        ) from error
    return kept


def add_token(home: Home, name: str, role: str) -> str:
    """Make a token of that name, in place of any other; returns it, and nobody can tell it again.

    Raises `InputError` for a bad name or role.
    """
    check_name(name, "token")
    if role not in ROLES:
        raise InputError(f"role: expected one of {', '.join(ROLES)}, found {role[:80]!r}")
    token = fresh()
    with _changing(home):
        kept = [one for one in read_tokens(home) if one.name != name]
        _write(home, [*kept, Token(name, role, hashed(token), now())])
    return token


def remove_token(home: Home, name: str) -> None:
    """Let a token open nothing from now on; raises `InputError` where there is none of that name."""
    with _changing(home):
        known = read_tokens(home)
        kept = [one for one in known if one.name != name]
        if len(kept) == len(known):
            raise InputError(f"no token is called {name[:120]!r}; `loco token list` shows those there are")
        _write(home, kept)


def matching(token: str, known: list[Token]) -> Token | None:
    """The one among `known` whose token this is: all are compared, each in constant time."""
    given, found = hashed(token), None
    for one in known:
        if hmac.compare_digest(one.sha256, given):
            found = one
    return found


def allows(role: str, wanted: str) -> bool:
    """Whether a role includes another."""
    return ROLES.index(role) >= ROLES.index(wanted)


def _write(home: Home, tokens: list[Token]) -> None:
    write_atomic(tokens_file(home), json.dumps([asdict(one) for one in tokens]).encode(), mode=0o600)


@contextmanager
def _changing(home: Home) -> Iterator[None]:
    """One process at a time."""
    path = home.root / "serve.lock"
    with storage_errors(path):
        make_folder(home.root)
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
