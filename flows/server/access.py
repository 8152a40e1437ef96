"""HOME/prefect is its owner's alone, and so is the secret that opens the server.

The secret is a line `loco:...` in a file that only the owner can read. Programs of the home send it by themselves;
people log in with it on the server's pages. It belongs to one address: where somebody else took the port of a server
that died, programs that still ask there would tell it to them, so the next server has another one.
"""

import base64
import contextlib
import os
import secrets
import stat
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from loco.errors import StorageError
from loco.files import make_folder, storage_errors, write_atomic
from registry.home import Home

PRIVATE = 0o700
_PRIVATE_FILE = 0o600
_OTHERS = 0o077
_SAFE = ("GET", "HEAD", "OPTIONS")


def secret_file(home: Home) -> Path:
    """Where the secret lies; there is none before a server was started."""
    return home.prefect / "secret"


def own_folder(home: Home) -> Path:
    """HOME/prefect, made where it is missing, shut to everybody else together with the files in it.

    Raises `StorageError` where it is not a folder of this user.
    """
    folder = home.prefect
    with storage_errors(folder):
        make_folder(folder)
        found = folder.stat()
        if found.st_uid != os.geteuid():
            raise StorageError(
                f"{folder} belongs to user {found.st_uid}, who could read the server's secret; run as that user, or "
                f"delete the folder (it holds Prefect's own files only)"
            )
        if stat.S_IMODE(found.st_mode) != PRIVATE:
            folder.chmod(PRIVATE)
        for path in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # Prefect's, that it just deleted
                mode = path.lstat().st_mode
                if stat.S_ISREG(mode) and mode & _OTHERS:
                    path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
    return folder


def new_secret(home: Home) -> str:
    """Make a secret in place of any there is; call within `own_folder`'s folder only."""
    text = f"loco:{secrets.token_urlsafe(32)}"
    write_private(secret_file(home), f"{text}\n")
    return text


def secret(home: Home) -> str | None:
    """The secret; None where there is none, or where others could have read it."""
    try:
        with secret_file(home).open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            text = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
    kept = found.st_uid == os.geteuid() and not found.st_mode & _OTHERS
    return text if kept and text.startswith("loco:") and text.isascii() else None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at no time anybody else; whole or not at all."""
    write_atomic(path, text.encode(), mode=_PRIVATE_FILE)


def open_private(path: Path, mode: str, flags: int) -> BinaryIO:
    """Open a file to write it, made for its owner alone where it is missing; raises `OSError`."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, _PRIVATE_FILE)
    return cast(BinaryIO, os.fdopen(handle, mode))


class Owner(httpx.Auth):
    """Says the secret to the server, and fetches the token that it wants with whatever changes something."""

    requires_response_body = True

    def __init__(self, home: Home) -> None:
        """Speak as the owner of `home`."""
        text = secret(home)
        self._said = {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"} if text else {}
        self._client, self._token = uuid.uuid4().hex, ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request, after one for a token where it is the first to need one."""
        said = dict(self._said)
        if said and request.method not in _SAFE:
            if not self._token:
                asked = request.url.copy_with(path="/api/csrf-token", query=f"client={self._client}".encode())
                answer = yield httpx.Request("GET", asked, headers=said)
                self._token = _token(answer)
            said |= {"Prefect-Csrf-Token": self._token, "Prefect-Csrf-Client": self._client}
        request.headers.update(said)
        yield request


def _token(answer: httpx.Response) -> str:
    """The token in the server's answer; empty where it gives none, which it then refuses in words of its own."""
    if answer.status_code != httpx.codes.OK:
        return ""
    try:
        found = answer.json()
    except ValueError:
        return ""
    return str(found.get("token", "")) if isinstance(found, dict) else ""
