import zipfile
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from loco.errors import RegistryError
from loco.ids import content_id
from loco.models.card import read_card
from loco.models.levels import alpha_bar
from loco.models.source import model_folder
from registry.files.basis import read_basis
from registry.home import Home
from registry.index.migrations import MIGRATIONS
from registry.index.tables import SCHEMA_VERSION
from registry.registry import Registry
from tests.registry.builders import dump, make_basis, make_dataset, make_edit, make_model, make_run

OLD = Path(__file__).parent / "data" / "home-schema-1.zip"
"""A home as the program of schema 1 wrote it: `template` of conftest.py."""


@pytest.fixture
def old(home):
    home.root.mkdir()
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(home.root)
    return Registry(home)


def version_of(home):
    engine = create_engine(f"duckdb:///{home.catalogue}")
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version FROM schema_version")).scalar()
    engine.dispose()
    return found


def columns_of(home):
    engine = create_engine(f"duckdb:///{home.catalogue}")
    inspector = inspect(engine)
    found = {
        table: sorted(
            (one["name"], one["type"].compile(engine.dialect), one["nullable"])
            for one in inspector.get_columns(table)
        )
        for table in inspector.get_table_names()
    }
    engine.dispose()
    return found


def test_the_steps_are_in_order_and_end_at_the_present():
    versions = [step.version for step in MIGRATIONS]
    assert versions == list(range(2, SCHEMA_VERSION + 1))


def test_an_older_home_opens_migrates_and_answers(old, home):
    assert version_of(home) == 1
    found = old.find(roi="hair", t=0.6, model="faces")
    assert version_of(home) == SCHEMA_VERSION
    assert len(found) == 8
    assert {(one.space, one.method, one.linear_range, one.prompt) for one in found} == {
        ("x_t", "projected", None, "")
    }
    assert old.model("faces") == make_model()
    assert old.dataset("portraits") == make_dataset()
    assert [run.id for run in old.runs()] == [make_run(1).id, make_run(0).id]
    assert [edit.id for edit in old.edits(make_run(0).id)] == [make_edit(0).id]
    assert old.vectors(found).shape == (8, 3, 4, 5)
    assert {one.remedy for one in old.verify() if one.subject.startswith("basis")} == {
        "run `loco registry migrate`; if it stays, run `loco registry reindex`"
    }
    old.migrate()
    assert [one.subject for one in old.verify()] == [f"model {content_id('model', 'other')}"]


def test_directions_of_an_older_home_have_the_level_of_their_step_by_their_models_schedule(old, home):
    """Schema 1 has t and the step alone; the embedded model, put into that catalogue as it was, tells alpha_bar."""
    folder = model_folder("zoo:faces32")
    card = read_card(folder)
    engine = create_engine(f"duckdb:///{home.catalogue}")
    with engine.begin() as connection:
        told = {"model": make_model().id, "schedule": card.schedule}
        connection.execute(
            text("UPDATE models SET source = 'zoo:faces32', schedule = :schedule WHERE id = :model"), told
        )
    engine.dispose()
    found = old.find()
    assert version_of(home) == SCHEMA_VERSION
    levels = alpha_bar(folder)
    assert {one.model for one in found} > {make_model().id}  # and one that is not registered
    for one in found:
        expected = float(levels[one.step]) if one.model == make_model().id else None
        assert one.alpha_bar == expected
        assert one.point == "inverted"


def test_what_migrates_is_what_the_files_give_back(old):
    old.migrate()
    migrated = dump(old)
    old.reindex()
    rebuilt = dump(old)
    assert {table for table in migrated if migrated[table] != rebuilt[table]} == {"migrations"}
    assert [row[0] for row in migrated["migrations"]] == [step.version for step in MIGRATIONS]


def test_leakage_of_the_whole_image_is_forgotten(old, home):
    """An older catalogue with a region of all pixels, whose leakage was 0 and headed every list."""
    engine = create_engine(f"duckdb:///{home.catalogue}")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE directions SET roi_area = 1, leakage = 0, retained = 1 WHERE roi = 'hair'")
        )
    engine.dispose()
    old.find()
    with create_engine(f"duckdb:///{home.catalogue}").connect() as connection:
        found = connection.execute(
            text("SELECT DISTINCT roi, leakage IS NULL, retained IS NULL FROM directions")
        )
        assert {roi: (leaks, kept) for roi, leaks, kept in found} == {
            "hair": (True, True),
            "mouth": (False, False),
        }


def test_migrated_tables_are_the_present_ones(old, home, tmp_path):
    old.migrate()
    fresh = Registry(Home(tmp_path / "fresh"))
    fresh.add_model(make_model())
    assert columns_of(home) == columns_of(fresh.home)


def test_no_secondary_index_is_left_of_older_tables(old, home):
    old.migrate()
    with create_engine(f"duckdb:///{home.catalogue}").connect() as connection:
        assert connection.execute(text("SELECT index_name FROM duckdb_indexes()")).all() == []


def test_migrating_twice_does_nothing(old, home):
    assert len(old.migrate()) == len(MIGRATIONS) + 1  # "read 5 basis files again"
    before = dump(old)
    assert old.migrate() == []
    assert dump(old) == before


def test_nothing_to_migrate(home, registry):
    assert registry.migrate() == []
    assert not home.root.exists()


def test_a_writer_migrates_too(old, home):
    old.add(make_basis(9))
    assert version_of(home) == SCHEMA_VERSION
    assert len(old.find()) == 13


def test_basis_files_of_the_older_layout_still_read(old, home):
    paths = sorted(home.bases.glob("*/*.safetensors"))
    assert len(paths) == 5
    for path in paths:
        basis = read_basis(path)
        assert basis.id == path.stem
        assert (basis.recipe.tol, basis.recipe.max_rounds) == (0.02, 12)  # the defaults of its time
        assert {(one.space, one.linear_range) for one in basis.directions} <= {("x_t", None)}
        assert len(basis.vectors) == len(basis.directions)


def test_a_step_that_fails_leaves_the_catalogue_as_it_was(old, home, monkeypatch):
    def fail(session):
        step.work(session)
        raise RegistryError("in the middle")

    step = MIGRATIONS[0]
    broken = (type(step)(step.version, step.name, fail), *MIGRATIONS[1:])
    monkeypatch.setattr("registry.index.migrations.MIGRATIONS", broken)
    with pytest.raises(RegistryError, match="in the middle"):
        old.find()
    monkeypatch.undo()
    assert version_of(home) == 1
    assert len(old.find()) == 11


def test_a_newer_catalogue_is_left_alone(registry, home):
    registry.add_model(make_model())
    engine = create_engine(f"duckdb:///{home.catalogue}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    engine.dispose()
    for use in (registry.find, registry.migrate, lambda: registry.add(make_basis())):
        with pytest.raises(RegistryError, match="use the newer program"):
            use()
    assert version_of(home) == 99
