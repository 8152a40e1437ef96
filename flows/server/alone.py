"""What Prefect sees of the world: our settings, and the loopback address. Nothing of the user's reaches it.

Prefect reads `PREFECT_*` variables, and `.env`, `prefect.toml` and `pyproject.toml` in the current folder. Its clients
ask through the environment's proxies, with the environment's certificates. Both would be meant for something else.
The environment itself stays as the user has it, for stores, hubs and lists of images; `PREFECT_*` are ours.
"""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import certifi

import flows
from flows.server.access import secret
from registry.home import Home

_KEPT = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHOME", "OMP_NUM_THREADS", "LOCO_SLOTS"),
)
"""Of the user's variables, what the server is given (and LC_*): where programs lie and how people write."""

_OF_THE_SERVER = {
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    # The pages ask where they came from, at whatever port or through whatever tunnel; else they ask port 4200.
    "PREFECT_SERVER_UI_API_URL": "/api",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
}


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
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_API_SSL_CERT_FILE": certifi.where(),  # else SSL_CERT_FILE, which need not exist
    }
    if url is not None:
        variables["PREFECT_API_URL"] = url
        variables["PREFECT_API_AUTH_STRING"] = secret(home) or ""
    return variables


def server_environment(home: Home, port: int, auth: str) -> dict[str, str]:
    """All variables of the server's process; `auth` is what opens it."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    kept["PYTHONPATH"] = search_path()
    origins = f"http://127.0.0.1:{port},http://localhost:{port}"
    own = {
        "LOCO_HOME": str(home.root),
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origins,
    }
    return kept | environment(home) | _OF_THE_SERVER | own


def search_path() -> str:
    """A PYTHONPATH with which another process, in another folder, finds this very package."""
    root = str(Path(flows.__path__[0]).parent)
    others = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != root]
    return os.pathsep.join([root, *others])


def point_at(variables: Mapping[str, str]) -> None:
    """Give this process, and those that it starts, these settings of Prefect and no others."""
    for name in [name for name in os.environ if name.upper().startswith("PREFECT")]:
        del os.environ[name]
    os.environ.update(variables)
    isolate()
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()  # where it was imported before


@functools.cache
def isolate() -> None:
    """Import Prefect so that it reads no file of the current folder and uses no proxy."""
    from pydantic_settings import DotEnvSettingsSource
    from pydantic_settings.sources import ConfigFileSourceMixin

    for source, name in ((ConfigFileSourceMixin, "_read_files"), (DotEnvSettingsSource, "_read_env_files")):
        setattr(source, name, _not_for_prefect(getattr(source, name)))
    import prefect._internal.websockets as sockets
    from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

    for client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
        vars_of: Any = client
        vars_of.__init__ = _ours(client.__init__)
    sockets_of: Any = sockets
    sockets_of.connect = functools.partial(sockets_of.connect, proxy=None)


def _not_for_prefect(read: Callable[..., Any]) -> Callable[..., Any]:
    """A reader of settings' files that finds nothing for Prefect's settings."""

    @functools.wraps(read)
    def reads(self: Any, *args: Any, **kwargs: Any) -> Any:
        return {} if type(self).__module__.startswith("prefect.") else read(self, *args, **kwargs)

    return reads


def _ours(begin: Callable[..., None]) -> Callable[..., None]:
    """The beginning of an HTTP client that takes neither proxies nor certificates from the environment.

    It waits for a server that takes no connection even before its own first call: Prefect's gives up at once then, as
    if the address were wrong. Ours was answered at that address a moment ago, and who keeps the server starts it again.
    """

    @functools.wraps(begin)
    def begins(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **(kwargs | {"trust_env": False}))
        self._has_connected = True

    return begins
