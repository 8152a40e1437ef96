import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from loco.errors import InputError
from registry.index import selection, where
from registry.index.where import Both, Comparison, Not, parse
from tests.registry.builders import make_basis

NUMBERS = ("gain", "leakage", "t", "index", "linear_range")
TEXTS = ("roi", "id", "prompt")
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6, allow_nan=False)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12)


@st.composite
def comparisons(draw):
    kind = draw(st.sampled_from(("number", "text", "flag", "null", "in", "like")))
    if kind == "flag":
        return Comparison("converged", draw(st.sampled_from(("=", "!="))), (draw(st.booleans()),))
    if kind == "null":
        return Comparison(draw(st.sampled_from(NUMBERS + TEXTS)), "null", ())
    if kind == "like":
        return Comparison(draw(st.sampled_from(TEXTS)), "like", (draw(texts),))
    column, values = draw(st.sampled_from(((NUMBERS, numbers), (TEXTS, texts | st.just("hair")))))
    name = draw(st.sampled_from(column))
    if kind == "in":
        return Comparison(name, "in", tuple(draw(st.lists(values, min_size=1, max_size=3))))
    return Comparison(name, draw(st.sampled_from(("=", "!=", "<", "<=", ">", ">="))), (draw(values),))


trees = st.recursive(
    comparisons(),
    lambda part: st.builds(Not, part) | st.builds(Both, part, part, st.booleans()),
    max_leaves=12,
)


def write(node):
    if isinstance(node, Not):
        return f"not ({write(node.part)})"
    if isinstance(node, Both):
        return f"({write(node.left)}) {'OR' if node.either else 'and'} ({write(node.right)})"
    if node.sign == "null":
        return f"{node.column} is NULL"
    values = [
        str(value).lower()
        if isinstance(value, bool)
        else "'{}'".format(value.replace("'", "''"))
        if isinstance(value, str)
        else repr(value)
        for value in node.values
    ]
    return (
        f"{node.column} in ({', '.join(values)})"
        if node.sign == "in"
        else f"{node.column} {node.sign} {values[0]}"
    )


def judge(node, record):
    """The oracle: true, false or unknown (None) of one direction, as SQL has it."""
    if isinstance(node, Not):
        inner = judge(node.part, record)
        return None if inner is None else not inner
    if isinstance(node, Both):
        pair = (judge(node.left, record), judge(node.right, record))
        if node.either:
            return True if True in pair else None if None in pair else False
        return False if False in pair else None if None in pair else True
    value = getattr(record, node.column)
    if node.sign == "null":
        return value is None
    if value is None:
        return None
    if node.sign == "in":
        return value in node.values
    other = node.values[0]
    if node.sign == "like":
        pattern = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in other)
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    key = (lambda one: one.encode()) if isinstance(value, str) else (lambda one: one)
    value, other = key(value), key(other)
    return {
        "=": value == other,
        "!=": value != other,
        "<": value < other,
        "<=": value <= other,
        ">": value > other,
        ">=": value >= other,
    }[node.sign]


@settings(max_examples=300, deadline=None)
@given(trees)
def test_what_is_written_is_read_back(tree):
    assert parse(write(tree)) == tree


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=80) | st.text("()'=<> andortlike%gain0123456789.,-", max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(InputError):
        where.condition(parse(text), selection.columns())


@settings(max_examples=300, deadline=None)
@given(trees)
def test_no_value_stands_in_the_statement(tree):
    made = where.condition(tree, selection.columns()).compile(dialect=postgresql.dialect())
    assert "'" not in str(made).replace("'\\\\'", "")


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def stocked(request, tmp_path_factory):
    from registry.home import Home
    from registry.registry import Registry
    from tests.postgres import fresh

    url = None
    if request.param == "postgresql":
        url = fresh(request.getfixturevalue("postgres_server"), "where")
    registry = Registry(Home(tmp_path_factory.mktemp("where") / "home"), url)
    registry.add(*(make_basis(number, rois=("hair", "mouth")) for number in range(5)))
    return registry


@settings(max_examples=60, deadline=None)
@given(tree=trees)
def test_the_database_judges_as_the_oracle_does(stocked, tree):
    found = {one.id for one in stocked.find(where=write(tree))}
    assert found == {one.id for one in stocked.find() if judge(tree, one) is True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column's name at character 1, found the end"),
        ("gain", "gain is compared with a number, found 'True'"),
        ("gain >", "expected a number, 'text', true or false at character 7, found the end"),
        ("gain > 'x'", "gain is compared with a number, found 'x'"),
        ("roi = 3", "roi is compared with 'text' without NUL, found '3'"),
        ("roi = 'a' drop", "expected 'and', 'or' or the end at character 11, found 'drop'"),
        ("1=1", "expected a column's name at character 1, found '1'"),
        ("gain > 1; drop table x", "cannot read '; drop table x' at character 9"),
        ("secret = 1", "no column 'secret'; there are id, basis_id"),
        ("roi = 'open", 'cannot read "\'open" at character 7'),
        ("step > 99999999999", "step is compared with a number of up to 2147483647"),
        ("found_at > 'soon'", "found_at is compared with a time such as '2026-11-20'"),
        ("(" * 100 + "gain>1" + ")" * 100, "expected up to 60 parentheses"),
        ("x" * 10_001, "expected up to 10000 characters, found 10001"),
    ],
)
def test_what_cannot_be_asked(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        where.condition(parse(text), selection.columns())


def test_precedence_and_the_other_forms():
    assert parse("converged and not gain<1 or t=0.5") == Both(
        Both(Comparison("converged", "=", (True,)), Not(Comparison("gain", "<", (1,))), False),
        Comparison("t", "=", (0.5,)),
        True,
    )
    assert parse("t between 0.4 and .6 and roi not in ('a''b')") == Both(
        Both(Comparison("t", ">=", (0.4,)), Comparison("t", "<=", (0.6,)), False),
        Not(Comparison("roi", "in", ("a'b",))),
        False,
    )
    assert parse("linear_range is not null") == Not(Comparison("linear_range", "null", ()))


def test_times(stocked):
    assert len(stocked.find(where="found_at > '2026-11-20'")) == len(stocked.find())
    assert stocked.find(where="found_at < '2026-11-20T10:00'") == []
    assert stocked.find(since="2999-01-01") == []


@pytest.mark.parametrize("time", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00", "yesterday", ""])
def test_a_time_that_is_none_is_refused(stocked, time):
    with pytest.raises(InputError, match="expected ISO 8601, found"):
        stocked.find(since=time)
