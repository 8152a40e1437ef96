"""What is served while directions are being found: many ask, some write, and nothing of either is lost."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from flows.jobs import DiscoverJob
from flows.register import dataset_record, model_record
from flows.server.server import stop_server
from flows.start import run_here
from loco.recipes import DiscoverRecipe
from loco.zoo.folder import write_scenes
from registry.home import Home
from registry.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
READERS, WRITERS, SECONDS = 64, 8, 120


@pytest.fixture
def home(tmp_path):
    """Faces with masks, and the directions of two of them."""
    home = Home(tmp_path / "home")
    folder = tmp_path / "faces"
    for _ in write_scenes(folder, 7, 200, 32, ("mouth", "hair")):
        pass
    registry = Registry(home)
    registry.add_model(model_record("faces", "zoo:faces32"))
    registry.add_dataset(dataset_record("faces", folder))
    recipe = DiscoverRecipe(t=0.4, steps=5, rank=2)
    assert run_here(home, None, DiscoverJob("faces", "faces", ("mouth", "hair"), recipe, 2)).status == "done"
    yield home
    stop_server(home)


def started(home, *words, **more):
    command = [sys.executable, "-m", "cli.main", "--home", str(home.root), "--json", *words]
    return subprocess.Popen(command, cwd=ROOT, text=True, **more)


def test_readers_and_writers_beside_a_discovery_lose_nothing(home):
    keys = [one.id for one in Registry(home).find()]
    failed, written, slowest = [], [], []
    serving = started(home, "serve", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    told = json.loads(serving.stdout.readline())
    finding = started(
        home,
        "discover",
        "--model",
        "faces",
        "--dataset",
        "faces",
        "--roi",
        "mouth",
        "--t",
        "0.5",
        stdout=subprocess.PIPE,
    )
    client = httpx.Client(
        base_url=told["url"],
        headers={"Authorization": f"Bearer {told['token']}"},
        timeout=120,
        limits=httpx.Limits(max_connections=READERS + WRITERS),
    )
    until = time.monotonic() + SECONDS

    def ask(method, path, **more):
        begun = time.monotonic()
        try:
            answer = client.request(method, f"/api/v1{path}", **more)
        except httpx.HTTPError as error:
            failed.append(repr(error))
            return None
        slowest.append(time.monotonic() - begun)
        if answer.status_code != 200:
            failed.append((answer.status_code, answer.text))
            return None
        return answer

    def read(number):
        paths = (
            "/directions?limit=20",
            "/facets",
            f"/directions/{keys[number % len(keys)]}",
            "/jobs",
            "/lists",
        )
        turn = number
        while time.monotonic() < until:
            ask("GET", paths[turn % len(paths)])
            turn += 1

    def write(number):
        turn = 0
        while time.monotonic() < until:
            key, text = keys[turn % len(keys)], f"w{number}-{turn}"
            if ask("POST", "/events", json={"action": "label", "ids": [key], "text": text}):
                written.append((key, text))
            turn += 1

    threads = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    threads += [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    serving.send_signal(signal.SIGINT)
    _, err = serving.communicate(timeout=60)
    beside = finding.poll() is None  # it was at work all the time
    registry = Registry(home)
    [run] = [one for one in registry.runs("discover") if one.status == "running"]
    assert started(home, "jobs", "cancel", run.id, stdout=subprocess.DEVNULL).wait(timeout=120) == 0
    finding.communicate(timeout=300)
    labels = registry.labels()
    print(f"{len(slowest)} answers, the slowest in {max(slowest):.1f} s, {len(written)} labels")
    assert failed == []
    assert "Traceback" not in err, err
    assert written
    assert [one for one in written if one[1] not in labels[one[0]]] == []
    found = [one for one in registry.find() if one.id not in keys]
    assert beside
    assert found
    assert registry.verify() == []
