"""`loco schedule create`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.app import App
from cli.apply_job import AUTO
from cli.apply_options import apply_job, apply_options
from cli.discover_job import discover_job, discover_options
from cli.options import Command, Real, pass_app
from cli.schedule.facts import facts

if TYPE_CHECKING:
    from flows.jobs import Asked

_Body = Callable[..., Any]


def _params(options: Callable[[_Body], _Body]) -> list[click.Option]:
    """The options that a decorator adds, the first first."""

    def body() -> None: ...

    options(body)
    params: list[click.Option] = body.__click_params__  # type: ignore[attr-defined]
    return params[::-1]


_DISCOVER, _APPLY = _params(discover_options), _params(apply_options)
_ONLY_APPLY = [one for one in _APPLY if not any(set(one.opts) & set(other.opts) for other in _DISCOVER)]
_WIDER = {
    "recipe": next(one for one in _APPLY if one.name == "recipes"),
    "steps": next(one for one in _APPLY if one.name == "steps"),
}
"""Of options of both kinds: what application takes, which is more."""


def job_options(body: _Body) -> _Body:
    """Discovery's options, and those that only application has; which are wanted is seen when all are known."""
    for option in [*_DISCOVER, *_ONLY_APPLY][::-1]:
        option = _WIDER.get(str(option.name), option)
        option.required = False
        body.__dict__.setdefault("__click_params__", []).append(option)
    return body


@click.command("create", cls=Command)
@click.argument("name")
@click.option("--cron", metavar="CRON", help='When: five fields such as "0 2 * * *".')
@click.option(
    "--every", type=Real(1, 10 * 366 * 86400), metavar="S", help="When: every S seconds, instead of --cron."
)
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="Time zone of --cron.")
@click.option(
    "--overlap",
    type=click.Choice(["queue", "skip"]),
    default="queue",
    show_default=True,
    help="When a run is due while the last one works: wait for it, or leave it out.",
)
@job_options
@click.option(
    "--rescan/--no-rescan",
    default=True,
    show_default=True,
    help="Look first, at each run, for images that are new in the dataset's folder.",
)
@pass_app
def create(
    app: App, /, name: str, cron: str | None, every: float | None, timezone: str, overlap: str, **options: Any
) -> None:
    """Discover or apply on a clock, under NAME, in place of any schedule of that name.

    With --direction (or a --recipe that names directions) and --out it applies, else it discovers. Each run works on
    what is new in the folder or dataset: what was found or made is skipped. `loco worker` does it.

    \b
    loco schedule create nightly --cron "0 2 * * *" --model faces --dataset portraits --roi hair
    loco schedule create edits --every 3600 --direction 3f9a01:4 --images inbox --out edited
    """
    said = click.get_current_context().get_parameter_source("timezone")
    if every is not None and said is not ParameterSource.DEFAULT:
        raise click.UsageError("--timezone is of --cron, --every knows none; leave one of them out")
    job = _job(app, options)
    from flows.kinds import job_of
    from flows.schedules.schedule import Schedule, as_data, next_run
    from flows.schedules.schedule import create as make
    from registry.database.credentials import known_here_alone

    job_of(app.home, app.url, job).check()
    schedule = make(app.home, Schedule(name, job, cron, every, timezone, overlap, app.url))
    due = next_run(schedule)
    app.show({**as_data(schedule), "next": due}, {**facts(schedule), "next (UTC)": due})
    if known_here_alone(app.home.root, app.url):
        app.say(
            "the catalogue's password is not kept: give it to `loco worker` in LOCO_REGISTRY, or keep it in the home "
            "by `loco registry password`"
        )


def _job(app: App, options: dict[str, Any]) -> "Asked":
    """What is to be done; raises `click.UsageError` for options that do not go together."""
    kind, own = ("apply", _APPLY) if options["out"] is not None else ("discover", _DISCOVER)
    names = {str(one.name) for one in own} | {"recipes", "rescan"}
    for option in [*_DISCOVER, *_ONLY_APPLY]:
        value = options.get(str(option.name))
        if option.name not in names and value not in (None, (), False):
            why = "without --out it discovers" if kind == "discover" else "with --out it applies"
            raise click.UsageError(f"{option.opts[0]} does not go with this: {why}")
    told = {name: value for name, value in options.items() if name in names}
    if kind == "apply":
        del told["rescan"]
        return apply_job(app, **told)
    if told["steps"] == AUTO:
        raise click.UsageError("--steps auto does not go with this: without --out it discovers")
    recipes = told.pop("recipes")
    if len(recipes) > 1:
        raise click.UsageError("one --recipe for discovery, found several")
    for name, flag in (("model", "--model"), ("dataset", "--dataset"), ("rois", "--roi")):
        if not told[name]:
            raise click.UsageError(f"Missing option '{flag}'; or give --out and --direction, to apply.")
    return discover_job(app, recipe=recipes[0] if recipes else None, **told)
