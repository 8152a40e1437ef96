"""Which parts of URLs are credentials, and that what is told without them is found again."""

import pytest

from flows.jobs import DiscoverJob
from flows.orchestration.credentials import has_credentials, public, whole
from flows.register import dataset_record, model_record
from registry.registry import Registry
from tests import postgres
from tests.flows.helpers import RECIPE, World, render


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://loco:canary@db:5432/loco", "postgresql+psycopg://loco@db:5432/loco"),
        ("postgresql+psycopg://loco:c@nary@db/loco", "postgresql+psycopg://loco@db/loco"),
        ("postgresql://loco:@db/loco", "postgresql://loco@db/loco"),
        ("postgresql://:canary@db/loco", "postgresql://db/loco"),
        ("postgresql://db/loco?user=loco&password=canary", "postgresql://db/loco?user=loco"),
        ("postgresql://db/loco?PASSWORD=canary&sslmode=require", "postgresql://db/loco?sslmode=require"),
        ("postgresql://me:p/canary@db/loco?sslrootcert=/a.pem", "postgresql://me@db/loco?sslrootcert=/a.pem"),
        ("https://host/a.png?t=canary&w=5", "https://host/a.png?w=5"),
        ("https://host/a.png?canary", "https://host/a.png"),
        ("https://host/a#access_token=canary", "https://host/a"),
        ("postgresql://db/loco?password=canary", "postgresql://db/loco"),
        ("https://canary@host/a.png", "https://host/a.png"),
        ("https://me:canary@host/a.png?v=1", "https://host/a.png?v=1"),
        ("https://host/a.png?X-Amz-Credential=canary&X-Amz-Signature=canary", "https://host/a.png"),
        ("https://host/a?sig=canary&v=2", "https://host/a?v=2"),
        ("simplecache::s3://canary:canary@bucket/a", "simplecache::s3://bucket/a"),
    ],
)
def test_credentials_are_left_out_and_found_again(url, told):
    assert public(url) == told
    assert whole(told) == url
    assert has_credentials(url)
    assert not has_credentials(told)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "a@b:c",
        "/folder/a@b.png",
        "postgresql+psycopg://loco@db/loco",
        "duckdb:////home/me/c.duckdb",
        "s3://bucket/a.png",
        "https://host/a@2x.png?size=3",
        {"rois": ["hair", "box:0,0,1,1"], "t": 0.5},
    ],
)
def test_what_has_none_stays(value):
    assert public(value) == whole(value) == value


def test_a_job_is_found_again_with_all_its_urls():
    job = {"images": "https://host/a?token=canary", "out": "s3://k:canary@b/o", "more": [1, "x"], "t": (1, 2)}
    told = public(job)
    assert "canary" not in str(told)
    assert whole(told) == job


def test_another_process_finds_the_catalogues_in_its_environment(monkeypatch):
    monkeypatch.setattr("flows.orchestration.credentials._whole", {})
    monkeypatch.setenv("LOCO_REGISTRY", "postgresql://me:canary@db/loco")
    assert whole("postgresql://me@db/loco") == "postgresql://me:canary@db/loco"
    assert whole("postgresql://you@db/loco") == "postgresql://you@db/loco"
    assert whole(None) is None


def test_a_flow_in_this_process_is_told_no_credentials(home, monkeypatch):
    from flows.orchestration import decorators

    told = []

    class Flow:
        def with_options(self, **_):
            return lambda *told_it, **_: told.extend(told_it)

    monkeypatch.setattr(decorators, "job_flow", Flow())
    monkeypatch.setattr(decorators, "tags_of", lambda *_: ())
    job = DiscoverJob("m", "d", ("all=box:0,0,1,1",), RECIPE)
    with pytest.raises(AttributeError):  # nothing came of it
        decorators.run_on_server(home, "postgresql+psycopg://me:canary@db/loco", job)
    assert told[1] == "postgresql+psycopg://me@db/loco"
    assert whole(told[1]) == "postgresql+psycopg://me:canary@db/loco"
    assert "canary" not in str(told)


@pytest.mark.slow
def test_a_run_on_a_shared_catalogue_leaves_its_password_in_no_byte_of_prefects_files(tmp_path, tiny):
    world = World(tmp_path)
    render(world.photos)
    with postgres.server() as open_to_all:
        url = open_to_all.replace("loco@", "loco:canary-7c1f@")
        registry = Registry(world.home, url)
        registry.migrate()
        registry.add_model(model_record("tiny", str(tiny)))
        registry.add_dataset(dataset_record("photos", world.photos))
        ask = ("--model", "tiny", "--dataset", "photos", "--roi", "all=box:0,0,1,1", "--limit", 1)
        world.loco("--registry", url, "discover", *ask, "--recipe", world.recipe, "--t", 0.5)
        [run] = registry.runs("discover")
        assert (run.status, run.counts["done"]) == ("done", 1)
        [flow_run] = [
            one for one in world.asked("/flow_runs/filter") if one["id"] == run.provenance["flow_run"]
        ]
        assert flow_run["parameters"]["registry"] == open_to_all
    world.loco("server", "stop")
    files = [path for path in world.home.prefect.rglob("*") if path.is_file()]
    assert len(files) > 3
    for path in files:
        assert b"canary-7c1f" not in path.read_bytes(), path
