"""Figures of evidence stand in one table, and whoever shows or keeps them goes by it."""

import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Boolean, Float

import cli.directions
from cli.main import root
from flows.studies.page import Panel, Section, write_page
from loco import evidence
from loco.direction import Direction
from loco.evidence import FIGURES, Figure, shown_in
from registry.home import Home
from registry.index.selection import columns
from registry.index.tables import DirectionRow
from registry.registry import Registry
from tests.registry.builders import make_basis

DOCS = Path(__file__).parents[1] / "docs"
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
    assert figure.definition
    assert figure.meaning


def test_what_is_measured_of_a_direction_is_in_the_table():
    """A figure that is added to `Direction` alone is noticed here."""
    measured = {one.name for one in fields(Direction) if one.type in TYPES.values()}
    assert measured - {"t", "roi_area", "seconds"} == {one.name for one in FIGURES}


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
    write_page(tmp_path / "page.html", [Section("hair", (panel,))], summary, [])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<b>{one.roi_area:.3f}</b><span>area</span>" in page
    assert f"<b>{one.residual:.4f}</b><span>residual</span>" in page


def test_the_docs_have_the_table(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    from _figures import table

    assert table() in (DOCS / "method.md").read_text(encoding="utf-8")
    assert len(table().splitlines()) == 2 + len(FIGURES)


def test_lists_show_what_the_table_says():
    assert [one.title for one in shown_in("list")] == ["gain", "leakage", "retained", "converged"]
