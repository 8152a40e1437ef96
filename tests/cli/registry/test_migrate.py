import zipfile

from tests.registry.test_migrations import OLD


def test_an_older_home(loco, home):
    home.root.mkdir()
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(home.root)
    assert loco("registry", "migrate").out.startswith("done  2: directions tell their space")
    assert loco("registry", "migrate", "--json").json == [{"steps": []}]
    assert loco("registry", "migrate").err == "the catalogue is up to date"


def test_no_catalogue(loco, home):
    assert loco("registry", "migrate").err == "the catalogue is up to date"
    assert not home.root.exists()
