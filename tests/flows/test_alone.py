"""What of the user's surroundings reaches Prefect: nothing. What of ours reaches the user's code: PREFECT_* alone."""

import json
import os
import subprocess
import sys

import pytest

from flows.server.access import new_secret, own_folder
from flows.server.alone import environment, server_environment
from tests.flows.helpers import REPOSITORY

HOSTILE = {
    "PREFECT_API_KEY": "canary",
    "prefect_api_url": "http://canary.example/api",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"x": "canary"}',
    "PREFECT__SERVER_EPHEMERAL": "canary",
    "PREFECT_TEST_MODE": "1",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "mine.example,.s3.example",
    "SSL_CERT_FILE": "/nowhere/canary.pem",
    "SSL_CERT_DIR": "/nowhere",
}

LOOK = """
import json, os, sys
from pathlib import Path
from flows.server.alone import environment, point_at
from registry.home import Home
before = {name: value for name, value in os.environ.items() if not name.upper().startswith("PREFECT")}
point_at(environment(Home(Path(sys.argv[1])), "http://127.0.0.1:1/api"))
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from prefect._internal.websockets import websocket_connect
from prefect.settings import temporary_settings, PREFECT_LOGGING_LEVEL
with get_client(sync_client=True) as client:
    trusted = client._client.trust_env
with temporary_settings({PREFECT_LOGGING_LEVEL: "ERROR"}):
    later = get_current_settings().to_environment_variables(exclude_unset=True)
after = {name: value for name, value in os.environ.items() if not name.upper().startswith("PREFECT")}
print(json.dumps({
    "settings": get_current_settings().to_environment_variables(exclude_unset=True),
    "later": later,
    "trusted": trusted,
    "proxy": websocket_connect("ws://127.0.0.1:1").proxy,
    "changed": {name: value for name, value in after.items() if before.get(name) != value},
    "lost": sorted(set(before) - set(after)),
}))
"""


@pytest.fixture
def hostile(tmp_path):
    """A folder with settings of Prefect's in every file where it looks for some."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / ".env").write_text("PREFECT_API_KEY=canary\nPREFECT_TASKS_REFRESH_CACHE=true\n")
    (folder / "prefect.toml").write_text('[api]\nkey = "canary"\n[server.ui]\nenabled = false\n')
    (folder / "pyproject.toml").write_text('[tool.prefect.results]\ndefault_serializer = "canary"\n')
    return folder


@pytest.mark.parametrize("broken", [False, True])
def test_prefect_sees_our_settings_alone_and_the_environment_stays_the_users(home, hostile, broken):
    if broken:
        for name in ("prefect.toml", "pyproject.toml"):
            (hostile / name).write_text("no [ toml")
    own_folder(home)
    auth = new_secret(home)
    process = subprocess.run(
        [sys.executable, "-c", LOOK, home.root],
        cwd=hostile,
        env=os.environ | HOSTILE | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    seen = json.loads(process.stdout)
    assert "canary" not in json.dumps([seen["settings"], seen["later"]])
    wanted = environment(home, "http://127.0.0.1:1/api")
    assert set(seen["settings"]) == {name for name in wanted if name.startswith("PREFECT_")}
    for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_API_SSL_CERT_FILE"):
        assert seen["settings"][name] == wanted[name]
    assert seen["settings"]["PREFECT_API_AUTH_STRING"] == auth
    assert set(seen["later"]) == set(seen["settings"])
    assert (seen["trusted"], seen["proxy"]) == (False, None)
    assert (seen["changed"], seen["lost"]) == ({"DO_NOT_TRACK": "1"}, [])


def test_the_server_is_given_none_of_the_users_variables_but_where_programs_lie(home, monkeypatch):
    for name, value in (
        HOSTILE | {"WEB_CONCURRENCY": "4", "PYTHONSTARTUP": "x", "AWS_SECRET": "canary"}
    ).items():
        monkeypatch.setenv(name, value)
    given = server_environment(home, 4200, "loco:x")
    assert "canary" not in str(given)
    assert not {
        name for name in given if "proxy" in name.lower() or name in ("WEB_CONCURRENCY", "PYTHONSTARTUP")
    }
    assert given["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4200,http://localhost:4200"
    assert given["PATH"] == os.environ["PATH"]
