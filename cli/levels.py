"""Noise levels on the command line: a number, or what a model's schedule makes one of (`snr:0.5`)."""

from typing import Any

import click

from cli.options import ranged
from loco.errors import InputError
from loco.levels import Wanted, wanted

Level = float | Wanted

_NUMBER = ranged("t")


class _Level(click.ParamType[Level]):
    """A type for options: t in (0, 1), or a text that `loco.levels.wanted` takes."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Level:
        """The level; fails as click's own numbers do. `loco.models.levels.resolved` makes a t of it."""
        try:
            found = wanted(value) if isinstance(value, str) else None
        except InputError as error:
            self.fail(str(error), param, ctx)
        number: float = _NUMBER.convert(value, param, ctx) if found is None else 0.0
        return number if found is None else found


LEVEL = _Level()
"""A noise level."""

SPELT = "; also snr:X, logsnr:X, abar:X"
"""What help says of its spelling."""
