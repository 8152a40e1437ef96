"""Listening, printing the address, and serving until Ctrl-C."""

import json
import os
import socket
import sys
from types import FrameType

import click
import uvicorn

from cli.app import App
from cli.serve.access import Access, is_loopback
from cli.serve.app import application
from cli.serve.queue import Queue
from cli.serve.tokens import Token, fresh, hashed
from flows.engine.record import catalogue
from loco.errors import InputError
from registry.records import now

PATIENCE = 20.0
"""Seconds that the end waits for the picture that is being drawn."""

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def run(app: App, host: str, port: int, names: tuple[str, ...]) -> None:
    """Serve until interrupted. Raises `InputError` for an address that cannot be listened on."""
    token = fresh()
    access = Access(
        app.home,
        Token("page", "run", hashed(token), now()),
        hosts_of(host, names),
        is_loopback(host),
        app.url,
    )
    queue = Queue()
    served = application(catalogue(app.home, app.url), access, queue)
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    told = {"page": f"{address}/#token={token}", "API": f"{address}/api/v1/"}
    # Printed as it is: what shows results hides tokens in URLs, and this one is for whoever started the server.
    if app.json:
        click.echo(json.dumps({"url": f"{address}/", "token": token}))
    else:
        click.echo("\n".join(f"{name:<4}  {value}" for name, value in told.items()))
    config = uvicorn.Config(
        served,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        lifespan="on",
        limit_concurrency=512,
        timeout_graceful_shutdown=3,
    )
    try:
        _Server(config, queue).run(sockets=[listening])
    finally:
        queue.close()
        if not queue.ended(PATIENCE):
            # A network that still runs cannot be stopped, and a thread of it breaks the interpreter's end.
            sys.stdout.flush()
            os._exit(130)


class _Server(uvicorn.Server):
    """Tells whoever waits for a picture that the server ends, so that it can."""

    def __init__(self, config: uvicorn.Config, queue: Queue) -> None:
        super().__init__(config)
        self._queue = queue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._queue.close()
        super().handle_exit(sig, frame)


def hosts_of(host: str, names: tuple[str, ...]) -> frozenset[str]:
    """The names by which a server on that address may be called, without ports."""
    own = LOOPBACK if is_loopback(host) else (f"[{host}]" if ":" in host else host,)
    return frozenset(one.lower() for one in (*own, *names))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, UnicodeError) as error:
        listening.close()
        raise InputError(
            f"cannot listen on {host} port {port}: {error}; give another --port (0 for a free one) or --host"
        ) from error
    return listening
