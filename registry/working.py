"""Whether a run still works: what its record says of its process, held against this machine's."""

import platform

import psutil

from registry.records import RunRecord


def alive(run: RunRecord) -> bool:
    """Whether the process of a run still lives, as far as this machine can tell; another machine's may."""
    if run.provenance.get("host") != platform.node():
        return True
    try:
        process = psutil.Process(int(run.provenance["pid"]))
        born = float(run.provenance.get("born", process.create_time()))
        return abs(process.create_time() - born) <= 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
