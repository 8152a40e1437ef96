"""Where the surroundings of a command are not as usual: one line with a remedy, the exit code of the contract."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cli.main import root
from loco.errors import InputError
from loco.recipes import read_recipe
from registry.records import ModelRecord
from registry.registry import Registry

DIGITS = "9" * 400


@pytest.fixture
def run(home, filled, tmp_path):
    """`loco` in a process of its own, by a shell that opens and closes its streams."""

    def go(line, cwd=tmp_path, **environment):
        base = {"PATH": os.environ["PATH"], "LOCO_HOME": str(home.root), "PYTHONPATH": ":".join(sys.path)}
        process = subprocess.run(
            ["bash", "-c", f'set -o pipefail; loco() {{ {sys.executable} -m cli.main "$@"; }}; {line}'],
            env={name: value for name, value in (base | environment).items() if value is not None},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in process.stderr
        assert "Exception ignored" not in process.stderr
        return process.returncode, process.stdout, process.stderr

    return go


@pytest.mark.parametrize("arguments", ["model list", "--json model list", "--help", "model list --help"])
def test_a_full_disk_behind_the_output_is_one_line_and_code_1(run, arguments):
    said = "error: cannot write the output: No space left on device; free the disk, or send it elsewhere\n"
    assert run(f"loco {arguments} > /dev/full") == (1, "", said)


def test_a_closed_pipe_is_silent(run):
    _, out, err = run("loco --help | head -1")
    assert (out, err) == ("Usage: loco [OPTIONS] COMMAND [ARGS]...\n", "")
    assert run("loco --json model list | true")[2] == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_closed_or_full_streams_leave_the_exit_code_as_it_is(run, home, closed):
    before = home.catalogue.read_bytes()
    assert run(f"loco model list {closed}")[0] == 0
    assert run(f"loco model show nosuch {closed}")[0] == 2
    assert home.catalogue.read_bytes() == before


def test_an_output_that_cannot_show_a_letter_shows_its_escape(run, home):
    record = Registry(home).models()[0]
    Registry(home).add_model(
        ModelRecord(**{**vars(record), "name": "smile", "id": "ab" * 16, "source": "/zoo/\U0001f642"})
    )
    for line in ("loco model list", "loco --json model show smile", "loco model show smile"):
        code, out, _ = run(line, LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
        assert code == 0
        assert out.isascii()
        assert "1f642" in out or "ud83d" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without a name")
def test_without_a_home_of_any_kind_it_says_which_option_gives_one(run):
    line = "setpriv --reuid 54321 --clear-groups env -i PYTHONPATH=$PYTHONPATH"
    code, out, err = run(f"{line} {sys.executable} -m cli.main model list")
    if "Permission denied" in err or "No module named" in err:
        pytest.skip("that user cannot read the program here")
    assert (code, out) == (2, "")
    assert err.startswith("error: no home folder: ")
    assert err.endswith("; say where it is with --home DIR or LOCO_HOME\n")


def test_a_user_of_that_name_does_not_exist(home):
    result = CliRunner().invoke(root, ["--home", "~nosuchuser/x", "model", "list"])
    assert result.exit_code == 2
    assert "say where it is with --home DIR or LOCO_HOME" in result.stderr


def test_a_current_folder_that_was_deleted(run, tmp_path):
    gone = tmp_path / "gone"
    leave = f"mkdir {gone}; cd {gone}; rmdir {gone};"
    assert run(f"{leave} loco model list")[0] == 0
    said = "error: the current folder is gone; change to one that exists, then run the same command again\n"
    assert run(f"{leave} loco --home relative model list") == (2, "", said)


@pytest.mark.parametrize(
    "line",
    [
        ("directions", "list", "--limit", DIGITS),
        ("directions", "list", "--max-leakage", DIGITS),
        ("jobs", "list", "--limit", DIGITS),
        ("worker", "--limit", DIGITS),
        ("discover", "--model", "m", "--dataset", "d", "--roi", "r", "--timeout", "inf"),
        ("discover", "--model", "m", "--dataset", "d", "--roi", "r", "--null-rank", DIGITS),
        ("discover", "--model", "m", "--dataset", "d", "--roi", "r", "--max-memory", "nan"),
        *(
            ("schedule", "create", "x", "--every", every, "--model", "m", "--dataset", "d", "--roi", "r")
            for every in ("inf", "nan", "1e400", DIGITS, "-inf")
        ),
    ],
)
def test_numbers_that_are_none_are_wrong_usage(home, line):
    result = CliRunner().invoke(root, ["--home", str(home.root), *line])
    assert result.exit_code == 2, result.output
    assert "Invalid value for" in result.stderr


@pytest.mark.parametrize("text", [f"steps = {'9' * 5000}", "t = " + "[" * 9999 + "]" * 9999])
def test_a_recipe_that_python_cannot_read_is_no_recipe(tmp_path, text):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(InputError, match=r"r\.toml is not TOML"):
        read_recipe(tmp_path / "r.toml")


@pytest.mark.parametrize(
    "command",
    [
        ("dataset", "add", "new"),
        ("model", "add", "new"),
        ("directions", "import"),
        ("registry", "snapshot"),
        ("apply", "--direction", "00000000", "--images", ".", "--out"),
        ("apply", "--direction", "00000000", "--out", "out", "--images"),
        ("discover", "--model", "tiny", "--dataset", "photos", "--roi", "patch", "--recipe"),
        (
            "schedule",
            "create",
            "new",
            "--every",
            "1d",
            "apply",
            "--direction",
            "00000000",
            "--images",
            ".",
            "--out",
        ),
    ],
)
@pytest.mark.parametrize("length", [300, 5000])
def test_a_path_that_no_system_takes_is_wrong_usage(home, filled, command, length):
    result = CliRunner().invoke(root, ["--home", str(home.root), *command, "x" * length])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
