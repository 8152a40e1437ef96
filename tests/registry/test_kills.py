"""SIGKILL at random system calls: the same command completes then, verify is clean, and one gc leaves nothing."""

import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loco import files
from loco.ids import content_id
from registry.alike.matrix import matrix
from registry.home import Home
from registry.registry import Registry
from tests.registry.builders import make_basis, make_model
from tests.registry.kills import environment, killed, moments

LOCO = str(Path(sys.executable).with_name("loco"))

COMMANDS = {
    "import": "directions import {folder}/export.zip",
    "reindex": "registry reindex",
    "gc": "registry gc --rejected --delete",
    "backup": "registry backup {folder}/backup/home.zip",
    "copy": "registry copy duckdb:///{home}/catalogue.duckdb duckdb:///{folder}/copy.duckdb --replace",
    "dataset add": "dataset add more {folder}/images",
    "label": "directions label {direction} smile",
}


@pytest.fixture(scope="module")
def stage(template, tmp_path_factory):
    """What every command finds: a home with garbage, a file to import, images, a folder for backups."""
    folder = tmp_path_factory.mktemp("stage")
    other = Registry(Home(folder / "other"))
    other.add_model(make_model("third", content_id("model", "third")))
    other.add(*(make_basis(number, model=content_id("model", "third")) for number in range(10, 16)))
    other.label(make_basis(10, model=content_id("model", "third")).directions[0].id, "found", who="ann")
    other.export(folder / "export.zip")
    shutil.rmtree(folder / "other")
    (folder / "images").mkdir()
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(folder / "images" / f"{number}.png")
    (folder / "backup").mkdir()
    home = Home(folder / "home")
    shutil.copytree(template.home.root, home.root)
    registry = Registry(home)
    registry.add_model(make_model("other", content_id("model", "other")))
    matrix(registry.catalogue, home)
    for one in make_basis(2).directions:
        registry.reject(one.id, who="ann")
    (home.cache / "sketches-old").mkdir()
    (home.models / f".{'0' * 32}.partial").write_bytes(b"half")
    return folder


def words(what, folder):
    values = {"folder": folder, "home": folder / "home", "direction": make_basis(0).directions[0].id}
    return [LOCO, *(word.format(**values) for word in COMMANDS[what].split())]


def check(what, folder):
    """The same command, one gc, and all is as if nothing had happened."""
    home = Home(folder / "home")
    done = subprocess.run(words(what, folder), capture_output=True, text=True, env=environment(home.root))
    assert done.returncode == 0, done.stderr
    registry = Registry(home)
    registry.collect(registry.garbage())
    assert registry.verify() == []
    assert list(files.partials(folder)) == []
    summary = registry.summary()
    assert summary["bases"] == {"import": 11, "gc": 4}.get(what, 5)
    assert summary["datasets"] == (2 if what == "dataset add" else 1)
    if what == "backup":
        with zipfile.ZipFile(folder / "backup" / "home.zip") as archive:
            assert archive.testzip() is None
    if what == "copy":
        copied = Registry(home, f"duckdb:///{folder}/copy.duckdb")
        assert copied.summary() == summary
    if what == "label":
        assert registry.labels()[make_basis(0).directions[0].id] == ["smile"]
    if what == "import":
        assert [one.text for one in registry.history() if one.action == "label"] == ["found"]


def try_kills(what, stage, tmp_path, times, seed):
    """That many kills at moments drawn at random; at least most of them must have hit."""
    counted = tmp_path / "counted"
    shutil.copytree(stage, counted)
    how = {"env": environment(counted / "home")}
    found = moments(words(what, counted), counted, tmp_path / "log", **how)
    check(what, counted)
    hit = 0
    for number, moment in enumerate(random.Random(f"{seed} {what}").sample(found, min(times, len(found)))):
        folder = tmp_path / f"{number}"
        shutil.copytree(stage, folder)
        hit += killed(words(what, folder), folder, moment, env=environment(folder / "home"))
        try:
            check(what, folder)
        except BaseException as error:
            error.add_note(f"killed at {moment} of {what}")
            raise
        shutil.rmtree(folder)
    assert hit >= times // 2


@pytest.mark.parametrize("what", ["import", "reindex", "backup"])
def test_a_command_killed_at_a_system_call_completes_when_it_is_run_again(what, stage, tmp_path):
    try_kills(what, stage, tmp_path, 1, 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", COMMANDS)
def test_a_hundred_kills_at_random_system_calls(what, stage, tmp_path):
    try_kills(what, stage, tmp_path, 15, 1)
