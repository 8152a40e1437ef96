"""The options that every command takes, wherever on the line they stand, and the types of the others."""

import contextlib
import errno
import functools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from cli.app import App, printable
from loco.errors import InputError, LocoError
from loco.ranges import RANGES
from loco.urls import secret
from registry.home import Home

_P = ParamSpec("_P")
_R = TypeVar("_R")
_KEY = "loco."


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Note a common option's value; what is typed counts before the environment, the later before the earlier."""
    key = f"{_KEY}{option.name}"
    typed = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    if typed or (value is not None and key not in context.meta):
        context.meta[key] = value


def _bare(context: click.Context, url: str | None) -> str | None:
    """The catalogue's URL without its password, which goes to the environment: from there on nobody hands it about."""
    if url is None or not secret(url):
        return url
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from registry.database.credentials import without_password

    try:
        bare = without_password(make_url(url)).render_as_string(hide_password=False)
    except (ArgumentError, ValueError):
        return url  # whoever connects says what is wrong with it
    _environment(context, REGISTRY, url)
    return bare


def _environment(context: click.Context, name: str, value: str) -> None:
    """Set a variable until the command ends: the processes that it starts find it there."""
    before = os.environ.get(name)
    os.environ[name] = value

    def restore() -> None:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before

    context.find_root().call_on_close(restore)


class Real(click.FloatRange):
    """A type for options: a number within bounds; NaN, which no bound keeps out, and infinity are refused too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; fails as click's own does."""
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


class Whole(click.IntRange):
    """A type for options: a whole number within bounds, and never beyond all measure."""

    def __init__(self, min: int | None = None, max: int = 10**12) -> None:
        super().__init__(min, max)


def ranged(name: str) -> Real | Whole:
    """A type for options: the numbers of that name in `loco.ranges.RANGES`."""
    one = RANGES[name]
    if one.whole:
        return Whole(int(one.low), int(one.high))
    return Real(one.low, one.high, min_open=one.open_low, max_open=one.open_high)


AT_LEAST_ONE = Whole(min=1)


def _wait(context: click.Context, option: click.Parameter, value: float | None) -> None:
    """Say in the environment how long to wait: there the processes that a command starts find it too."""
    if value is None:
        return
    _environment(context, WAIT, f"{value:g}")


WAIT, REGISTRY = "LOCO_WAIT", "LOCO_REGISTRY"


def somewhere(text: str) -> str:
    """A type for options: a path or URL, neither nothing, which would mean the current folder, nor too long for one."""
    if not text.strip() or "\0" in text:
        raise click.BadParameter(f"expected a path, found {text!r}")
    if "://" not in text:
        try:
            os.lstat(text)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise click.BadParameter(f"expected a path, found one of {len(text)} characters") from error
    return text


class _Given(click.Path):
    """A path that is not nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what `somewhere` refuses."""
        return super().convert(somewhere(value) if isinstance(value, str) else value, param, ctx)


FOLDER = _Given(file_okay=False, path_type=Path)
FILE = _Given(dir_okay=False, path_type=Path)


COMMON: tuple[click.Option, ...] = (
    click.Option(
        ["--home"],
        type=FOLDER,
        metavar="DIR",
        envvar="LOCO_HOME",
        show_envvar=True,
        expose_value=False,
        callback=_remember,
        help="Home folder; default: ~/.local/share/loco.",
    ),
    click.Option(
        ["--registry"],
        metavar="URL",
        envvar=REGISTRY,
        show_envvar=True,
        expose_value=False,
        callback=_remember,
        help="SQLAlchemy URL of the catalogue; default: in the home.",
    ),
    click.Option(
        ["--wait"],
        metavar="SECONDS",
        type=Real(0, 7 * 86400),
        expose_value=False,
        callback=_wait,
        help=f"Wait so long while others hold the catalogue; default: {WAIT}, else 600.",
    ),
    click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="One JSON object a line on standard output, all else on standard error.",
    ),
)
"""Taken by the root, by every group and by every command."""


def app_of(context: click.Context) -> App:
    """The invocation that the options seen so far describe."""
    given = context.meta.get(f"{_KEY}home")
    try:
        root = (given or _default_home()).expanduser()
    except RuntimeError as error:  # nobody by that name, or no name for this user
        raise InputError(f"no home folder: {error}; say where it is with --home DIR or LOCO_HOME") from error
    return App(
        home=Home(root.absolute()),
        url=_bare(context, context.meta.get(f"{_KEY}registry")),
        json=bool(context.meta.get(f"{_KEY}json")),
    )


def failed(context: click.Context, kind: str, message: str) -> None:
    """Report an error: on standard error, and for programs on standard output too."""
    if context.meta.get(f"{_KEY}json"):
        with contextlib.suppress(LocoError):  # output that cannot be written is told on standard error alone
            click.echo(json.dumps({"error": {"type": kind, "message": message}}))
    click.echo(printable(f"error: {message}"), err=True)


def pass_app(body: Callable[Concatenate[App, _P], _R]) -> Callable[_P, _R]:
    """Give a command's body the `App` as its first argument."""

    @functools.wraps(body)
    def with_app(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return body(app_of(click.get_current_context()), *args, **kwargs)

    return with_app


class Command(click.Command):
    """A command that takes the common options."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, the common ones, `--help`."""
        return _with_common(self, super().get_params(ctx))

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; whoever reports how it ended finds its name (`jobs resume`) in `command_of`."""
        ctx.meta[f"{_KEY}command"] = ctx.command_path.partition(" ")[2]
        return super().invoke(ctx)


def command_of(ctx: click.Context) -> str:
    """The command that ran under a context, `jobs resume`; empty before one did."""
    return str(ctx.meta.get(f"{_KEY}command", ""))


class Group(click.Group):
    """A group that takes the common options; list its subcommands in the order they were added."""

    command_class = Command

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, the common ones, `--help`."""
        return _with_common(self, super().get_params(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the subcommands."""
        return list(self.commands)


def number(text: str) -> float:
    """A type for options: a number that is neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise click.BadParameter(f"expected a number, found {text!r}")
    return value


def _with_common(command: click.Command, params: list[click.Parameter]) -> list[click.Parameter]:
    own = len(command.params)
    return [*params[:own], *COMMON, *params[own:]]


def _default_home() -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (data if data.is_absolute() else Path.home() / ".local" / "share") / "loco"
