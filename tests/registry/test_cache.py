"""The cache: what goes in comes out, never anything else, and it stays within its bounds."""

import os
import shutil

import numpy as np
import pytest

import registry.files.cache
from loco.errors import InputError
from registry.files.cache import Cache
from registry.home import Home

KEYS = [f"{number:032x}" for number in range(10)]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def array(seed, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal((5, 3, 8, 8)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_goes_in_comes_out(home, dtype):
    Cache(home).put(KEYS[0], array(1, dtype))
    found = Cache(home).get(KEYS[0])
    assert found.dtype == dtype
    assert np.array_equal(found, array(1, dtype))
    assert Cache(home).get(KEYS[1]) is None


def test_damage_is_noticed_and_deleted(home):
    cache = Cache(home)
    cache.put(KEYS[0], array(1))
    [path] = (home.root / "cache").glob("*/*.safetensors")
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        torn = bytearray(whole)
        torn[place] ^= 1
        path.write_bytes(torn)
        found = cache.get(KEYS[0])
        assert found is None or np.array_equal(found, array(1))
        assert found is not None or not path.exists()
    path.write_bytes(whole)
    path.rename(path.with_name(f"{KEYS[5]}.safetensors"))
    assert cache.get(KEYS[5]) is None  # another entry's bytes


def test_a_longer_array_takes_the_place_of_a_shorter_one_and_never_the_reverse(home):
    cache = Cache(home)
    cache.put(KEYS[0], array(1)[:4])
    cache.put(KEYS[0], array(1))
    cache.put(KEYS[0], array(2)[:4])
    assert np.array_equal(cache.get(KEYS[0]), array(1))


def test_the_disks_last_room_is_left_to_what_cannot_be_lost(home, monkeypatch):
    free = shutil.disk_usage(home.root.parent).free
    monkeypatch.setattr(registry.files.cache, "SPARE", 2 * free)
    Cache(home).put(KEYS[0], array(1))
    assert Cache(home).get(KEYS[0]) is None
    monkeypatch.setattr(registry.files.cache, "SPARE", free // 2)
    Cache(home).put(KEYS[0], array(1))
    assert Cache(home).get(KEYS[0]) is not None


def test_it_stays_within_its_limit_and_spares_what_this_run_uses(home):
    size = len(_file(home, KEYS[0]))
    old = Cache(home, 4 * size)
    for key in KEYS[:4]:
        old.put(key, array(1))
    for path in (home.root / "cache").rglob("*.safetensors"):
        os.utime(path, (1, 1))
    new = Cache(home, 4 * size)
    assert new.get(KEYS[3]) is not None
    for key in KEYS[4:]:
        new.put(key, array(1))
    held = {path.stem for path in (home.root / "cache").rglob("*.safetensors")}
    assert len(held) == 4
    assert KEYS[3] in held
    assert not held & set(KEYS[:3])


def test_no_room_at_all(home):
    cache = Cache(home, 0)
    cache.put(KEYS[0], array(1))
    assert cache.get(KEYS[0]) is None
    assert not home.root.exists()


def test_a_disk_that_does_not_take_it_is_no_error(home):
    home.root.mkdir(parents=True)
    (home.root / "cache").write_text("in the way")
    Cache(home).put(KEYS[0], array(1))
    assert Cache(home).get(KEYS[0]) is None


def test_keys_are_ids(home):
    with pytest.raises(InputError):
        Cache(home).get("../../etc/passwd")


def _file(home, key):
    cache = Cache(home)
    cache.put(key, array(1))
    [path] = (home.root / "cache").glob("*/*.safetensors")
    data = path.read_bytes()
    path.unlink()
    return data
