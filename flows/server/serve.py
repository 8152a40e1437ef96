"""The process of the home's Prefect server: `python -m flows.server.serve SOCKET`.

SOCKET is the number of a listening socket that it inherits, so that nobody can take the port in between. It begins when
it reads `go` on its standard input, which its parent writes once HOME/prefect/server.json names it: a parent that was
killed before leaves no server that nobody knows of.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from flows.server.alone import isolate
from flows.server.guard import guarded
from loco.outside import regular_bytes

GO = b"go\n"


EVERY = 5.0
"""Seconds between two looks whether the home still knows of this server."""


_MISSES = 2


def named(file: Path, pid: int) -> bool:
    """Whether server.json names this process; a home that was deleted names none."""
    try:
        return int(json.loads(regular_bytes(file))["pid"]) == pid
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _end_when_forgotten(file: Path) -> None:
    """End this process once its home is gone, or has another server: nobody would find it."""
    missed = 0
    while missed < _MISSES:
        time.sleep(EVERY)
        missed = 0 if named(file, os.getpid()) else missed + 1
    os.kill(os.getpid(), signal.SIGTERM)


def main(handle: int) -> None:
    """Serve until told to end."""
    os.umask(0o077)
    listening = socket.socket(fileno=handle)
    isolate()
    import uvicorn
    from prefect.server.api.server import create_app

    if sys.stdin.buffer.readline() != GO:
        return
    file = Path("server.json").absolute()  # this process's folder is HOME/prefect
    threading.Thread(target=_end_when_forgotten, args=(file,), name="forgotten", daemon=True).start()
    config = uvicorn.Config(
        guarded(create_app(final=True)),
        workers=1,  # and not WEB_CONCURRENCY
        log_level="warning",
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]))
