import json
import shutil
import sys
import types

import pytest
from click.testing import CliRunner

from cli.main import root
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import make_basis, make_dataset, make_model, make_run


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("LOCO_HOME", "LOCO_REGISTRY", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def registry(home):
    return Registry(home)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A model, a dataset of three images, their bases, and one of an image outside it at another t."""
    registry = Registry(Home(tmp_path_factory.mktemp("template") / "home"))
    registry.add_model(make_model())
    registry.add_dataset(make_dataset())
    registry.add(*(make_basis(number) for number in range(3)), make_basis(7, t=0.4, rois=("mouth",), kept=1))
    return registry.home.root


@pytest.fixture
def filled(template, registry):
    """A copy of the template."""
    shutil.copytree(template, registry.home.root)
    return registry


@pytest.fixture
def a_run(registry):
    run = make_run()
    registry.start_run(run)
    return run


class Outcome:
    """What one invocation printed: `out` and `err` without spaces at the ends of lines, `json` parsed."""

    def __init__(self, result):
        self.code = result.exit_code
        self.out, self.err = (
            "\n".join(line.rstrip() for line in text.splitlines()) for text in (result.stdout, result.stderr)
        )
        self.raw = result.stdout

    @property
    def json(self):
        return [json.loads(line) for line in self.raw.splitlines()]


@pytest.fixture
def loco(home):
    """Run `loco` on the test's home; the exit code must be `code`, and a bug keeps its traceback."""

    def run(*arguments, code=0, options=("--home", str(home.root))):
        words = [*options, *map(str, arguments)]
        outcome = Outcome(CliRunner().invoke(root, words, prog_name="loco", catch_exceptions=False))
        assert outcome.code == code, outcome.out + outcome.err
        return outcome

    return run


@pytest.fixture
def fake_flow(monkeypatch):
    """Put a function in the place of one in `flows`, so that neither torch nor a server is needed."""

    def put(module, **members):
        stand_in = types.ModuleType(module)
        vars(stand_in).update(members)
        monkeypatch.setitem(sys.modules, module, stand_in)

    return put
