"""Figures of evidence stand in one table, and whoever shows or keeps them goes by it."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Boolean, Float

import cli.directions
from cli.main import root
from flows.studies.page import Panel, Section, write_page
from loco import evidence
from loco.direction import Direction
from loco.evidence import FIGURES, shown_in
from loco.figure import Figure
from registry.home import Home
from registry.index.selection import columns
from registry.index.tables import SCHEMA_VERSION, DirectionRow
from registry.registry import Registry
from tests.registry.builders import make_basis

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TYPES = {("number", True): float, ("number", False): float | None, ("yes or no", True): bool}
NEW = Figure(
    name="roi_area",
    kind="number",
    unit="of the image",
    title="area",
    definition="pixels of the region over all",
    meaning="how much of the image the region is",
    better="neither",
    places=frozenset({"list", "page", "groups"}),
    told="{:.0%} of all",
)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_each_is_a_field_a_column_and_something_to_ask_for(figure):
    [field] = [one for one in fields(Direction) if one.name == figure.name]
    assert field.type == TYPES[figure.kind, figure.known]
    column = DirectionRow.__table__.columns[figure.name]
    assert column.nullable is not figure.known
    assert isinstance(column.type, Boolean if figure.kind == "yes or no" else Float)
    assert figure.name in columns()
    assert figure.since == 2 or not figure.known, (
        "DuckDB adds no column that is never NULL without a value for it"
    )
    assert figure.definition
    assert figure.meaning


def test_what_is_measured_of_a_direction_is_a_figure():
    """A number that is added to `Direction` as a bare field is noticed here."""
    measured = {one.name for one in fields(Direction) if one.type in TYPES.values()}
    settings = {"t", "alpha_bar", "log_snr", "roi_area", "seconds"}
    assert measured - settings == {one.name for one in FIGURES}


def test_a_figure_in_the_table_is_shown_everywhere_without_another_change(tmp_path, monkeypatch):
    registry = Registry(Home(tmp_path / "home"))
    registry.add(make_basis())
    [one] = registry.find(limit=1)

    def lines(*arguments):
        asked = ["--home", str(tmp_path / "home"), "directions", *arguments]
        return CliRunner().invoke(root, asked, prog_name="loco", catch_exceptions=False).stdout.splitlines()

    assert "area" not in lines("list")[0].split()
    monkeypatch.setattr(evidence, "FIGURES", (*FIGURES, NEW))
    monkeypatch.setattr(sys.modules[cli.directions.show.callback.__module__], "FIGURES", evidence.FIGURES)
    shown = lines("list")[0].split()
    assert shown[shown.index("converged") + 1] == "area"
    assert f"{'area':<16}{one.roi_area:.0%} of all" in lines("show", one.id)
    assert "roi area min" in lines("list", "--by", "roi")[0]
    counted = {"planned": 1, "done": 1, "skipped": 0}
    runs = {"discovered": counted, "applied": counted}
    summary = {"t": 0.6, "runs": runs, "catalogue": {"directions": 2, "bases": 1, "edits": 0}}
    panel = Panel(one, 1.0, "a.png", (), (), (), 1.0, 1.0, True)
    write_page(tmp_path / "page.html", [], [Section("hair", (panel,))], summary, [])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<b>{one.roi_area:.3f}</b><span>area</span>" in page
    assert f"<b>{one.residual:.4f}</b><span>residual</span>" in page


def test_the_page_begins_with_what_the_model_knows_of_all_faces_together(tmp_path):
    [across, _] = make_basis(scope="dataset").directions
    [one, _] = make_basis(1).directions
    counted = {"planned": 1, "done": 1, "skipped": 0}
    summary = {"t": 0.6, "runs": {"discovered": counted, "applied": counted}, "sources": 8}
    summary["catalogue"] = {"directions": 2, "bases": 1, "edits": 0}
    panels = [Panel(direction, 1.0, "a.png", (), (), (), 1.0, 1.0, True) for direction in (across, one)]
    scored = replace(panels[0], plus="mouth <opens>", minus=None, transfer=0.875)
    write_page(tmp_path / "page.html", [scored], [], summary, [])
    page = " ".join((tmp_path / "page.html").read_text(encoding="utf-8").split())
    assert "mouth &lt;opens&gt;" in page
    assert "carries over to 88 % of others; two halves agree to 0.90" in page
    write_page(tmp_path / "page.html", panels[:1], [Section("mouth", tuple(panels[1:]))], summary, [])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    first, knows, second = (page.index(text) for text in ("<h2>", "What this model knows", "by itself</h2>"))
    assert first < knows < page.index(across.short) < second < page.index(one.short)
    assert "75 % respond; two halves agree to 0.90" in " ".join(page.split())


def test_the_docs_have_the_table(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from _figures import table

    assert table() in (DOCS / "method.md").read_text(encoding="utf-8")
    assert len(table().splitlines()) == 2 + len(FIGURES)


def test_lists_show_what_the_table_says():
    assert [one.title for one in shown_in("list")] == ["gain", "leakage", "retained", "converged"]


_A_FIGURE_MORE = """
import subprocess
import sys
from dataclasses import field, make_dataclass, replace
from pathlib import Path

from loco import direction
from loco.figure import figure

VERSION = int(sys.argv[2])
sharpness = figure(
    title="sharpness", definition="d", meaning="m", better="more", places=frozenset({"list"}), since=VERSION
)
direction.Direction = make_dataclass(
    "Direction",
    [("sharpness", float | None, field(default=None, metadata=sharpness))],
    bases=(direction.Direction,),
    frozen=True,
)
direction.Basis.__annotations__["directions"] = tuple[direction.Direction, ...]

from registry.home import Home
from registry.index.tables import SCHEMA_VERSION
from registry.registry import Registry
from tests.registry.builders import make_basis

assert SCHEMA_VERSION == VERSION
registry = Registry(Home(Path(sys.argv[1])))
assert {one.sharpness for one in registry.find()} == {None}
basis = make_basis(7)
registry.add(replace(basis, directions=tuple(replace(one, sharpness=2.5) for one in basis.directions)))
found = registry.find(where="sharpness > 2")
assert [one.basis_id for one in found] == [basis.id] * len(basis.directions)
assert registry.grouped("roi")[0]["sharpness_mean"] == 2.5
registry.reindex()
assert [one.sharpness for one in registry.find(where="sharpness > 2")] == [2.5] * len(found)
"""


def test_a_figure_more_is_a_column_to_which_an_older_catalogue_is_led_by_its_field_alone(tmp_path):
    """Rows, filters, groups and the step of the tables follow."""
    Registry(Home(tmp_path / "home")).add(make_basis())
    line = [sys.executable, "-c", _A_FIGURE_MORE, str(tmp_path / "home"), str(SCHEMA_VERSION + 1)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
