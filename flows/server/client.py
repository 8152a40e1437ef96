"""The home's Prefect server over HTTP, without Prefect: a busy one is asked again, trouble is a `ServerError`."""

import contextlib
import time
from collections.abc import Iterator

import httpx

from flows.server.access import Owner
from flows.server.server import server_status
from loco.errors import ServerError
from registry.home import Home

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try of a server that says it is busy: its database is locked while others write."""

_BUSY = (
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.GATEWAY_TIMEOUT,
)


class Patient(httpx.BaseTransport):
    """A transport that asks again where the answer is that the server is busy; such a request did nothing there."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        """Ask through `inner`."""
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The first answer that is not `busy`, or the last."""
        for pause in PAUSES:
            answer = self._inner.handle_request(request)
            if answer.status_code not in _BUSY:
                return answer
            answer.close()
            time.sleep(pause)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


@contextlib.contextmanager
def api(home: Home, timeout: float = 30.0) -> Iterator[httpx.Client | None]:
    """The server's API, or None where none answers; within it the server's trouble is raised as `ServerError`."""
    state = server_status(home)
    if state is None or not state.healthy:
        yield None
        return
    # No proxy and no certificate of the environment: the server is on this machine.
    patient = Patient(httpx.HTTPTransport(trust_env=False))
    with (
        explained(),
        httpx.Client(
            base_url=state.url, timeout=timeout, transport=patient, trust_env=False, auth=Owner(home)
        ) as client,
    ):
        yield client


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn what the server or the way to it did wrong into a `ServerError`."""
    try:
        yield
    except httpx.HTTPError as error:
        cause = str(error).partition("\n")[0][:300] or type(error).__name__
        raise ServerError(
            f"the Prefect server does not do its part: {cause}; run the same command again, and look into "
            f"`loco server status` if it stays"
        ) from error
