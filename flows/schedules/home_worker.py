"""The worker of a home: it runs what the home's schedules say, and nothing else that its server may hold.

A deployment, a work pool or a flow run can name a command, an environment, a folder, code to be loaded. None of that is
used: the command and the code are ours, and the parameters must be those of the schedule's file.
"""

import abc
import contextlib
import re
import shlex
import sys
from collections.abc import Callable
from typing import Any

import anyio.abc
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.schedules.schedule import ENTRYPOINT, parameters_of, read
from loco.errors import LocoError
from registry.home import Home

_RUN_ID = re.compile(r"[0-9a-f]{32}")


class OwnCommand(ProcessJobConfiguration):
    """How a flow run's process is started: always in the same way."""

    def prepare_for_flow_run(self, *args: Any, **kwargs: Any) -> None:
        """Put our own in the place of what the pool, the deployment and the flow run say."""
        self.env, self.command, self.working_dir, self.name = {}, None, None, None
        super().prepare_for_flow_run(*args, **kwargs)
        self.env["PREFECT__FLOW_ENTRYPOINT"] = ENTRYPOINT
        self.command = shlex.join([sys.executable, "-P", "-m", "flows.schedules.scheduled"])
        self._command_configured = True


class HomeWorker(
    ProcessWorker, abc.ABC
):  # an ABC, so that Prefect does not list it as another kind of worker
    """Prefect's worker, particular about what it runs; it says one line a run."""

    job_configuration = OwnCommand
    home: Home
    say: Callable[[str], None]

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run it if it is a schedule's; else refuse it, and say so."""
        schedule, cause = await self._whose(flow_run)
        if cause is not None:
            self.say(f"refused flow run {flow_run.name!r}: {cause}")
            await self.client.set_flow_run_state(
                flow_run.id, Cancelled(message=f"refused: {cause}"), force=True
            )
            if task_status is not None:
                task_status.started(0)
            return ProcessWorkerResult(status_code=0, identifier="refused")
        result = await super().run(flow_run, configuration, task_status or anyio.TASK_STATUS_IGNORED)
        with contextlib.suppress(ObjectNotFound):
            state = (await self.client.read_flow_run(flow_run.id)).state
            self.say(f"{schedule}: {outcome(state, result.status_code)}")
        return result

    async def _whose(self, flow_run: FlowRun) -> tuple[str, str | None]:
        """Name of the schedule that it belongs to, and why it may not run, if it may not."""
        if flow_run.deployment_id is None:
            return "", "it belongs to no schedule of this home"
        try:
            deployment = await self.client.read_deployment(flow_run.deployment_id)
            wanted = parameters_of(self.home, read(self.home, deployment.name))
        except ObjectNotFound:
            return "", "its deployment is gone"
        except LocoError as error:
            return "", f"it belongs to no schedule of this home: {error}"
        return deployment.name, strange(wanted, deployment, flow_run)


def strange(wanted: dict[str, Any], deployment: Any, flow_run: FlowRun) -> str | None:
    """What a deployment or its flow run has that the schedule, whose parameters are `wanted`, does not say."""
    asked = dict(flow_run.parameters)
    run_id = asked.pop("run_id", None)
    if deployment.entrypoint != ENTRYPOINT or deployment.path or deployment.pull_steps:
        return "its deployment runs other code than this program's"
    if deployment.job_variables or flow_run.job_variables:
        return "it names a command or an environment of its own"
    if deployment.parameters != wanted or asked != wanted:
        return "its parameters are not those of the schedule; change the schedule with `loco schedule create`"
    if run_id is not None and not (isinstance(run_id, str) and _RUN_ID.fullmatch(run_id)):
        return "its run id is none"
    return None


def outcome(state: State[Any] | None, status: int) -> str:
    """How a flow run ended, in one line."""
    if state is None or not state.is_final():
        return f"its process ended with {status} and left no outcome; it is looked after in a moment"
    name = state.name or state.type.value
    message = " ".join((state.message or "").split())[:300]
    if state.type in (StateType.FAILED, StateType.CRASHED):
        name = f"failed ({name})" if state.type is StateType.FAILED else f"cut short ({name})"
    return f"{name}: {message}" if message else name
