import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.errors import InputError, RegistryError, UnknownName
from registry.files import history
from tests.registry.builders import dump, forget, make_basis

BOTH = True  # the contract of either catalogue


def test_labels(filled):
    one, two = filled.find(limit=2)
    filled.label(one.short, "wide smile", who="ana")
    filled.label(one.id, "b'); DROP TABLE directions; --", who="ana")
    filled.label(two.id, "wide smile", who="ben")
    assert {found.id for found in filled.find(label="wide smile")} == {one.id, two.id}
    assert filled.labels()[one.id] == ["b'); DROP TABLE directions; --", "wide smile"]
    filled.label(one.id, "wide smile", remove=True, who="ben")
    assert filled.find(label="wide smile") == [two]
    assert [(event.who, event.action, event.text) for event in filled.history(one.id)] == [
        ("ana", "label", "wide smile"),
        ("ana", "label", "b'); DROP TABLE directions; --"),
        ("ben", "unlabel", "wide smile"),
    ]
    assert len(filled.history()) == 4


def test_an_alias_means_one_direction_and_stands_where_an_id_can(filled):
    one, two = filled.find(limit=2)
    filled.alias("smile@prod", one.id)
    assert filled.direction("smile@prod") == one
    filled.alias("smile@prod", two.short)
    filled.alias("smile@test", "smile@prod")
    assert filled.direction("smile@test") == filled.direction("smile@prod") == two
    assert filled.find(alias="smile") == filled.find(alias="smile@test") == [two]
    assert filled.find(alias="sm_le") == []
    filled.unalias("smile@prod")
    with pytest.raises(
        UnknownName, match=r"no direction has the alias 'smile@prod'; known are smile@test; set one"
    ):
        filled.direction("smile@prod")
    with pytest.raises(UnknownName):
        filled.unalias("smile@prod")


def test_what_is_rejected_is_not_found_until_it_is_restored(filled):
    one = filled.find(limit=1)[0]
    filled.reject(one.id, "leaks into the hair")
    assert one not in filled.find()
    assert filled.count() == 11
    assert filled.find(status="rejected") == [one]
    assert len(filled.find(status="all")) == 12
    filled.restore(one.id)
    assert filled.find(limit=1) == [one]


def test_the_file_gives_all_of_it_back(filled):
    one, two = filled.find(limit=2)
    filled.label(one.id, "smile")
    filled.alias("smile@prod", one.id)
    filled.reject(two.id, "no")
    filled.label(two.id, "x")
    filled.label(two.id, "x", remove=True)
    before = dump(filled)
    forget(filled)
    filled.reindex()
    assert dump(filled) == before
    assert filled.find(alias="smile@prod", label="smile") == [one]


def test_lines_without_rows_are_taken_in_by_the_next_writer(filled, home):
    """As after a kill between line and commit."""
    one = filled.find(limit=1)[0]
    filled.label(one.id, "first", who="ana")
    line = {"at": "2026-11-24T10:00:00.000000", "who": "ben", "action": "label"}
    path = history.history_path(home)
    with path.open("a") as file:
        file.write(json.dumps({**line, "direction_id": one.id, "text": "second"}) + "\n" + '{"torn')
    assert [problem.trouble for problem in filled.verify() if "history" in problem.subject] == [
        "has 2 events, the catalogue 1"
    ]
    filled.label(one.id, "third", who="ana")
    assert filled.labels()[one.id] == ["first", "second", "third"]
    assert [problem for problem in filled.verify() if "history" in problem.subject] == []
    assert path.read_bytes().count(b"\n") == 3


def test_lines_that_are_no_events_are_named_and_passed_over(filled, home):
    one = filled.find(limit=1)[0]
    filled.label(one.id, "first")
    with history.history_path(home).open("a") as file:
        file.write('nonsense\n{"at": 1}\n')
    filled.label(one.id, "second")
    assert filled.labels()[one.id] == ["first", "second"]
    named = [one.trouble for one in filled.verify() if one.subject == str(history.history_path(home))]
    assert [trouble.partition(":")[0] for trouble in named] == ["line 2 says nothing", "line 3 says nothing"]
    assert filled.reindex()["damaged"] == 1
    assert filled.labels()[one.id] == ["first", "second"]


@pytest.mark.parametrize(
    "text", ["", " x", "x\n", "a\0b", "a\x1b[31m", "x" * 201, "x" * 10_000_000, "\u202e"]
)
def test_labels_that_are_no_line_of_text(registry, home, text):
    registry.add(make_basis())
    with pytest.raises(InputError, match="label: expected 1 to 200 printable characters") as caught:
        registry.label(registry.find()[0].id, text)
    assert len(str(caught.value)) < 600
    assert not history.history_path(home).exists()


@pytest.mark.parametrize(
    "name", ["smile", "@prod", "a@", "a b@c", "a@b@c", "../x@y/z", "a@b\n", "x" * 101 + "@y"]
)
def test_names_that_are_no_alias(registry, name):
    registry.add(make_basis())
    with pytest.raises(InputError, match="alias: expected NAME@LABEL"):
        registry.alias(name, registry.find()[0].id)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_a_text_is_refused_or_comes_back_as_it_was(text):
    try:
        one = history.event("label", "a" * 32, text, "ana")
    except InputError:
        assert not (1 <= len(text) <= 200 and text.isprintable() and text == text.strip())
    else:
        assert history.parse(json.dumps(vars(one)).encode()) == one


def test_a_history_that_got_shorter_is_not_written_on(filled, home):
    one = filled.find(limit=1)[0]
    filled.label(one.id, "first")
    history.history_path(home).unlink()
    with pytest.raises(RegistryError, match="whoever shares a catalogue must share the home folder too"):
        filled.label(one.id, "second")
    assert not history.history_path(home).exists()
    filled.reindex()
    filled.label(one.id, "second")
    assert filled.labels()[one.id] == ["second"]


def test_a_scorers_label_takes_the_place_of_its_former_one_and_never_of_a_persons(filled):
    one, two = filled.find(limit=2)
    filled.label(one.id, "smile", who="ana")
    filled.label(two.id, "mouth opens", who="ana")
    filled.label(two.id, "mouth opens", remove=True, who="ana")
    given = filled.name(
        {one.id: ("smile", 0.9), two.id: ("mouth opens", 0.8)}, who="zoo:reader", method="sign test"
    )
    assert given == []  # the one is a person's, the other a person took away
    assert filled.labels() == {one.id: ["smile"]}
    filled.name({one.id: ("lips redder", 0.9), two.id: ("teeth shown", 1.0)}, who="zoo:reader", method="a")
    filled.name({one.id: ("mouth wider", 0.7), two.id: None}, who="zoo:reader", method="b")
    filled.name({one.id: ("more Smiling", 0.6)}, who="clip", method="c")
    assert filled.labels() == {one.id: ["smile", "more Smiling", "mouth wider"]}
    with filled.sql() as reader:
        question = "SELECT label, author_kind, method, score FROM labels ORDER BY label"
        rows = [tuple(row.values()) for answer in reader.ask(question) for row in answer.records()]
    assert rows == [
        ("more Smiling", "scorer", "c", 0.6),
        ("mouth wider", "scorer", "b", 0.7),
        ("smile", "person", "", None),
    ]


def test_a_person_takes_a_scorers_label_away_for_good(filled):
    [one] = filled.find(limit=1)
    filled.name({one.id: ("lips redder", 0.9)}, who="zoo:reader", method="a")
    filled.label(one.id, "lips redder", remove=True, who="ana")
    assert filled.name({one.id: ("lips redder", 0.9)}, who="zoo:reader", method="a") == []
    assert filled.labels() == {}


def test_naming_again_says_nothing_twice_and_reindex_brings_it_back(filled):
    [one] = filled.find(limit=1)
    for _ in range(2):
        filled.name({one.id: ("lips redder", 0.9)}, who="zoo:reader", method="a")
    [event] = filled.history(one.id)
    assert (event.author_kind, event.method, event.score) == ("scorer", "a", 0.9)
    before = dump(filled)
    filled.reindex()
    assert dump(filled)["labels"] == before["labels"]
    assert dump(filled)["history"] == before["history"]


def test_what_people_say_is_written_as_it_was_before_scorers_spoke(filled):
    [one] = filled.find(limit=1)
    filled.label(one.id, "smile", who="ana")
    [line] = history.history_path(filled.home).read_text().splitlines()
    assert set(json.loads(line)) == {"at", "who", "action", "direction_id", "text"}


@pytest.mark.parametrize(
    "change", [{"author_kind": "ghost"}, {"score": "high"}, {"author_kind": "scorer", "action": "reject"}]
)
def test_a_line_of_another_kind_of_author_is_passed_over(filled, change):
    [one] = filled.find(limit=1)
    filled.label(one.id, "smile", who="ana")
    path = history.history_path(filled.home)
    path.write_text(path.read_text() + json.dumps(json.loads(path.read_text()) | change) + "\n")
    filled.reindex()
    assert len(filled.history()) == 1
