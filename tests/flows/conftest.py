"""A tiny untrained model, noise for images, one home that discovery has filled, and one with a real server."""

import shutil

import pytest
from click.testing import CliRunner

from cli.main import root
from flows.register import dataset_record, model_record
from flows.start import run_here
from loco.models.source import model_folder
from registry.home import Home
from registry.registry import Registry
from tests.flows.helpers import Outcome, Words, World, discovered, patch, picture, render, save
from tests.toys import save_pipeline, tiny_network


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("LOCO_HOME", "LOCO_REGISTRY", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("models") / "tiny", prediction_type="v_prediction")


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """A model of another size."""
    network = tiny_network(sample_size=16)
    return save_pipeline(
        tmp_path_factory.mktemp("models") / "other", network=network, prediction_type="v_prediction"
    )


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Six images, one mask each."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(6):
        save(folder / f"{number}.png", picture(number))
        save(folder / "masks" / "patch" / f"{number}.png", patch())
    return folder


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def bare(tmp_path_factory, tiny, photos):
    """A home with model and dataset."""
    home = Home(tmp_path_factory.mktemp("bare") / "home")
    Registry(home).add_model(model_record("tiny", str(tiny)))
    Registry(home).add_dataset(dataset_record("photos", photos))
    return home


@pytest.fixture(scope="session")
def template(tmp_path_factory, bare):
    """The same with what discovery of `patch` found."""
    home = Home(tmp_path_factory.mktemp("template") / "home")
    shutil.copytree(bare.root, home.root)
    assert discovered(home, rois=("patch",)).status == "done"
    return home


@pytest.fixture
def registry(home, bare):
    """A copy of the bare home."""
    shutil.copytree(bare.root, home.root)
    return Registry(home)


@pytest.fixture
def filled(home, template):
    """A copy of the template."""
    shutil.copytree(template.root, home.root)
    return Registry(home)


@pytest.fixture
def words():
    return Words()


@pytest.fixture
def no_network(monkeypatch):
    """Opening a model is an error."""

    def refuse(*_):
        raise AssertionError("the network was opened")

    monkeypatch.setattr("flows.device.models.open_model", refuse)
    monkeypatch.setattr("flows.device.models.open_fast", refuse)


@pytest.fixture
def loco(home, monkeypatch):
    """`loco` on the test's home in this process; flows run without Prefect, after the checks they make first."""

    def without_prefect(home, url, job, watch=None, run_id=None):
        return run_here(home, url, job, watch, run_id=run_id)

    def ask(*arguments, code=0, prefect=False):
        with monkeypatch.context() as patched:
            if not prefect:
                patched.setattr("flows.start.run", without_prefect)
            result = CliRunner().invoke(
                root,
                ["--home", str(home.root), *map(str, arguments)],
                prog_name="loco",
                catch_exceptions=False,
            )
        assert result.exit_code == code, result.output
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return ask


@pytest.fixture
def no_server(monkeypatch):
    """Asking for the Prefect server is an error."""

    def refuse(_):
        raise AssertionError("a server was asked for")

    monkeypatch.setattr("flows.server.server.use_server", refuse)


@pytest.fixture(scope="session")
def world(tmp_path_factory, tiny):
    world = World(tmp_path_factory.mktemp("world"))
    shutil.copytree(model_folder("zoo:faces32"), world.model)
    render(world.photos)
    Registry(world.home).add_model(model_record("tiny", str(tiny)))
    yield world
    stopped = world.loco("server", "stop")
    assert stopped.out == "server  stopped\n"
    assert world.processes() == []
    assert world.loco("server", "stop").out == "server  none was running\n"
