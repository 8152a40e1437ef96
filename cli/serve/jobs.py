"""The API's jobs: what runs and ran, how far it is, what failed, before and after, and starting one."""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from itertools import groupby, islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from cli.apply_job import meaning
from cli.discover_job import across_values, chosen_recipe, towards
from cli.serve.access import Caller, needs
from cli.serve.catalogue import Catalogue, Id, Reader
from cli.serve.drawn import Waiting
from cli.serve.problems import Refused, without_folders
from flows.jobs import AcrossJob, ApplyJob, Asked, DiscoverJob, ScoreJob, plain
from loco.errors import InputError, UnknownName
from loco.formats import Format
from registry import shapes
from registry.home import Home
from registry.records import EditItem, ModelRecord, RunRecord
from registry.registry import Registry

router = APIRouter(tags=["jobs"])

Runner = Annotated[Caller, Depends(needs("run"))]

AT_ONCE = 4
"""Jobs that the page has started and that work still."""

FAILURES = 200
"""Failed items that are told."""

_CAUSES = ("cause", "failures", "absent", "error")
"""What of a record is a program's own words, in which folders are named."""


class Started:
    """The jobs that this server started, each in a process of its own that outlives the server."""

    def __init__(self, home: Home, registry_url: str | None) -> None:
        self.home, self.url, self._lock = home, registry_url, threading.Lock()
        self._working: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}

    def start(self, job: Asked, run_id: str) -> None:
        """Begin a job as the run of that id. Raises `Refused` when as many as allowed work already."""
        told = {
            "home": str(self.home.root),
            "url": self.url,
            "kind": job.kind,
            "spec": plain(job),
            "run_id": run_id,
        }
        with self._lock:
            self._working = {
                key: (kind, one) for key, (kind, one) in self._working.items() if one.poll() is None
            }
            if len(self._working) >= AT_ONCE:
                raise Refused(503, f"{AT_ONCE} jobs that were started here work already; wait for one to end")
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.serve.working"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._working[run_id] = job.kind, process
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(json.dumps(told).encode())
        threading.Thread(target=process.wait, daemon=True).start()  # no zombie is left

    def starting(self, run_id: str) -> str | None:
        """The kind of a job that was started here under that id, and whose process works."""
        with self._lock:
            kind, process = self._working.get(run_id, (None, None))
        return kind if process is not None and process.poll() is None else None


def _started(request: Request) -> Started:
    found: Started = request.app.state.jobs
    return found


Jobs = Annotated[Started, Depends(_started)]


def _told(registry: Registry, runs: list[RunRecord]) -> list[dict[str, Any]]:
    """Runs with how they stand."""
    from flows.engine.progress import live
    from flows.engine.record import status_of

    found = []
    for one in runs:
        now, left = live(registry.home, one)
        told = shapes.run(now, status_of(one), left, None)
        found.append(told | {"provenance": _shown(registry.home, told["provenance"])})
    return found


def _shown(home: Home, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose causes name files, and not where they lie."""
    folder = str(home.root)

    def without(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [without(one) for one in value]
        return without_folders(value, folder) if isinstance(value, str) else value

    return {key: without(value) if key in _CAUSES else value for key, value in record.items()}


@router.get("/jobs")
def jobs(
    registry: Catalogue,
    _: Reader,
    kind: Id | None = None,
    start: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """Runs, the latest first, with how far those are that work."""
    found = registry.runs(kind)
    return {
        "total": len(found),
        "start": start,
        "items": _told(registry, found[start : start + limit]),
    }


@router.get("/jobs/{name}")
def job(name: str, registry: Catalogue, started: Jobs, _: Reader) -> dict[str, Any]:
    """One run: what was asked, how far it is, what failed and why, and where it is in Prefect.

    Of one that was started here and is not on record yet, id, kind and `starting` alone.
    """
    from flows.server.server import server_status
    from registry.files import manifests

    try:
        run = registry.run(name)
    except UnknownName:
        kind = started.starting(name)
        if kind is None:
            raise
        return {"id": name, "kind": kind, "status": "starting"}
    manifest = registry.home.root / run.manifest
    failures = [
        {key: value for key, value in _shown(registry.home, record).items() if key != "kind"}
        for record in islice(manifests.failures(manifest), FAILURES)
    ]
    absent = [
        _shown(registry.home, {"image": record.get("image", "?"), "absent": record["absent"]})
        for record in islice(manifests.absences(manifest), FAILURES)
    ]
    if run.spec.get("dataset"):  # else nobody knows where the images are
        names = {str(one.get("image")) for one in (*failures, *absent)}
        known = registry.image_ids(str(run.spec["dataset"]), names)
        for one in (*failures, *absent):
            one["image_id"] = known.get(str(one.get("image")))
    flow_run, server = run.provenance.get("flow_run"), server_status(registry.home)
    page = None
    if flow_run and server is not None:
        page = f"{server.url.removesuffix('/api')}/runs/flow-run/{flow_run}"
    return {**_told(registry, [run])[0], "failures": failures, "absent": absent, "prefect_page": page}


@router.get("/jobs/{name}/log")
def log(
    name: str, registry: Catalogue, begun: Jobs, _: Reader, start: Annotated[int, Query(ge=0)] = 0
) -> dict[str, Any]:
    """What a run said, from a line on; nothing yet where it was started here and is not on record."""
    from flows.engine.progress import said

    folder = str(registry.home.root)
    try:
        run = registry.run(name)
    except UnknownName:
        if begun.starting(name) is None:
            raise
        return {"start": start, "lines": []}
    lines = islice(said(registry.home, run.id, start), 1000)
    return {"start": start, "lines": [without_folders(one, folder) for one in lines]}


@router.get("/jobs/{name}/sheet")
def sheet(
    name: str,
    registry: Catalogue,
    _: Reader,
    start: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 24,
) -> dict[str, Any]:
    """Before and after of an apply run: images by name, each with its outputs."""
    run = registry.run(name)
    edits = sorted(registry.edits(run.id), key=lambda one: (one.image_name, one.image_id))
    grouped = [
        (key, list(several)) for key, several in groupby(edits, lambda one: (one.image_name, one.image_id))
    ]
    return {
        "total": len(grouped),
        "items": [
            {
                "image": {"id": image_id, "name": image_name},
                "outputs": [
                    {"id": one.id, "directions": one.recipe.get("directions", []), "metrics": one.metrics}
                    for one in sorted(several, key=_strength)[:8]
                ],
            }
            for (image_name, image_id), several in grouped[start : start + limit]
        ],
    }


def _strength(edit: EditItem) -> float:
    return sum(float(strength) for _, strength in edit.recipe.get("directions", ()))


@router.get(
    "/jobs/{name}/outputs/{edit}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def output(name: str, edit: str, registry: Catalogue, queue: Waiting, _: Reader) -> Response:
    """An output, small; it must still be what the run wrote."""

    def work() -> bytes:
        from flows.pictures import drawing
        from flows.pictures.sheet import after

        run = registry.run(name)
        found = registry.known_edits([edit]).get(edit)
        if found is None or found.run_id != run.id:
            found = next((one for one in registry.edits(run.id) if one.id == edit), None)
        if found is None:
            raise UnknownName(f"run {run.id[:12]} made no output {edit[:40]!r}")
        return drawing.png(drawing.tile(after(found), 192))

    return Response(await queue.do(f"output {name} {edit}", work), media_type="image/png")


class Weighted(BaseModel):
    """A direction and its weight in a sum: 1 beside strengths, without them its recommended strength."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(max_length=120)
    weight: FiniteFloat | None = None


_Name = Annotated[str, Field(max_length=100)]
_Count = Annotated[int, Field(ge=1, le=10**9)]


class Apply(BaseModel):
    """Directions to add to the images of a dataset; the outputs go to a folder of the home, named by the run.

    Without strengths the weights are the strengths, as on the command line.
    """

    model_config = ConfigDict(extra="forbid")
    kind: Literal["apply"]
    directions: list[Weighted] = Field(min_length=1, max_length=20)
    strengths: list[FiniteFloat] = Field(default_factory=list, max_length=20)
    dataset: _Name
    limit: _Count | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    beyond: bool = False
    unit: Literal["lambda", "sd"] = "lambda"
    format: Format = "png"


class Discover(BaseModel):
    """A dataset to find directions in, `across` all its images together or on each by itself.

    Regions are told by their masks' names, or as NAME=box:x0,y0,x1,y1. `toward` is a number of a scorer that comes with
    the program, zoo:reader#mouth_curve, along which each region's direction across the dataset then leads.
    """

    model_config = ConfigDict(extra="forbid")
    kind: Literal["discover", "across"]
    model: _Name
    dataset: _Name
    rois: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=20)
    recipe: dict[str, Any] = Field(default_factory=dict)
    toward: Annotated[str, Field(max_length=200)] | None = None
    limit: _Count | None = None


class Score(BaseModel):
    """Directions to be measured on the images of a dataset, by first order; with `strength` an edit too."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["score"]
    directions: list[Annotated[str, Field(max_length=120)]] = Field(min_length=1, max_length=200)
    dataset: _Name
    strength: FiniteFloat | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] = ScoreJob.steps
    limit: _Count | None = None
    skip: Annotated[int, Field(ge=0, le=10**9)] = 0
    climbs: Annotated[int, Field(ge=0, le=10**9)] = ScoreJob.climbs


Submitted = Annotated[Apply | Discover | Score, Field(discriminator="kind")]


@router.post("/jobs", status_code=202)
def submit(
    asked: Submitted, registry: Catalogue, started: Jobs, response: Response, _: Runner
) -> dict[str, Any]:
    """Start a job; it goes on whatever becomes of this server. Refused at once for what the job itself refuses."""
    from flows.kinds import job_of

    run_id = uuid.uuid4().hex
    wanted = _job(asked, registry, run_id)
    job_of(registry.home, started.url, wanted).check()
    started.start(wanted, run_id)
    response.headers["location"] = f"/api/v1/jobs/{run_id}"
    return {"id": run_id, "kind": wanted.kind, "status": "starting"}


def _job(asked: Apply | Discover | Score, registry: Registry, name: str) -> Asked:
    """The job that was asked for. No path comes from whoever asks: names of datasets and models only."""
    registry.dataset(asked.dataset, pictured=False)
    if isinstance(asked, Apply):
        pairs = [(registry.direction(one.id).id, one.weight) for one in asked.directions]
        return ApplyJob(
            *meaning(pairs, asked.strengths),
            registry.home.root / "applied" / name,
            dataset=asked.dataset,
            limit=asked.limit,
            steps=asked.steps,
            beyond=asked.beyond,
            unit=asked.unit,
            format=asked.format,
        )
    if isinstance(asked, Discover):
        return _discovery(asked, registry.model(asked.model))
    ids = tuple(registry.direction(one).id for one in asked.directions)
    return ScoreJob(
        ids,
        asked.dataset,
        asked.strength,
        asked.steps,
        asked.limit,
        skip=asked.skip,
        climbs=asked.climbs,
    )


def _discovery(asked: Discover, model: ModelRecord) -> DiscoverJob:
    """The discovery that was asked for, with the defaults of the command line."""
    _check_regions(asked.rois)
    values, told = dict(asked.recipe), dict[str, Any]()
    if asked.toward is not None:
        if asked.kind != "across" or not asked.toward.startswith("zoo:"):
            raise InputError(
                f"toward {asked.toward[:80]!r}: expected a number of a scorer that comes with the program, such as "
                f"zoo:reader#mouth_curve, of kind across; scorers in folders are for the command line"
            )
        more, told = towards(asked.toward)
        values |= more
    elif asked.kind == "across":
        values = across_values(values)
    recipe = chosen_recipe(values, model)
    rois = tuple(dict.fromkeys(asked.rois))
    if asked.kind == "across":
        return AcrossJob(model.name, asked.dataset, rois, recipe, asked.limit, **told)
    return DiscoverJob(model.name, asked.dataset, rois, recipe, asked.limit)


def _check_regions(texts: list[str]) -> None:
    from loco.rois.layouts import RoiSpec

    for text in texts:
        if "=" in text and "=box:" not in text:
            raise InputError(
                f"region {text[:80]!r}: expected a name that the dataset's masks have, or NAME=box:x0,y0,x1,y1; "
                f"models of regions are for the command line"
            )
        RoiSpec.parse(text)


@router.post("/jobs/{name}/cancel")
def cancel(name: str, registry: Catalogue, caller: Runner) -> dict[str, Any]:
    """Stop a run after the items that it is at; what it finished stays."""
    from flows.engine.record import ask_to_stop, status_of

    run = registry.run(name)
    status = status_of(run)
    if status != "running":
        raise InputError(f"run {run.id[:12]} is {status}; only a run that works can be cancelled")
    ask_to_stop(registry.home, run.id, "cancelled", f"cancelled on the page by {caller.name}")
    return {"id": run.id, "cancelling": True}
