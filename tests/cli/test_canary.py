"""A password in the URL of the catalogue reaches no parameter, no output and no file of the home."""

import os

import pytest

from cli.options import Command, pass_app
from cli.registry.password import password

CANARY = "c4nary"
URL = f"postgresql://me:{CANARY}@127.0.0.1:1/loco"


def files_with_it(root):
    return [path for path in root.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize("source", ["option", "environment"])
def test_what_a_command_hands_about_has_no_password_and_connects_all_the_same(
    loco, home, monkeypatch, source
):
    from cli.registry import registry
    from registry.registry import Registry

    seen = {}

    def body(app):
        seen["url"], seen["known"] = app.url, Registry(app.home, app.url).catalogue.url.password

    monkeypatch.setitem(registry.commands, "peek", Command("peek", callback=pass_app(body)))
    words = ["registry", "peek"]
    if source == "option":
        words += ["--registry", URL]
    else:
        monkeypatch.setenv("LOCO_REGISTRY", URL)
    loco(*words)
    assert seen == {"url": "postgresql://me@127.0.0.1:1/loco", "known": CANARY}
    assert ("LOCO_REGISTRY" in os.environ) == (source == "environment")


@pytest.mark.parametrize(
    "words",
    [
        ("directions", "list"),
        ("directions", "list", "--json"),
        ("model", "list"),
        ("registry", "verify"),
        ("registry", "copy", URL, "home"),
        ("registry", "copy", "home", URL),
        ("sql", "SELECT 1"),
        ("registry", "snapshot", "x.duckdb"),
    ],
)
def test_failing_commands_tell_no_password(loco, filled, home, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    outcome = loco(*words, "--registry", URL, "--wait", "0.1", code=1)
    assert "me:***@127.0.0.1" in outcome.err or "me@127.0.0.1" in outcome.err
    assert CANARY not in outcome.raw + outcome.err
    assert files_with_it(home.root) == []


def test_the_store_refuses_a_password_and_tells_none(loco, home):
    outcome = loco("registry", "store", "--artifacts", f"sftp://me:{CANARY}@h/a", code=2)
    assert CANARY not in outcome.raw + outcome.err
    assert files_with_it(home.root) == []


def test_a_password_is_kept_for_its_owner_alone(home):
    from click.testing import CliRunner

    from cli.main import root
    from registry.registry import Registry

    words = ["--home", str(home.root), "registry", "password", "postgresql://me@server/loco"]
    result = CliRunner().invoke(root, words, input=f"{CANARY}\n", catch_exceptions=False)
    assert result.exit_code == 0
    assert CANARY not in result.output
    assert (home.root / "registry.secret").stat().st_mode & 0o777 == 0o600
    assert Registry(home, "postgresql://me@server/loco").catalogue.url.password == CANARY
    assert password.name == "password"
