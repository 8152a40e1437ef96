"""The process of the home's Prefect server: `python -m flows.orchestration.serve SOCKET`.

SOCKET is the number of a listening socket that it inherits, so that nobody can take the port in between. It begins when
it reads `go` on its standard input, which its parent writes once HOME/prefect/server.json names it: a parent that was
killed before leaves no server that nobody knows of.
"""

import os
import socket
import sys

from flows.orchestration.alone import isolate
from flows.orchestration.guard import guarded

GO = b"go\n"


def main(handle: int) -> None:
    """Serve until told to end."""
    os.umask(0o077)
    listening = socket.socket(fileno=handle)
    isolate()
    import uvicorn
    from prefect.server.api.server import create_app

    if sys.stdin.buffer.readline() != GO:
        return
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
