"""Every option that takes a number refuses what is none and what is beyond all measure, where it enters."""

import click
import pytest

from cli.main import root


def options(command=root, path="loco"):
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from options(one, f"{path} {name}")
    for one in command.params:
        if isinstance(one, click.Option):
            yield f"{path} {one.opts[-1]}", one


def numeric():
    """The options that take 0.5 or 1: those types alone that turn text into a number."""
    for title, option in options():
        try:
            values = [
                option.type.convert(text, option, None) for text in ("1", "0.5") if _takes(option, text)
            ]
        except click.UsageError:
            continue
        if any(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            yield pytest.param(option, id=title)


def _takes(option, text):
    try:
        option.type.convert(text, option, None)
    except click.UsageError:
        return False
    return True


@pytest.mark.parametrize("option", list(numeric()))
def test_a_number_is_finite_and_no_count_beyond_all_measure(option):
    texts = ["nan", "inf", "-inf", "", "1e400"]
    if isinstance(option.type, click.types.IntParamType):
        texts += ["999999999999999", "-999999999999999", "1" * 400]
    for text in texts:
        with pytest.raises(click.UsageError):
            option.type.convert(text, option, None)


def test_there_are_such_options():
    assert len(list(numeric())) > 30
