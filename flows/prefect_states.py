"""How runs stand in Prefect, asked of the home's server over HTTP, if one answers; needs no Prefect."""

from collections.abc import Sequence

import httpx

from flows.server import server_status
from registry.home import Home
from registry.records import RunRecord

_AT_ONCE = 200


def states_of(home: Home, runs: Sequence[RunRecord]) -> dict[str, str]:
    """Run id -> the name of its flow run's state; without a server, or for runs that it does not know, nothing."""
    flow_runs = {one.provenance["flow_run"]: one.id for one in runs if one.provenance.get("flow_run")}
    state = server_status(home) if flow_runs else None
    if state is None or not state.healthy:
        return {}
    found = {}
    ids = list(flow_runs)
    try:
        with httpx.Client(base_url=state.url, timeout=10.0, trust_env=False) as client:
            for start in range(0, len(ids), _AT_ONCE):
                body = {"flow_runs": {"id": {"any_": ids[start : start + _AT_ONCE]}}, "limit": _AT_ONCE}
                answer = client.post("/flow_runs/filter", json=body)
                answer.raise_for_status()
                found.update({flow_runs[one["id"]]: str(one["state_name"]) for one in answer.json()})
    except httpx.HTTPError:
        return {}
    return found
