"""The home's own Prefect server: started when a flow needs it, kept while it answers, stopped by `loco server stop`.

It listens on the loopback address only, keeps its files in HOME/prefect, sends nothing anywhere and does what it is
asked by whoever knows the home's secret (`access`, `guard`). One file, HOME/prefect/server.json, says which process it
is; a process counts as ours only when its start time fits too, so a number that the system gave to somebody else is
never touched.
"""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from flows.engine.beside import again_and_again
from flows.server.access import new_secret, open_private, own_folder, secret, write_private
from flows.server.alone import environment, point_at, server_environment
from flows.server.serve import GO
from loco.errors import ServerError, StorageError
from loco.files import storage_errors
from loco.outside import regular_bytes
from registry.home import Home
from registry.records import now

ATTEMPTS = 3
"""How often a server is started that is killed before it answers."""

START_SECONDS = 150.0
"""How long a server may take to answer: 10 to 30 s are usual on two cores, more on a busy machine."""

STOP_SECONDS = 15.0

_ends: dict[int, Callable[[], int]] = {}
"""Exit codes of the servers that this process started, by process; each waits for the end."""


@dataclass(frozen=True)
class ServerState:
    """The server of a home.

    Attributes:
        pid: Its process.
        url: Its API.
        started_at: Naive UTC, ISO 8601.
        healthy: Whether it answers now.
    """

    pid: int
    url: str
    started_at: str
    healthy: bool


def use_server(home: Home) -> str:
    """Bring the server up and point this process's Prefect at it; call before Prefect is imported elsewhere."""
    url = ensure_server(home)
    point_at(environment(home, url))
    return url


def begin_server(home: Home) -> None:
    """Start the server without waiting for it, so that it comes up while this process does other work."""
    with _only_one(home):
        if _known(home) is None:
            _start(home)


def ensure_server(home: Home) -> str:
    """URL of the home's server, started first where none runs.

    One that is killed meanwhile is started again. Raises `ServerError` when it ends by itself, is killed again and
    again, or does not answer in time, naming its log.
    """
    with _only_one(home):
        for _ in range(ATTEMPTS):
            state = _known(home) or _start(home)
            if _came_up(home, state):
                return state.url
            ended = _ends.get(state.pid)
            if ended is not None and ended() >= 0:
                raise ServerError(
                    f"the Prefect server ended at its start; its log is {_log(home)}; try the same command again"
                )
    raise ServerError(
        f"the Prefect server was killed {ATTEMPTS} times before it answered; its log is {_log(home)}; see what "
        f"kills it (memory?), then try the same command again"
    )


def _came_up(home: Home, state: ServerState) -> bool:
    """Wait until the server answers; False where it ends first. Raises `ServerError` where it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(state.url):
        if not psutil.pid_exists(state.pid) or _running(home) is None:
            return False
        if time.monotonic() > deadline:
            _kill(state.pid)
            raise ServerError(
                f"the Prefect server did not answer at {state.url} within {START_SECONDS:.0f} s; "
                f"its log is {_log(home)}; try the same command again"
            )
        time.sleep(0.1)
    return True


def server_status(home: Home) -> ServerState | None:
    """The home's server and whether it answers, or None when none runs."""
    state = _running(home)
    return state and ServerState(state.pid, state.url, state.started_at, _answers(state.url))


def stop_server(home: Home) -> bool:
    """Stop the home's server with all its processes; False when none ran."""
    if not home.prefect.is_dir():
        return False
    with _only_one(home):
        state = _running(home)
        if state is not None:
            _kill(state.pid)
        _file(home).unlink(missing_ok=True)
        return state is not None


def _file(home: Home) -> Path:
    return home.prefect / "server.json"


def _log(home: Home) -> Path:
    return home.prefect / "server.log"


@contextlib.contextmanager
def _only_one(home: Home) -> Iterator[None]:
    """Two commands at once start one server, not two."""
    lock = own_folder(home) / "server.lock"
    with storage_errors(lock):
        file = open_private(lock, "wb", os.O_TRUNC)
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _running(home: Home) -> ServerState | None:
    """The server that server.json names, when that very process still lives."""
    try:
        saved = json.loads(regular_bytes(_file(home)))
        state = ServerState(int(saved["pid"]), str(saved["url"]), str(saved["started_at"]), healthy=False)
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - float(saved["born"])) <= 1.0
    except (FileNotFoundError, ValueError, TypeError, KeyError, psutil.Error):
        return None
    return state if same and not _gone(process) else None


def _known(home: Home) -> ServerState | None:
    """The running server that asks for the home's secret, if there is one; one of an older program is ended."""
    state = _running(home)
    if state is not None and secret(home) is None:
        _kill(state.pid)
        return None
    return state


@contextlib.contextmanager
def keep_server(home: Home, every: float = 2.0) -> Iterator[None]:
    """Within it, a server that dies is started again, at the same address, so that whoever uses it can go on."""

    def look() -> None:
        with contextlib.suppress(ServerError, StorageError):  # the next look may have more luck
            if _running(home) is None and _file(home).exists():
                begin_server(home)

    with again_and_again("server-keeper", every, look):
        yield


def _listen(home: Home) -> tuple[socket.socket, str]:
    """A socket for a new server, and what opens it: as the last server had them, so that its users find the new one.

    Where that port is taken by now, or there was no server: another port, and another secret.
    """
    wanted = 0
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        wanted = urlsplit(str(json.loads(regular_bytes(_file(home)))["url"])).port or 0
    known = secret(home)
    if wanted and known:
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", wanted)), known
    try:
        return socket.create_server(("127.0.0.1", 0)), new_secret(home)
    except OSError as error:
        raise ServerError("no free port on 127.0.0.1; end a program that holds many") from error


def _start(home: Home) -> ServerState:
    listening, auth = _listen(home)
    with listening, storage_errors(_log(home)), open_private(_log(home), "ab", os.O_APPEND) as log:
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.server.serve", str(listening.fileno())],
            env=server_environment(home, port, auth),
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the user's terminal is not meant for it
            cwd=home.prefect,
        )
    state = ServerState(process.pid, f"http://127.0.0.1:{port}/api", now(), healthy=False)
    saved = asdict(state) | {"born": psutil.Process(process.pid).create_time()}
    threading.Thread(target=process.wait, name="server-end", daemon=True).start()  # else it ends as a zombie
    _ends[process.pid] = process.wait
    write_private(_file(home), json.dumps(saved))
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(GO)  # it is known now
    return state


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _kill(pid: int) -> None:
    """End a process and its descendants: politely, then not."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in _wait(family):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(family)


def _wait(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after `STOP_SECONDS`; returns as soon as there are none."""
    deadline = time.monotonic() + STOP_SECONDS
    alive = family
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [process for process in alive if not _gone(process)]
    return alive


def _gone(process: psutil.Process) -> bool:
    """Whether it ended, even where nobody took note of that (containers without an init leave zombies)."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
