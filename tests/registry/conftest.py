import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from loco.ids import bytes_id, content_id
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import make_basis, make_dataset, make_edit, make_model, make_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def registry(home):
    return Registry(home)


@pytest.fixture
def worker(home):
    """Start tests/registry/worker.py on the test's home in a process of its own; killed at the end."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "tests.registry.worker", str(home.root), *map(str, arguments)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
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
def filled(template, home):
    """A copy of the template."""
    shutil.copytree(template.home.root, home.root)
    return Registry(home)
