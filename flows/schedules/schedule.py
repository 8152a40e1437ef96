"""Schedules: a job again and again, on Prefect's clock. HOME/schedules/NAME.json is the truth.

The server's deployment is made from the file, and made anew by the worker where the server lost it. Listing needs no
Prefect: it asks the server's API, if there is one.
"""

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx

from flows.engine.record import run_of
from flows.jobs import Asked, asked, plain
from flows.kinds import job_of
from flows.orchestration.credentials import has_credentials, public
from flows.server.client import api, explained
from flows.server.server import keep_server, use_server
from loco.errors import InputError, LocoError, ServerError, UnknownName
from loco.files import reading_errors, storage_errors, write_atomic
from loco.outside import regular_bytes
from registry.files import checked
from registry.files.registered import check_name
from registry.home import Home
from registry.records import now

POOL = "loco"
"""Name of the Prefect work pool that `loco worker` serves."""

ENTRYPOINT = "flows.orchestration.decorators.job_flow"
_CRON_FIELDS = 5
OVERLAPS = ("queue", "skip")


@dataclass(frozen=True)
class Schedule:
    """A job again and again.

    Attributes:
        name: What it is called by; unique in a home.
        job: What each run does.
        cron: Five fields, as cron has them; or
        every: seconds between two runs.
        timezone: Of the cron, an IANA name.
        overlap: When a run is due while the last one works: `queue` to wait for it, `skip` to leave it out.
        registry: URL of the catalogue without its password, or None for the home's own.
        created_at: Naive UTC, ISO 8601.
    """

    name: str
    job: Asked
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    overlap: str = "queue"
    registry: str | None = None
    created_at: str = ""

    @property
    def when(self) -> str:
        """When it runs, for people."""
        return f"{self.cron} ({self.timezone})" if self.cron else f"every {self.every:g} s"


@dataclass(frozen=True)
class _File:
    """A schedule as its file has it: the job as plain data."""

    name: str
    job: dict[str, Any]
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    overlap: str = "queue"
    registry: str | None = None
    created_at: str = ""
    kind: str = "discover"
    """Which files of before there were others do not say."""


def schedules_folder(home: Home) -> Path:
    """Where the schedules' files lie."""
    return home.root / "schedules"


def create(home: Home, schedule: Schedule) -> Schedule:
    """Write the schedule, in place of any of that name, and make its deployment; starts the server.

    Raises `InputError` for a name, a time or an overlap that is none, or credentials in its URLs,
    `NewerFormat` where a newer program's schedule has the name.
    """
    _check(schedule)
    next_run(schedule)  # refuses what is no time, before anything is written or started
    use_server(home)
    path = _path(home, schedule.name)
    checked.kept(path, _read)
    kept = Schedule(**{**vars(schedule), "registry": public(schedule.registry), "created_at": now()})
    write_atomic(path, checked.sealed(as_data(kept)))
    with keep_server(home):
        publish(home, kept)
    return kept


def as_data(schedule: Schedule) -> dict[str, Any]:
    """The schedule as plain data, with the kind of its job."""
    return {**vars(schedule), "job": plain(schedule.job), "kind": schedule.job.kind}


def publish(home: Home, schedule: Schedule) -> None:
    """Make or renew the deployment of a schedule on the server that this process uses."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    job = schedule.job
    known = job_of(home, schedule.registry, job)
    labels: list[str] = []
    with contextlib.suppress(LocoError):  # a direction or dataset that is gone: the run will say so
        labels = [f"{name}:{value}" for name, values in known.labels().items() for value in values]
    with explained(), get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        client.create_deployment(
            flow_id=client.create_flow_from_name(job.kind),
            name=schedule.name,
            schedules=[DeploymentScheduleCreate(schedule=_clock(schedule))],
            parameters=parameters_of(home, schedule),
            description=f"{job.kind}: {known.title()}",
            work_pool_name=POOL,
            tags=[*labels, f"schedule:{schedule.name}"],
            entrypoint=ENTRYPOINT,
            enforce_parameter_schema=False,
            paused=False,
        )


def parameters_of(home: Home, schedule: Schedule) -> dict[str, Any]:
    """What the flow is given, in the form in which the server gives it back."""
    parameters = {
        "home": str(home.root),
        "registry": schedule.registry,
        "kind": schedule.job.kind,
        "job": plain(schedule.job),
        "schedule": schedule.name,
        "overlap": schedule.overlap,
    }
    told: dict[str, Any] = json.loads(json.dumps(parameters))
    return told


def read(home: Home, name: str) -> Schedule:
    """The schedule of that name; raises `UnknownName` listing those there are, `Damaged` or `NewerFormat`."""
    path = _path(home, name)
    if not path.is_file():
        known = ", ".join(one.stem for one in _files(home)) or "none yet"
        raise UnknownName(
            f"no schedule is called {name!r}; there are: {known}; make one with `loco schedule create`"
        )
    return _read(path)


def _read(path: Path) -> Schedule:
    """The schedule in a file; raises `Damaged` or `NewerFormat`."""
    with reading_errors(path):
        data = regular_bytes(path)
    with checked.explained("schedule file", path, "delete it and create the schedule again"):
        told = checked.parse(_File, data, most=1 << 20)
        try:
            check_name(told.name, "schedule")
            if told.name != path.stem:
                raise checked.Unfit(f"it describes {told.name!r}")
            fields = {name: value for name, value in vars(told).items() if name != "kind"}
            return Schedule(**{**fields, "job": asked(told.kind, told.job)})
        except InputError as error:
            raise checked.Unfit(str(error)) from error


def listed(home: Home) -> tuple[list[Schedule], list[LocoError]]:
    """All schedules, by name, and what is wrong with the files that say none: those cost the others nothing."""
    found: list[Schedule] = []
    unread: list[LocoError] = []
    for path in _files(home):
        try:
            found.append(_read(path))
        except LocoError as error:
            unread.append(error)
    return found, unread


def remove(home: Home, name: str) -> None:
    """Forget a schedule and its deployment; runs of it that work go on. Raises `UnknownName`."""
    kind = read(home, name).job.kind
    with api(home) as server:
        if server is not None:
            found = server.get(f"/deployments/name/{kind}/{name}")
            if found.status_code == httpx.codes.OK:
                server.delete(f"/deployments/{found.json()['id']}").raise_for_status()
    with storage_errors(_path(home, name)):
        _path(home, name).unlink()


def run_now(home: Home, name: str, run_id: str | None = None) -> str:
    """Let a worker run it now (or go on with the run `run_id`); returns the id of the run. Starts the server."""
    schedule = read(home, name)
    use_server(home)
    with keep_server(home):
        publish(home, schedule)
    with api(home) as server:
        if server is None:
            raise ServerError("the Prefect server does not answer; try the same command again")
        deployment = server.get(f"/deployments/name/{schedule.job.kind}/{name}").raise_for_status().json()
        parameters = {"run_id": run_id} if run_id else {}
        # Asked twice with one key, the server makes one flow run.
        body = {"state": {"type": "SCHEDULED"}, "parameters": parameters, "idempotency_key": str(uuid4())}
        answer = server.post(f"/deployments/{deployment['id']}/create_flow_run", json=body)
        flow_run = answer.raise_for_status().json()["id"]
    return run_id or run_of(str(flow_run))


def next_runs(home: Home) -> dict[str, str]:
    """When each schedule runs next, by its name, as far as a server tells; naive UTC, ISO 8601."""
    with contextlib.suppress(ServerError), api(home) as server:
        if server is None:
            return {}
        deployments = server.post("/deployments/filter", json={}).raise_for_status().json()
        names = {one["id"]: one["name"] for one in deployments}
        body = {
            "sort": "EXPECTED_START_TIME_ASC",
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
            "limit": 200,
        }
        found: dict[str, str] = {}
        for run in server.post("/flow_runs/filter", json=body).raise_for_status().json():
            name = names.get(run.get("deployment_id"))
            if name and name not in found:
                found[name] = str(run["expected_start_time"])[:19]
        return found
    return {}


def _check(schedule: Schedule) -> None:
    check_name(schedule.name, "schedule")
    if (schedule.cron is None) == (schedule.every is None):
        raise InputError('schedule: say when with either --cron "0 2 * * *" or --every SECONDS')
    if schedule.overlap not in OVERLAPS:
        raise InputError(
            f"schedule: overlap must be one of {', '.join(OVERLAPS)}, found {schedule.overlap!r}"
        )
    if has_credentials(plain(schedule.job)):
        raise InputError(
            "schedule: a URL with credentials would be stored in plain text; leave them out, and give them to the "
            "worker by the environment, as the store's library reads them"
        )


def next_run(schedule: Schedule) -> str:
    """When it runs next, naive UTC, ISO 8601; raises `InputError` for a cron or a time zone that is none."""
    begin = datetime.now(UTC)
    _clock(schedule)
    if schedule.cron is None:
        found = begin + timedelta(seconds=float(schedule.every or 0))
    else:
        from prefect._vendor.croniter.croniter import CroniterBadDateError
        from prefect._vendor.croniter.croniter import croniter as times

        try:
            zone, find = ZoneInfo(schedule.timezone), cast(Any, times)
            local = begin.astimezone(zone).replace(tzinfo=None)  # cron means the clock on the wall
            found = find(schedule.cron, local).get_next(datetime).replace(tzinfo=zone).astimezone(UTC)
        except CroniterBadDateError as error:
            raise InputError(
                f"schedule: {schedule.cron!r} never comes (there is no such day in any month that it names); "
                f'expected five fields: minute, hour, day, month, day of the week, such as "0 2 * * *"'
            ) from error
    return found.replace(tzinfo=None).isoformat(timespec="seconds")


def _clock(schedule: Schedule) -> Any:
    """Prefect's schedule; raises `InputError` for a cron or a time zone that is none."""
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

    try:
        if schedule.cron is not None:
            if len(schedule.cron.split()) != _CRON_FIELDS and not schedule.cron.startswith("@"):
                raise ValueError(schedule.cron)
            ZoneInfo(schedule.timezone)  # Prefect takes an empty one
            return CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
        interval = timedelta(seconds=float(schedule.every or 0))
        return IntervalSchedule(interval=interval, anchor_date=datetime.now(UTC))
    except (
        ValueError,
        OverflowError,
        KeyError,
        OSError,
    ) as error:  # the last two: a zone unknown, or a folder
        found = schedule.cron if schedule.cron is not None else f"{schedule.every:g} s"
        raise InputError(
            f'schedule: expected five cron fields such as "0 2 * * *" and a time zone such as Europe/Berlin, '
            f"found {found!r} in {schedule.timezone!r}"
        ) from error


def _path(home: Home, name: str) -> Path:
    return schedules_folder(home) / f"{check_name(name, 'schedule')}.json"


def _files(home: Home) -> list[Path]:
    return sorted(path for path in schedules_folder(home).glob("*.json") if not path.name.startswith("."))
