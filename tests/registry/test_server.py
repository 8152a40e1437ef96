"""A catalogue on a server: what passes is tried again, what does not is told, and its password is nobody's business."""

import os
import threading
import time

import psycopg
import pytest
from sqlalchemy import make_url, text

from loco.errors import InputError, RegistryBusy, RegistryError, StorageError
from registry.database import credentials, waiting
from registry.database.waiting import Passing
from registry.files import shared
from registry.registry import Registry
from tests.postgres import fresh
from tests.registry.builders import make_basis, make_model

CANARY = "c4nary"


@pytest.fixture
def url(postgres_server):
    return fresh(postgres_server, f"s{os.urandom(6).hex()}")


@pytest.fixture
def stocked(home, url):
    registry = Registry(home, url)
    registry.add(make_basis(0))
    return registry


_CUT = text("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_reader_whose_connection_breaks_reads_again(stocked):
    looks = []

    def look(session):
        looks.append(1)
        if len(looks) == 1:
            session.execute(_CUT)
        return session.scalar(text("SELECT count(*) FROM directions"))

    assert stocked.catalogue.read(look, 0) == 2
    assert len(looks) == 2


def test_a_writer_whose_connection_breaks_before_the_commit_writes_once(stocked):
    tries = []

    def work(session):
        tries.append(1)
        session.execute(text("INSERT INTO aliases VALUES ('a@b', 'x')"))
        if len(tries) == 1:
            session.execute(_CUT)

    stocked.catalogue.write(work)
    with stocked.sql() as reader:
        [answer] = reader.ask("SELECT name FROM aliases")
        assert list(answer.rows()) == [("a@b",)]
    assert len(tries) == 2


def test_a_label_whose_connection_breaks_is_one_line_and_one_row(home, stocked, monkeypatch):
    from registry.index import events

    real, tries = events.take_in, []

    def break_once(session, home):
        real(session, home)
        tries.append(1)
        if len(tries) == 1:
            session.execute(_CUT)

    monkeypatch.setattr(events, "take_in", break_once)
    one = stocked.find()[0].id
    stocked.label(one, "kept")
    assert len(tries) == 2
    assert len((home.root / "history" / "directions.jsonl").read_text().splitlines()) == 1
    assert [event.text for event in stocked.history(one)] == ["kept"]


def test_transactions_in_each_others_way_are_tried_again(stocked):
    tries = []

    def work(session):
        tries.append(1)
        if len(tries) < 3:
            session.execute(text("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$"))

    stocked.catalogue.write(work)
    assert len(tries) == 3


def test_a_server_that_is_not_there_is_told_of_after_some_tries(home, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "TELL_AFTER", 0.1)
    with pytest.raises(RegistryError, match="cannot reach the catalogue") as caught:
        Registry(home, f"postgresql://me:{CANARY}@127.0.0.1:1/loco", timeout=0.5).find()
    assert not isinstance(caught.value, Passing)
    assert CANARY not in str(caught.value)
    said = [one.getMessage() for one in caplog.records]
    assert any("trying again for 0.5 s: cannot reach" in one for one in said)
    assert not any(CANARY in one for one in said)


def test_a_reader_does_not_wait_without_end(home, url, stocked):
    """Someone holds a lock that stops even readers."""
    with psycopg.connect(url.replace("+psycopg", "")) as holder:
        holder.execute("LOCK TABLE directions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RegistryBusy):
            Registry(home, url, timeout=0.5).find()
    assert len(Registry(home, url, timeout=5).find()) == 2


def test_a_writer_says_for_whom_it_waits(home, url, stocked, caplog, monkeypatch):
    monkeypatch.setattr(waiting, "TELL_AFTER", 0.2)
    held, free = threading.Event(), threading.Event()

    def hold(session):
        held.set()
        assert free.wait(20)

    holder = threading.Thread(target=stocked.catalogue.write, args=(hold,))
    holder.start()
    assert held.wait(20)
    writer = threading.Thread(target=Registry(home, url).add_model, args=(make_model(),))
    writer.start()
    deadline = time.monotonic() + 20
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.02)
    free.set()
    holder.join(20)
    writer.join(20)
    assert "it is held by loco " in caplog.records[0].getMessage()
    assert "server process" in caplog.records[0].getMessage()


def test_a_database_that_is_not_in_utf8_is_refused_with_the_remedy(home, postgres_server):
    name = f"latin{os.urandom(4).hex()}"
    with psycopg.connect(postgres_server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
    other = make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    for work in (lambda one: one.find(), lambda one: one.add_model(make_model())):
        with pytest.raises(
            RegistryError, match=r"encoding is LATIN1, .* CREATE DATABASE loco ENCODING 'UTF8'"
        ):
            work(Registry(home, other))
    assert not home.models.exists()


def test_the_password_comes_from_the_environment_of_just_that_url(home, monkeypatch):
    def password(url):
        return Registry(home, url).catalogue.url.password

    monkeypatch.setenv("LOCO_REGISTRY", f"postgresql://me:{CANARY}@server/loco")
    assert password("postgresql+psycopg://me@server/loco") == CANARY
    assert password("postgresql://me@server/other") is None
    assert password("postgresql://me@elsewhere/loco") is None
    assert password("postgresql://me:mine@server/loco") == "mine"


def test_the_password_comes_from_a_file_that_only_its_owner_reads(home):
    credentials.keep(home.root, "postgresql://me:old@server/loco")
    credentials.keep(home.root, "postgresql://you:yours@server/loco")
    credentials.keep(home.root, f"postgresql://me:{CANARY}@server/loco")
    file = credentials.secret_file(home.root)
    assert file.stat().st_mode & 0o777 == 0o600
    assert Registry(home, "postgresql://me@server/loco").catalogue.url.password == CANARY
    assert Registry(home, "postgresql://you@server/loco").catalogue.url.password == "yours"
    file.chmod(0o644)
    with pytest.raises(StorageError, match="can be read by others; `chmod 600` it"):
        Registry(home, "postgresql://me@server/loco")


def test_the_names_that_a_catalogue_goes_by_tell_no_password(home):
    for url in (f"postgresql://me:{CANARY}@server/loco", f"postgresql://me@server/loco?password={CANARY}"):
        assert CANARY not in str(Registry(home, url).catalogue)
    for url in (f"oracle://me:{CANARY}@server/x", f"postgresql://me:{CANARY}@ser ver:x/", f"//me:{CANARY}@x"):
        with pytest.raises(InputError) as caught:
            Registry(home, url)
        assert CANARY not in str(caught.value)


def test_a_shared_store_takes_no_password_that_would_lie_in_plain_text(home):
    with pytest.raises(InputError, match="FSSPEC_SFTP_PASSWORD") as caught:
        shared.configure(home, artifacts=f"sftp://me:{CANARY}@server/a")
    assert CANARY not in str(caught.value)
    assert not home.root.exists()
