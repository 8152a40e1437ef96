"""What still depends on a model's or a dataset's name, before it is forgotten."""

from flows.engine.record import catalogue
from flows.schedules.schedule import listed
from loco.errors import InputError
from loco.ids import SHORT
from registry.home import Home

_UNFINISHED = ("running", "interrupted", "stopped")


def remove_model(home: Home, url: str | None, name: str, *, force: bool) -> list[str]:
    """Forget a model's name; returns what depended on it.

    Raises `UnknownName`, and `InputError` where something depends on it, unless `force`.
    """
    registry = catalogue(home, url)
    record = registry.model(name)
    shared = [one.name for one in registry.models() if one.id == record.id and one.name != name]
    found = 0 if shared else registry.count(model=name, status="all")
    needed = [f"{found:,} directions found with it (they stay)"] if found else []
    needed += _users(home, url, "model", name)
    _check("model", name, needed, force=force)
    registry.remove_model(name)
    return needed


def remove_dataset(home: Home, url: str | None, name: str, *, force: bool) -> list[str]:
    """Forget a dataset; returns what depended on it. Raises as `remove_model` does."""
    registry = catalogue(home, url)
    registry.dataset(name, pictured=False)
    found = registry.count(dataset=name, status="all")
    needed = [f"{found:,} directions found in its images (they stay)"] if found else []
    needed += _users(home, url, "dataset", name)
    _check("dataset", name, needed, force=force)
    registry.remove_dataset(name)
    return needed


def _users(home: Home, url: str | None, what: str, name: str) -> list[str]:
    """The schedules and the unfinished runs that name it."""
    known, unread = listed(home)
    schedules = [
        f"schedule {one.name} (`loco schedule remove {one.name}`)"
        for one in known
        if getattr(one.job, what, None) == name
    ]
    schedules += [f"perhaps a schedule that cannot be read ({error})" for error in unread]
    runs = [
        f"run {one.id[:SHORT]}, which is {one.status}"
        for one in catalogue(home, url).runs()
        if one.status in _UNFINISHED and one.spec.get(what) == name
    ]
    return schedules + runs


def _check(what: str, name: str, needed: list[str], *, force: bool) -> None:
    if needed and not force:
        raise InputError(
            f"{what} {name!r} is still needed by: {'; '.join(needed)}; with --force its name is forgotten all the same"
        )
