import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli.main import root
from cli.options import COMMON
from docs._help import commands, reference
from loco.errors import LocoError, RegistryBusy

REPOSITORY = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "diffusers",
    "prefect",
    "sqlalchemy",
    "duckdb",
    "pyarrow",
    "numpy",
    "PIL",
    "rich",
    "safetensors",
}
PRINT_MODULES = (
    "import sys, click\nfrom cli.main import root\n"
    "root(sys.argv[1:], standalone_mode=False)\n"
    "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
)


def imported(*arguments):
    process = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(process.stderr.splitlines()[-1].split())


def command_at(path):
    command = root
    for name in path[1:]:
        command = command.commands[name]
    return command


def test_help_imports_nothing_heavy():
    modules = imported("--help")
    assert "cli" in modules
    assert not modules & HEAVY


def test_listing_imports_neither_torch_nor_prefect(tmp_path):
    assert not imported("--home", str(tmp_path), "directions", "list") & {"torch", "diffusers", "prefect"}


def test_every_command_and_option_explains_itself():
    for path in commands():
        command = command_at(path)
        assert command.help, path
        context = click.Context(command)
        assert command.get_short_help_str(86).endswith("."), path
        assert {option.name for option in COMMON} <= {one.name for one in command.get_params(context)}, path
        for param in command.get_params(context):
            if isinstance(param, click.Option):
                assert param.help, (path, param.name)


def test_every_help_text_is_documented():
    assert reference() in (REPOSITORY / "docs" / "cli.md").read_text()


def test_the_contract_of_the_command_line():
    assert {" ".join(path[1:]) for path in commands()} >= {
        "demo",
        "model add",
        "model list",
        "model show",
        "dataset add",
        "dataset list",
        "dataset show",
        "discover",
        "directions list",
        "directions show",
        "apply",
        "jobs list",
        "jobs show",
        "server start",
        "server stop",
        "server status",
        "registry verify",
        "registry migrate",
        "registry gc",
        "registry backup",
        "registry copy",
        "registry store",
        "directions similar",
        "directions label",
        "directions alias",
        "directions reject",
        "directions restore",
        "directions history",
        "directions export",
        "directions import",
        "registry reindex",
        "registry summary",
    }


def test_version(loco):
    assert loco("--version").out == "loco 0.1.0"


@pytest.mark.parametrize(
    "arguments", [("--json", "model", "list"), ("model", "--json", "list"), ("model", "list", "--json")]
)
def test_common_options_stand_anywhere(loco, filled, home, arguments):
    assert loco(*arguments).json[0]["name"] == "faces"
    words = [word for word in arguments if word != "--json"]
    assert loco(*words, "--home", home.root / "other").out == ""


def test_what_is_typed_counts_before_the_environment(loco, filled, home, monkeypatch):
    monkeypatch.setenv("LOCO_HOME", str(home.root / "other"))
    monkeypatch.setenv("LOCO_REGISTRY", "duckdb:///nowhere")
    url = f"duckdb:///{home.catalogue}"
    assert loco("model", "list", "--registry", url).out.endswith("zoo:faces")
    monkeypatch.delenv("LOCO_REGISTRY")
    assert loco("model", "list", options=()).out == ""
    monkeypatch.setenv("LOCO_HOME", str(home.root))
    assert loco("model", "list", options=()).out.endswith("zoo:faces")


def test_the_home_without_any_setting(loco, filled, home, monkeypatch):
    home.root.rename(home.root.with_name("loco"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home.root.parent))
    assert loco("model", "list", options=()).out.endswith("zoo:faces")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(home.root.parent))
    (home.root.parent / ".local").mkdir()
    (home.root.parent / ".local" / "share").symlink_to(home.root.parent)
    assert loco("model", "list", options=()).out.endswith("zoo:faces")


def test_a_home_that_is_a_file(loco, tmp_path):
    (tmp_path / "file").touch()
    assert "is a file" in loco("model", "list", "--home", tmp_path / "file", code=2).err


@pytest.fixture
def failing(monkeypatch):
    """Let `loco registry summary` raise."""

    def fail(error):
        def summary(_):
            raise error

        monkeypatch.setattr("registry.registry.Registry.summary", summary)

    return fail


def test_errors_end_in_one_place(loco, failing):
    failing(RegistryBusy("the catalogue is busy"))
    outcome = loco("registry", "summary", code=1)
    assert (outcome.out, outcome.err) == ("", "error: the catalogue is busy")
    outcome = loco("registry", "summary", "--json", code=1)
    assert outcome.json == [{"error": {"type": "RegistryBusy", "message": "the catalogue is busy"}}]
    assert outcome.err == "error: the catalogue is busy"


def test_errors_do_not_steer_the_terminal(loco, failing):
    failing(LocoError("torn \x1b[31mfile\udc80\nsecond line"))
    assert loco("registry", "summary", code=1).err == "error: torn \\x1b[31mfile\\udc80\nsecond line"


@pytest.mark.parametrize(
    ("words", "flow", "kept"),
    [
        (
            ("score", "--direction", "abcdef", "--dataset", "d"),
            "score",
            "finished items are kept, the same command goes on from there",
        ),
        (
            ("directions", "import", "x.loco"),
            "import",
            "what was taken in is kept, the same command goes on from there",
        ),
        (
            ("registry", "copy", "home", "duckdb:///x"),
            "copy",
            "nothing was copied, all or nothing is; the same command begins from the start",
        ),
        (
            ("schedule", "run", "nightly"),
            "run",
            "a run that was handed over goes on in the worker, `loco jobs list` shows it; the same command asks for "
            "one more",
        ),
        (
            ("analyze", "--model", "m", "--out", "o"),
            "analyze",
            "finished noise levels are kept, the same command goes on from there",
        ),
    ],
)
def test_an_interruption_says_what_is_kept_of_that_command(loco, monkeypatch, words, flow, kept):
    import flows.schedules.schedule
    import flows.studies.analyze
    from registry.registry import Registry

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(flows.studies.analyze, "run_analyze", interrupted)
    monkeypatch.setattr(flows.schedules.schedule, "run_now", interrupted)
    monkeypatch.setattr(Registry, "import_", interrupted)
    monkeypatch.setattr(Registry, "copy_to", interrupted)
    monkeypatch.setattr("cli.app.App.watch", interrupted)
    assert flow in words
    assert loco(*words, code=130).err == f"error: interrupted; {kept}"


def test_an_interruption_of_a_listing_promises_nothing(loco, failing):
    failing(KeyboardInterrupt())
    message = "interrupted; the same command begins from the start"
    outcome = loco("registry", "summary", "--json", code=130)
    assert outcome.err == f"error: {message}"
    assert outcome.json == [{"error": {"type": "Interrupted", "message": message}}]


def test_bugs_keep_their_traceback(loco, failing):
    failing(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        loco("registry", "summary")


def test_wrong_usage(loco):
    outcome = loco("model", "lst", code=2)
    assert "No such command 'lst'." in outcome.err
    assert outcome.out == ""


def test_as_a_program(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "cli.main", "registry", "summary", "--json", "--home", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(process.stdout)["models"] == 0
    assert process.stderr == ""
