"""What Prefect's page shows of a run: progress, counts, failures with causes, the newest directions, links to files."""

import base64
import time
from collections.abc import Iterable
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.engine.job import Job, Tally
from flows.engine.record import FINISHED, ask_to_stop
from flows.engine.run import Report
from flows.orchestration.sheet import SHOWN, sheet
from loco.files import write_atomic
from registry.home import Home
from registry.records import RunRecord

EVERY = 5.0
"""Seconds between two looks at the server, at least."""

LISTED = 500
"""Failures in the table; the manifest has all."""


class PrefectReport(Report):
    """Keeps the run's artifacts, and listens for a cancellation."""

    def __init__(self, home: Home, flow_run: UUID | None, schedule: str | None = None) -> None:
        self.home, self.flow_run, self.schedule = home, flow_run, schedule
        self._progress: UUID | None = None
        self._failures: list[dict[str, Any]] = []
        self._newest: list[str] = []
        self._told = 0.0

    def provenance(self) -> dict[str, Any]:
        """The flow run's id and the schedule that it belongs to."""
        found = {"flow_run": str(self.flow_run) if self.flow_run else None, "schedule": self.schedule}
        return {name: value for name, value in found.items() if value}

    def began(self, run: RunRecord, job: Job[Any, Any]) -> None:
        """An empty bar and a link to the manifest; images that the dataset could not read are failures of old."""
        title = f"{run.counts['planned']} {job.items}"
        self._progress = cast(
            UUID, create_progress_artifact(0.0, key=f"progress-{run.id[:12]}", description=title)
        )
        create_link_artifact(
            (self.home.root / run.manifest).absolute().as_uri(),
            link_text="manifest",
            key=f"manifest-{run.id[:12]}",
        )
        self._failures = [
            {"image": name, "part": "", "cause": f"not in the dataset: {cause}"}
            for name, cause in job.unreadable()[:LISTED]
        ]

    def went_on(self, run: RunRecord, tally: Tally) -> None:
        """Move the bar, now and then; a cancellation asked for in Prefect stops the run."""
        for failure in tally.failures[: LISTED - len(self._failures)]:
            self._failures.append({"image": failure.image, "part": failure.part, "cause": failure.cause})
        self._newest = [*self._newest, *tally.newest][-SHOWN:]
        if time.monotonic() - self._told < EVERY:
            return
        self._told = time.monotonic()
        if self._progress is not None:
            done = sum(run.counts.get(name, 0) for name in FINISHED)
            update_progress_artifact(self._progress, progress=100.0 * done / max(1, run.counts["planned"]))
        if self.flow_run is not None and _cancelling(self.flow_run):
            ask_to_stop(self.home, run.id, "cancelled", "cancelled in Prefect")

    def ended(self, run: RunRecord) -> None:
        """The full bar, the counts, the failures, the contact sheet."""
        short = run.id[:12]
        if self._progress is not None:
            done = sum(run.counts.get(name, 0) for name in FINISHED)
            update_progress_artifact(self._progress, progress=100.0 * done / max(1, run.counts["planned"]))
        table = [{"what": name, "how many": count} for name, count in run.counts.items()]
        create_table_artifact(table, key=f"counts-{short}", description=f"run {short}: {run.status}")
        if self._failures:
            create_table_artifact(self._failures, key=f"failures-{short}", description="what failed, and why")
        picture = sheet(self.home, self._newest)
        if picture:
            write_atomic((self.home.root / run.manifest).with_name("newest.png"), picture)
            url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            create_image_artifact(
                url, key=f"newest-{short}", description="the newest directions and their regions"
            )


def _cancelling(flow_run: UUID) -> bool:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run).state
    return state is not None and state.type in (StateType.CANCELLING, StateType.CANCELLED)


def tell_dead(runs: Iterable[RunRecord]) -> None:
    """Tell the server of runs that were interrupted: to it they would run for ever."""
    ids = [UUID(one.provenance["flow_run"]) for one in runs if one.provenance.get("flow_run")]
    if not ids:
        return
    with get_client(sync_client=True) as client:
        for flow_run in ids:
            try:
                known = client.read_flow_run(flow_run).state
                if known is not None and not known.is_final():
                    client.set_flow_run_state(flow_run, Crashed(message="its process is gone"), force=True)
            except (ObjectNotFound, httpx.HTTPStatusError):
                continue  # another server's
