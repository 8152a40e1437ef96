"""The home's own Prefect server: started when a flow needs it, kept while it answers, stopped by `loco server stop`.

It listens on the loopback address only, keeps its files in HOME/prefect and sends nothing anywhere. One file,
HOME/prefect/server.json, says which process it is; a process counts as ours only when its start time fits too, so a
number that the system gave to somebody else is never touched.
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from loco.errors import ServerError, StorageError
from loco.files import storage_errors, write_atomic
from registry.home import Home
from registry.records import now

START_SECONDS = 150.0
"""How long a server may take to answer: 10 to 30 s are usual on two cores, more on a busy machine."""

STOP_SECONDS = 15.0

_OF_THE_SERVER = {
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    # The pages ask where they came from, at whatever port or through whatever tunnel; else they ask port 4200.
    "PREFECT_SERVER_UI_API_URL": "/api",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


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


def environment(home: Home, url: str | None = None) -> dict[str, str]:
    """Variables that make Prefect keep to this home: no telemetry, no profile of the user's, no other server."""
    variables = {
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home.prefect.absolute()),
        "PREFECT_PROFILES_PATH": str(home.prefect.absolute() / "profiles.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "loco.run",  # failures of single images
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # A server that was killed is back at the same address within a minute (`keep_server`): wait for it.
        "PREFECT_CLIENT_MAX_RETRIES": "7",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    }
    if url is not None:
        variables["PREFECT_API_URL"] = url
    return variables


def use_server(home: Home) -> str:
    """Bring the server up and point this process's Prefect at it; call before prefect is imported."""
    url = ensure_server(home)
    os.environ.update(environment(home, url))
    for name in ("NO_PROXY", "no_proxy"):  # a proxy would look for the server on its own machine
        others = [one for one in os.environ.get(name, "").split(",") if one and one != "127.0.0.1"]
        os.environ[name] = ",".join([*others, "127.0.0.1"])
    return url


def begin_server(home: Home) -> None:
    """Start the server without waiting for it, so that it comes up while this process does other work."""
    with _only_one(home):
        if _running(home) is None:
            _start(home)


def ensure_server(home: Home) -> str:
    """URL of the home's server, started first where none runs.

    Raises `ServerError` when it ends or does not answer in time, naming its log.
    """
    with _only_one(home):
        state = _running(home) or _start(home)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(state.url):
            if not psutil.pid_exists(state.pid) or _running(home) is None:
                raise ServerError(f"the Prefect server ended at its start; its log is {_log(home)}")
            if time.monotonic() > deadline:
                _kill(state.pid)
                raise ServerError(
                    f"the Prefect server did not answer at {state.url} within {START_SECONDS:.0f} s; "
                    f"its log is {_log(home)}; try the same command again"
                )
            time.sleep(0.1)
    return state.url


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
    lock = home.prefect / "server.lock"
    with storage_errors(lock):
        home.prefect.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _running(home: Home) -> ServerState | None:
    """The server that server.json names, when that very process still lives."""
    try:
        saved = json.loads(_file(home).read_text(encoding="utf-8"))
        state = ServerState(int(saved["pid"]), str(saved["url"]), str(saved["started_at"]), healthy=False)
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - float(saved["born"])) <= 1.0
    except (FileNotFoundError, ValueError, TypeError, KeyError, psutil.Error):
        return None
    return state if same and not _gone(process) else None


@contextlib.contextmanager
def keep_server(home: Home, every: float = 2.0) -> Iterator[None]:
    """Within it, a server that dies is started again, at the same address, so that whoever uses it can go on."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every):
            with contextlib.suppress(ServerError, StorageError):  # the next look may have more luck
                if _running(home) is None and _file(home).exists():
                    begin_server(home)

    thread = threading.Thread(target=watch, name="server-keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _port(home: Home) -> int:
    """The port that the home's last server had, if it is free, so that its users find the new one; else any."""
    wanted = 0
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        wanted = urlsplit(str(json.loads(_file(home).read_text(encoding="utf-8"))["url"])).port or 0
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise ServerError("no free port on 127.0.0.1; end a program that holds many")


def _start(home: Home) -> ServerState:
    port = _port(home)
    url = f"http://127.0.0.1:{port}/api"
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with storage_errors(_log(home)), _log(home).open("ab") as log:
        process = subprocess.Popen(
            command,
            env=variables | environment(home) | _OF_THE_SERVER,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the user's terminal is not meant for it
            cwd=home.prefect,
        )
    state = ServerState(process.pid, url, now(), healthy=False)
    saved = asdict(state) | {"born": psutil.Process(process.pid).create_time()}
    threading.Thread(target=process.wait, name="server-end", daemon=True).start()  # else it ends as a zombie
    write_atomic(_file(home), json.dumps(saved).encode())
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
