"""Names and transfer are columns: to filter, group and sort by, and in every table; their files bring them back."""

import zipfile
from dataclasses import replace

import pytest
from pyarrow import csv, parquet

from loco.errors import InputError
from loco.ids import canonical
from registry.files import transfers
from registry.index import outputs
from registry.registry import Registry
from tests.registry.builders import (
    dump,
    forget,
    image_id,
    make_basis,
    make_dataset,
    make_model,
    make_transfer,
)

BOTH = True  # the contract of either catalogue


@pytest.fixture
def named(filled):
    """Images 0 to 2 in two datasets, the best direction with two labels and an alias, two directions scored."""
    filled.add_dataset(make_dataset("subset", [1, 2]))
    best, other, *_ = filled.find(model="faces")
    filled.label(best.id, "smile")
    filled.label(best.id, "wide")
    filled.alias("smile@prod", best.id)
    filled.add_transfers([make_transfer(best.id, 0.5), make_transfer(other.id, 0.9, strength=7.0)])
    return filled


def images(found):
    return sorted({one.image_id for one in found})


def test_where_takes_names(named):
    best, other, *_ = named.find(model="faces")
    assert named.find(where="label = 'smile' and label = 'wide'") == [best]
    assert named.find(where="label like 'wi%' and alias = 'smile@prod' and model_name = 'faces'") == [best]
    assert best not in named.find(where="label is null")
    assert named.find(where="label is not null and label != 'narrow'") == [best]
    assert named.find(where="label != 'smile'") == []
    assert images(named.find(where="dataset = 'subset'")) == sorted(image_id(one) for one in (1, 2))
    assert images(named.find(where="dataset in ('subset', 'portraits')")) == sorted(map(image_id, range(3)))
    assert images(named.find(where="image_name = '001.png'")) == [image_id(1)]
    assert images(named.find(where="image_name = 'face_003.png'")) == [image_id(3)]
    assert named.find(where="transfer > 0.6 and strength >= 7") == [other]
    with pytest.raises(InputError, match="where: label is compared with 'text' without NUL, found '3'"):
        named.find(where="label = 3")


def test_transfer_sorts_the_best_first_and_the_unknown_last(named):
    best, other, *_ = named.find(model="faces")
    everything = named.find()
    for sort in ("transfer", "-transfer"):
        found = named.find(sort=sort)
        assert found[:2] == [other, best]
        assert {one.id for one in found} == {one.id for one in everything}
    assert named.find(sort="+transfer")[:2] == [best, other]
    assert named.find(min_transfer=0.6) == [other]
    assert named.count(min_transfer=0.1) == 2
    assert named.find(sort="-label")[0] == best
    names = named.beside(named.find(sort="image_name"))
    told = [names[one.id]["image_name"] for one in named.find(sort="image_name")]
    assert told == sorted(told)


def test_grouped_by_names(named):
    groups = {one["dataset"]: one["count"] for one in named.grouped("dataset")}
    assert groups == {"portraits": 2, "portraits, subset": 4, None: 6}
    assert {one["label"] for one in named.grouped("label")} == {None, "smile, wide"}
    assert {
        (one["image_name"], one["count"]) for one in named.grouped("image_name", dataset="portraits")
    } == {(f"00{number}.png", 2) for number in range(3)}


def test_tables_have_them(named, tmp_path):
    best, *_ = named.find(model="faces")
    table = named.table(where="label = 'smile'")
    [row] = table.to_pylist()
    assert (row["id"], row["label"], row["alias"]) == (best.id, "smile, wide", "smile@prod")
    assert (row["model_name"], row["transfer"], row["on_dataset"]) == ("faces", 0.5, "portraits")
    outputs.write(table, tmp_path / "one.csv")
    outputs.write(table, tmp_path / "one.parquet")
    assert csv.read_csv(tmp_path / "one.csv")["label"].to_pylist() == ["smile, wide"]
    assert parquet.read_table(tmp_path / "one.parquet")["transfer"].to_pylist() == [0.5]


def test_of_several_measurements_the_last_counts_and_reindex_brings_it_back(named):
    best, other, *_ = named.find(model="faces")
    named.add_transfers([make_transfer(best.id, 0.7, at="2026-11-23T09:00:00")])
    assert named.transfers([best.id])[best.id].transfer == 0.7
    before, problems = dump(named), named.verify()
    assert [one.subject for one in problems if "transfers" in one.subject] == []
    forget(named)
    named.reindex()
    assert dump(named)["transfers"] == before["transfers"]
    assert set(named.transfers([best.id, other.id, "0" * 32])) == {best.id, other.id}


def test_verify_tells_of_a_line_without_a_row_of_a_row_without_a_line_and_of_no_line(named):
    best, *_ = named.find(model="faces")
    path = transfers.path_of(named.home, best.id)
    transfers.append(named.home, [make_transfer(best.id, 0.1)])
    told = {one.trouble for one in named.verify() if one.subject == str(path)}
    assert told == {"1 of its directions are not so in the catalogue"}
    path.write_text("nothing\n")
    told = [one.trouble for one in named.verify() if one.subject == str(path)]
    assert told[0].startswith("line 1 says nothing")
    assert told[1].endswith("directions that the catalogue tells of are missing")
    assert named.reindex()["damaged"] == 1
    assert best.id not in named.transfers([best.id])


def test_they_go_along_with_an_export(named, tmp_path, home):
    best, other, *_ = named.find(model="faces")
    named.export(tmp_path / "out.loco", where=f"id in ('{best.id}', '{other.id}')")
    there = Registry(type(home)(tmp_path / "there"))
    there.import_(tmp_path / "out.loco")
    assert there.transfers([best.id, other.id]) == named.transfers([best.id, other.id])
    newer = replace(named.transfers([best.id])[best.id], at="2026-12-01T00:00:00", transfer=0.2)
    there.add_transfers([newer])
    there.import_(tmp_path / "out.loco")
    assert there.transfers([best.id])[best.id] == newer


def test_what_cannot_be_kept_is_refused_before_anything_is_written(filled):
    [best] = filled.find(limit=1)
    for wrong in (
        make_transfer("no id"),
        make_transfer(best.id, run_id="x"),
        make_transfer(best.id, at="now"),
    ):
        with pytest.raises(InputError):
            filled.add_transfers([make_transfer(best.id), wrong])
    assert filled.transfers([best.id]) == {}
    assert transfers.files(filled.home) == []


FALSE = (
    ({"transfer": 7.0}, "transfer must lie in [0, 1], found 7.0"),
    ({"no_op": -0.1}, "no_op must lie in [0, 1], found -0.1"),
    ({"transfer_cosine": 1.1}, "transfer_cosine must lie in [-1.001, 1.001], found 1.1"),
    ({"transfer_gain": -1.0}, "transfer_gain must lie in [0, 1e+100], found -1.0"),
    ({"strength": 1e300}, "strength must lie in [0, 1000000], found 1e+300"),
    ({"strength": -5.0}, "strength must lie in [0, 1000000], found -5.0"),
    ({"details": {"strengths": "no"}}, "details.strengths must be a list of numbers, found 'no'"),
    (
        {"details": {"strengths": [1, "a"]}},
        "each of details.strengths must lie in [-1000000, 1000000], found 'a'",
    ),
    ({"details": {"suits": 2}}, "details.suits must lie in [0, 1], found 2"),
    ({"details": {"spread": []}}, "details.spread must be an object, found []"),
    (
        {"details": {"spread": {"transfer": {"interval": [1]}}}},
        "details.spread.transfer.interval must be a list of 2 numbers, found [1]",
    ),
    (
        {"details": {"spread": {"transfer_gain": {"quantiles": [1, 2, 3, 4, 5]}}}},
        "details.spread.transfer_gain.histogram must be an object, found None",
    ),
    (
        {"details": {"examples": {"most": "a"}}},
        "details.examples.most must be a list of images' ids, found 'a'",
    ),
)


@pytest.mark.parametrize(("changes", "said"), FALSE)
def test_figures_that_cannot_be_are_refused_with_their_line_and_field(named, tmp_path, home, changes, said):
    best, *_ = named.find(model="faces")
    wrong = make_transfer(best.id, **changes)
    with pytest.raises(InputError) as refused:
        named.add_transfers([wrong])
    assert str(refused.value) == f"transfer: {said}"
    named.export(tmp_path / "out.loco", where=f"id = '{best.id}'")
    with (
        zipfile.ZipFile(tmp_path / "out.loco") as archive,
        zipfile.ZipFile(tmp_path / "bad.loco", "w") as bad,
    ):
        for name in archive.namelist():
            data = archive.read(name)
            bad.writestr(name, data + canonical(wrong).encode() + b"\n" if name == transfers.NAME else data)
        last = len(archive.read(transfers.NAME).splitlines()) + 1
    there = Registry(type(home)(tmp_path / "there"))
    assert there.import_(tmp_path / "bad.loco").refused == (
        (f"{transfers.NAME} line {last}", f"transfer: {said}"),
    )
    assert there.transfers([best.id]) == named.transfers([best.id])


def test_a_home_of_two_models_names_each(registry):
    registry.add_model(make_model())
    registry.add_model(make_model("again"))
    registry.add(make_basis(0, rank=1))
    [one] = registry.find(where="model_name = 'again'")
    assert registry.beside([one])[one.id]["model_name"] == "again, faces"


def test_a_datasets_direction_is_of_its_dataset_and_of_no_image(named):
    named.add(make_basis(9, rank=1, scope="dataset", image_name="portraits"))
    [across] = named.find(scope="dataset")
    told = named.beside([across])[across.id]
    assert (told["image_name"], told["dataset"]) == (None, "portraits")
    assert across in named.find(where="dataset = 'portraits' and image_name is null")
    assert named.find(where="dataset = 'subset' and scope = 'dataset'") == []
