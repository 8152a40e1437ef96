import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.errors import InputError, UnknownName
from registry.alike import matrix, similar
from registry.files.sketches import sketch
from tests.registry.builders import make_basis

BOTH = True  # the contract of either catalogue

SHAPE = (3, 8, 8)


def family(number, noise, seed=0):
    """The basis of image `number` whose first direction is the family's, with noise."""
    basis = make_basis(number, shape=SHAPE, rois=("hair", "mouth"))
    common = np.random.default_rng(99).standard_normal((len(basis.vectors), *SHAPE))
    own = np.random.default_rng([number, seed]).standard_normal((len(basis.vectors), *SHAPE))
    vectors = common + noise * own
    vectors /= np.linalg.norm(vectors.reshape(len(vectors), -1), axis=1)[:, None, None, None]
    return replace(basis, vectors=vectors.astype(np.float32))


@pytest.fixture
def families(registry):
    registry.add(*(family(number, 0.1 * number) for number in range(12)), make_basis(50, shape=(3, 4, 5)))
    return registry


def exact(registry, target):
    """The oracle: all of the same shape by the cosine of their vectors."""
    others = [one for one in registry.find(status="all") if one.shape == target.shape and one.id != target.id]
    flat = registry.vectors([target, *others]).reshape(len(others) + 1, -1).astype(np.float64)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    cosines = flat[1:] @ flat[0]
    order = np.argsort(-np.abs(cosines), kind="stable")
    return [(others[n].id, cosines[n]) for n in order]


def test_the_nearest_are_those_of_the_vectors_themselves(families):
    target = families.find(where="roi = 'hair' and index = 0 and height = 8", sort="gain", limit=1)[0]
    found = families.similar(target.id, limit=8)
    expected = exact(families, target)[:8]
    assert [one.direction.id for one in found] == [key for key, _ in expected]
    np.testing.assert_allclose([one.cosine for one in found], [cosine for _, cosine in expected], atol=1e-6)
    assert found[0].cosine > 0.9


def test_narrowed_by_region_and_model(families):
    target = families.find(where="roi = 'hair' and height = 8", limit=1)[0]
    assert {one.direction.roi for one in families.similar(target.short, roi="mouth")} == {"mouth"}
    with pytest.raises(UnknownName, match="no model is called"):
        families.similar(target.id, model="nobody")
    assert len(families.similar(target.id, model=target.model, limit=3)) == 3
    assert families.similar(target.id, roi="nowhere") == []


def test_backwards_is_alike_too(registry):
    one = family(0, 0)
    registry.add(one, replace(family(1, 0), vectors=-one.vectors))
    found = registry.similar(one.directions[0].id, limit=1)
    assert found[0].cosine == pytest.approx(-1)


def test_of_a_basis_file(families, home, tmp_path):
    from registry.files.basis_bytes import encode

    path = tmp_path / "strange.safetensors"
    path.write_bytes(encode(family(77, 0.05)))
    found = families.similar(str(path), limit=4)
    assert len(found) == 4
    assert all(one.cosine > 0.98 for one in found)
    assert {one.query for one in found} == {one.id for one in family(77, 0).directions}


def test_a_new_basis_is_found_at_once_and_a_lost_file_passed_over(families, home):
    target = families.find(where="roi = 'hair' and height = 8", limit=1)[0]
    families.similar(target.id)
    families.add(family(20, 0, seed=3))
    new = {one.id for one in family(20, 0).directions}
    nearest = families.find(where=f"id in ({', '.join(repr(key) for key in sorted(new))})")
    first = next(one for one in nearest if one.roi == "hair" and one.index == 0)
    found = families.similar(first.id, limit=5)
    assert len(found) == 5
    home.basis(found[0].direction.basis_id).unlink()
    again = families.similar(first.id, limit=5)
    assert found[0].direction.id not in {one.direction.id for one in again}
    assert len(again) == 5


def test_duplicates(registry):
    registry.add(family(0, 0.01), family(1, 0.01, seed=1), family(2, 3.0), make_basis(9, shape=(3, 4, 5)))
    pairs = registry.duplicates(0.98)
    assert len(pairs) == 4
    assert all(
        {pair.one.image_id, pair.other.image_id} == {pairs[0].one.image_id, pairs[0].other.image_id}
        for pair in pairs
    )
    assert all(pair.one.roi == pair.other.roi and pair.one.index == pair.other.index for pair in pairs)
    assert len(registry.duplicates(0.98, roi="hair")) == 2
    assert len(registry.duplicates(0.98, limit=1)) == 1
    with pytest.raises(InputError, match=r"expected a cosine of 0.5 to 1, found 0.1"):
        registry.duplicates(0.1)


def test_principal_angles_of_bases(registry):
    one = family(0, 0)
    rotation = np.linalg.qr(np.random.default_rng(5).standard_normal((4, 4)))[0]
    flat = one.vectors.reshape(4, -1)
    turned = replace(family(1, 0), vectors=(rotation @ flat).reshape(one.vectors.shape).astype(np.float32))
    registry.add(one, turned, family(2, 9))
    np.testing.assert_allclose(registry.principal_angles(one.id, turned.id), 0, atol=1e-3)
    assert min(registry.principal_angles(one.id, family(2, 9).id)) > 45
    assert len(registry.principal_angles(one.directions[0].id, turned.id)) == 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 3.14), st.integers(1, 9))
def test_principal_angles_know_the_angle(seed, angle, size):
    random = np.random.default_rng(seed)
    a, b = np.linalg.qr(random.standard_normal((size + 3, 2)))[0].T
    turned = np.cos(angle) * a + np.sin(angle) * b
    [found] = similar.principal_angles(a[None, :, None, None], turned[None, :, None, None])
    assert found == pytest.approx(np.degrees(min(angle, np.pi - angle)), abs=1e-5)


def test_sketches_keep_angles():
    random = np.random.default_rng(0)
    shape = (3, 64, 64)
    for cosine in (0.0, 0.5, 0.9, 0.99):
        errors = []
        for _ in range(40):
            a, b = np.linalg.qr(random.standard_normal((int(np.prod(shape)), 2)))[0].T
            pair = np.stack([a, cosine * a + (1 - cosine**2) ** 0.5 * b]).reshape(2, *shape)
            one, other = sketch(pair.astype(np.float32))
            errors.append(float(one @ other) - cosine)
        assert abs(np.mean(errors)) < 0.05
        assert np.std(errors) < 1.5 * (1 - cosine**2) / 128**0.5 + 1e-3


def test_sketches_are_the_same_on_any_machine():
    ramp = np.arange(3 * 8 * 8, dtype=np.float32).reshape(1, *SHAPE)
    np.testing.assert_allclose(sketch(ramp)[0, :4], SKETCHED, atol=1e-6)
    small = np.ones((1, 1, 2, 2), np.float32)
    np.testing.assert_allclose(sketch(small)[0, :5], [0.5, 0.5, 0.5, 0.5, 0])
    assert not sketch(np.zeros((1, *SHAPE), np.float32)).any()


SKETCHED = [-0.0946471, 0.0904129, -0.0530522, 0.0996286]


def test_the_matrix_is_held_in_memory_where_the_home_takes_none(families, home):
    target = families.find(where="height = 8", limit=1)[0].id
    found = families.similar(target)
    for path in home.cache.glob("sketches-*"):
        shutil.rmtree(path)
    home.cache.rmdir()
    home.cache.write_text("in the way")
    assert families.similar(target) == found


def test_a_matrix_of_what_was_written_between_is_named_by_its_own_state(families, monkeypatch):
    late = family(70, 0.1)
    reads, calls = families.catalogue.read, []

    def read(work, empty):  # somebody writes between two transactions
        calls.append(work)
        if len(calls) == 2:
            families.add(late)
        return reads(work, empty)

    monkeypatch.setattr(families.catalogue, "read", read)
    matrix.matrix(families.catalogue, families.home)
    monkeypatch.undo()
    (folder,) = families.home.cache.glob("sketches-*")
    assert matrix.stale(families.catalogue, families.home) == []
    assert matrix.damaged(families.catalogue, families.home) == []
    numbers = np.load(folder / "ids.npy")
    assert late.id.encode() in numbers


def test_damage_is_judged_by_one_moment(families, monkeypatch):
    matrix.matrix(families.catalogue, families.home)
    reads, calls = families.catalogue.read, []

    def read(work, empty):
        calls.append(work)
        if len(calls) == 2:
            families.add(family(71, 0.1))
        return reads(work, empty)

    monkeypatch.setattr(families.catalogue, "read", read)
    assert matrix.damaged(families.catalogue, families.home) == []
