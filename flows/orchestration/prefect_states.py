"""How runs stand in Prefect, asked of the home's server over HTTP, if one answers; needs no Prefect."""

import contextlib
from collections.abc import Sequence

from flows.server.client import api
from loco.errors import ServerError
from registry.home import Home
from registry.records import RunRecord

_AT_ONCE = 200


def states_of(home: Home, runs: Sequence[RunRecord]) -> dict[str, str]:
    """Run id -> the name of its flow run's state; without a server, or for runs that it does not know, nothing."""
    flow_runs = {one.provenance["flow_run"]: one.id for one in runs if one.provenance.get("flow_run")}
    if not flow_runs:
        return {}
    found = {}
    ids = list(flow_runs)
    with contextlib.suppress(ServerError), api(home, timeout=10.0) as asked:
        if asked is None:
            return {}
        for start in range(0, len(ids), _AT_ONCE):
            body = {"flow_runs": {"id": {"any_": ids[start : start + _AT_ONCE]}}, "limit": _AT_ONCE}
            answer = asked.post("/flow_runs/filter", json=body).raise_for_status()
            found.update({flow_runs[one["id"]]: str(one["state_name"]) for one in answer.json()})
        return found
    return {}
