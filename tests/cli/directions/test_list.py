import math
from dataclasses import asdict, replace

import pytest
from sqlalchemy import Engine, event

from tests.registry.builders import image_id, make_basis, make_dataset, make_transfer


def test_none(loco):
    outcome = loco("directions", "list")
    assert outcome.out == ""
    assert outcome.err == "no direction matches; `loco discover` finds some, fewer filters show more"


def test_the_strongest_first_and_of_equals_by_id(loco, filled):
    outcome = loco("directions", "list")
    assert outcome.err == ""
    told = {
        (12.0, 7, 0): "mouth   0  face_007.png  -          faces  0.4    12     0.08       0.9  yes",
        (7.0, 2, 0): "hair    0  002.png       portraits  faces  0.6     7     0.03       0.9  yes",
        (6.0, 2, 1): "hair    1  002.png       portraits  faces  0.6     6     0.03       0.8  no",
        (6.0, 1, 0): "hair    0  001.png       portraits  faces  0.6     6     0.02       0.9  yes",
        (5.0, 1, 1): "hair    1  001.png       portraits  faces  0.6     5     0.02       0.8  no",
        (5.0, 0, 0): "hair    0  000.png       portraits  faces  0.6     5     0.01       0.9  yes",
        (4.0, 0, 1): "hair    1  000.png       portraits  faces  0.6     4     0.01       0.8  no",
    }
    ids = {(one.gain, one.image_id, one.index): one.short for one in filled.find()}
    lines = sorted((-gain, ids[gain, image_id(number), n], told[gain, number, n]) for gain, number, n in told)
    assert outcome.out.splitlines() == [
        "id            region  n  image         dataset    model    t  gain  leakage  retained  converged",
        *(f"{key}  {text}" for _, key, text in lines),
    ]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("--model faces", 7),
        ("--dataset portraits", 6),
        ("--roi mouth", 1),
        ("--image 001.png", 2),
        (f"--image {image_id(1)[:8]}", 2),
        ("--t 0.4", 1),
        ("--t 0.3..0.5", 1),
        ("--t 0.4..0.6", 7),
        ("--min-gain 6", 4),
        ("--max-leakage 0.02", 4),
        ("--min-retained 0.85", 4),
        ("--converged", 4),
        ("--any", 7),
        ("--limit 3", 3),
        ("--roi hair --converged --min-gain 6", 2),
    ],
)
def test_filters(loco, filled, options, count):
    assert len(loco("directions", "list", "--json", *options.split()).json) == count


@pytest.fixture
def leveled(registry):
    """Directions at alpha_bar 0.9, 0.5 and 0.1, all of them at t = 0.6."""
    for number, level in enumerate((0.9, 0.5, 0.1)):
        basis = make_basis(number, rank=1)
        registry.add(
            replace(basis, directions=tuple(replace(one, alpha_bar=level) for one in basis.directions))
        )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--snr 0.5..20", [0.9, 0.5]),
        ("--snr 1", [0.5]),
        ("--abar 0.05..0.5", [0.5, 0.1]),
        ("--abar 0.9", [0.9]),
    ],
)
def test_filters_by_level_and_what_they_choose_by_is_shown(loco, leveled, options, expected):
    arguments = ("directions", "list", *options.split(), "--sort", "-log_snr")
    found = loco("--json", *arguments).json
    assert [one["alpha_bar"] for one in found] == expected
    assert [one["log_snr"] for one in found] == pytest.approx([math.log(a / (1 - a)) for a in expected])
    head, *lines = loco(*arguments).out.splitlines()
    at = head.index("log SNR")
    shown = [line[: at + len("log SNR")].split()[-1] for line in lines]
    assert [float(one) for one in shown] == pytest.approx([one["log_snr"] for one in found], abs=1e-3)


@pytest.mark.parametrize("name", ["--snr", "--abar"])
@pytest.mark.parametrize("value", ["0", "-1..2", "x"])
def test_levels_that_cannot_be_are_wrong_usage(loco, leveled, name, value):
    found = loco("directions", "list", name, value, code=2).err
    assert (
        f"expected {'a number or a range such as 0.4..0.6' if value == 'x' else 'numbers above 0'}" in found
    )


def test_sorting(loco, filled):
    gains = [one["gain"] for one in loco("directions", "list", "--json", "--sort", "gain").json]
    assert gains == sorted(gains)
    leakages = [one["leakage"] for one in loco("directions", "list", "--json", "--sort", "-leakage").json]
    assert leakages == sorted(leakages, reverse=True)


def test_for_programs(loco, filled):
    [best] = loco("directions", "list", "--json", "--limit", 1).json
    own = {**asdict(filled.find(limit=1)[0]), "shape": [3, 4, 5], "labels": []}
    assert {name: best[name] for name in own} == own
    names = {
        "image_name": "face_007.png",
        "dataset": None,
        "model_name": "faces",
        "label": None,
        "alias": None,
    }
    assert {name: best[name] for name in names} == names
    assert (best["transfer"], best["strength"]) == (None, None)


def test_names_of_many_images(loco, filled):
    filled.add(*(make_basis(number, rank=1) for number in range(10, 20)))
    outcome = loco("directions", "list", "--sort", "leakage")
    assert "  001.png  " in outcome.out
    assert "  face_019.png  " in outcome.out.splitlines()[-1]  # in no dataset: as it was found


def test_naming_twenty_images_reads_twenty_rows_of_a_dataset_of_thousands(loco, filled):
    filled.add_dataset(make_dataset("large", range(3000)))
    filled.add(*(make_basis(number, rank=1) for number in range(20, 40)))
    asked = []

    @event.listens_for(Engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, executemany):
        asked.append((statement, parameters))

    try:
        assert "  039.png  " in loco("directions", "list", "--min-gain", 25).out
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    looks = [one for one in asked if "FROM images" in one[0]]
    assert looks
    with filled.catalogue._engine(read_only=True).connect() as connection:
        for statement, parameters in looks:
            assert len(connection.exec_driver_sql(statement, parameters).fetchall()) <= 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--model none",
            "error: no model is called 'none'; known are faces; add one with `loco model add NAME SOURCE`",
        ),
        ("--dataset none", "error: no dataset is called 'none'; known are portraits; add one with "),
        ("--sort size", "error: sort: expected one of id, basis_id, index,"),
    ],
)
def test_unknown_names(loco, filled, options, message):
    assert loco("directions", "list", *options.split(), code=2).err.startswith(message)


@pytest.mark.parametrize("text", ["high", "0.4..", "..", "nan", "0.4..inf"])
def test_levels_that_are_none(loco, text):
    message = f"Error: Invalid value for '--t': expected a number or a range such as 0.4..0.6, found '{text}'"
    assert loco("directions", "list", "--t", text, code=2).err.endswith(message)


def test_ids_stay_whole_on_a_narrow_terminal(loco, filled, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    assert filled.find(limit=1)[0].short in loco("directions", "list").out


def test_counted_and_grouped(loco, filled):
    assert loco("directions", "list", "--count", "--json").json == [{"count": 7}]
    lines = loco("directions", "list", "--by", "roi,t").out.splitlines()
    assert lines[0].split()[:4] == ["roi", "t", "count", "converged"]
    assert [line.split()[:3] for line in lines[1:]] == [["hair", "0.6", "6"], ["mouth", "0.4", "1"]]
    assert "exclude each other" in loco("directions", "list", "--count", "--by", "roi", code=2).err


def test_any_condition(loco, filled):
    chosen = loco("directions", "list", "--where", "roi = 'mouth' or gain > 6", "--json").json
    assert all(one["roi"] == "mouth" or one["gain"] > 6 for one in chosen)
    assert len(chosen) == 2
    outcome = loco("directions", "list", "--where", "1=1; DROP TABLE directions", code=2)
    assert outcome.err == "error: where: cannot read '; DROP TABLE directi' at character 4"


def test_written_to_a_file(loco, filled, tmp_path):
    out = tmp_path / "found.csv"
    assert loco("directions", "list", "--roi", "mouth", "--out", out).out.splitlines()[0] == "directions  1"
    assert out.read_text().splitlines()[0].startswith('"basis_id","row","id"')
    assert (
        "expected a name that ends in" in loco("directions", "list", "--out", tmp_path / "x.xls", code=2).err
    )


def test_what_is_sorted_by_is_shown(loco, filled):
    for key, title in (("found_at", "found at"), ("-singular_value", "singular value"), ("model", "model")):
        header, *lines = loco("directions", "list", "--sort", key).out.splitlines()
        assert f"  {title}  " in header, key
        assert len(lines) == 7
    values = [
        line.split()[7]
        for line in loco("directions", "list", "--sort", "-singular_value").out.splitlines()[1:]
    ]
    assert values == ["17", "12", "11", "11", "10", "10", "9"]


def test_labels_and_transfer_are_columns_once_there_are_some(loco, filled):
    best = filled.find(limit=1)[0]
    assert "label" not in loco("directions", "list").out.splitlines()[0]
    filled.label(best.id, "smile")
    filled.alias("smile@prod", best.id)
    filled.add_transfers([make_transfer(best.id, transfer=0.75, strength=6.5)])
    header, first, *_ = loco("directions", "list", "--sort", "transfer").out.splitlines()
    assert header.split()[-5:] == ["converged", "transfer", "strength", "label", "alias"]
    assert first.split()[0] == best.short
    assert first.split()[-4:] == ["0.75", "6.5", "smile", "smile@prod"]
    [told] = loco("directions", "list", "--json", "--min-transfer", "0.5").json
    assert (told["label"], told["alias"], told["labels"]) == ("smile", "smile@prod", ["smile", "smile@prod"])
    assert (told["transfer"], told["strength"], told["on_dataset"]) == (0.75, 6.5, "portraits")
    groups = loco("directions", "list", "--by", "label", "--json").json
    assert [(one["label"], one["count"]) for one in groups] == [(None, 6), ("smile", 1)]


def test_several_regions_and_images_are_any_of_them(loco, filled, tmp_path):
    count = ("--json", "directions", "list", "--count")
    assert loco(*count, "--roi", "hair", "--roi", "mouth").json == [{"count": 7}]
    assert loco(*count, "--roi", "mouth").json == [{"count": 1}]
    images = {one.image_id for one in filled.find(roi="hair")}
    words = [word for image in sorted(images)[:2] for word in ("--image", image)]
    assert loco(*count, *words).json == [{"count": 4}]
    assert (
        loco("--json", "directions", "list", *words, "--out", tmp_path / "some.csv").json[0]["directions"]
        == 4
    )
    assert loco("--json", "directions", "export", tmp_path / "some.loco", *words).json[0]["directions"] == 4
