import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from loco.ids import bytes_id, content_id
from registry.home import Home
from registry.registry import Registry
from tests.postgres import fresh, programs, server
from tests.registry.builders import make_basis, make_dataset, make_edit, make_model, make_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def pytest_generate_tests(metafunc):
    """Modules that say `BOTH = True` are the contract: they run on the embedded and the shared catalogue."""
    if "backend" in metafunc.fixturenames and getattr(metafunc.module, "BOTH", False):
        metafunc.parametrize("backend", ["duckdb", "postgresql"], indirect=True)


@pytest.fixture
def backend(request):
    return getattr(request, "param", "duckdb")


@pytest.fixture(scope="session")
def postgres_server():
    try:
        programs()
    except FileNotFoundError as error:
        pytest.fail(str(error))
    with server() as url:
        yield url


@pytest.fixture
def url(backend, request):
    """Of an empty catalogue; None for the home's own."""
    if backend == "duckdb":
        return None
    return fresh(request.getfixturevalue("postgres_server"), f"t{uuid.uuid4().hex[:16]}")


@pytest.fixture
def registry(home, url):
    return Registry(home, url)


@pytest.fixture
def worker(home, url):
    """Start tests/registry/worker.py on the test's home in a process of its own; killed at the end."""
    started = []
    environment = {key: value for key, value in os.environ.items() if key != "LOCO_REGISTRY"}
    if url is not None:
        environment["LOCO_REGISTRY"] = url

    def start(*arguments):
        command = [sys.executable, "-m", "tests.registry.worker", str(home.root), *map(str, arguments)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A home with a model, a dataset, five images' bases, two runs with an output each; not to be changed."""
    home = Home(tmp_path_factory.mktemp("template") / "home")
    registry = Registry(home)
    registry.add_model(make_model())
    registry.add_dataset(make_dataset())
    registry.add(*(make_basis(number) for number in range(3)))
    registry.add(
        make_basis(3, rois=("hair", "mouth")), make_basis(4, t=0.4, model=content_id("model", "other"))
    )
    for number in range(2):
        output = f"out{number}.png"  # counts from the home
        (home.root / output).write_bytes(b"image %d" % number)
        run = make_run(number, kind=("discover", "apply")[number])
        registry.start_run(replace(run, status="running", finished_at=None))
        registry.add_edits([make_edit(number, number, output, bytes_id(b"image %d" % number))])
        registry.finish_run(run)
    return registry


@pytest.fixture
def filled(template, home, url):
    """A copy of the template."""
    shutil.copytree(template.home.root, home.root)
    registry = Registry(home, url)
    if url is not None:
        home.catalogue.unlink()
        registry.reindex()
    return registry
