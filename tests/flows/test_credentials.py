"""Which parts of URLs are credentials, and that what is told without them is found again."""

import pytest

from flows.orchestration.credentials import has_credentials, public, whole


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://loco:canary@db:5432/loco", "postgresql+psycopg://loco@db:5432/loco"),
        ("postgresql+psycopg://loco:c@nary@db/loco", "postgresql+psycopg://loco@db/loco"),
        ("postgresql://loco:@db/loco", "postgresql://loco@db/loco"),
        ("postgresql://:canary@db/loco", "postgresql://db/loco"),
        ("postgresql://db/loco?user=loco&password=canary", "postgresql://db/loco?user=loco"),
        ("postgresql://db/loco?PASSWORD=canary&x=1", "postgresql://db/loco?x=1"),
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
