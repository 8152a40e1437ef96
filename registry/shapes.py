"""Records as the JSON that people's programs get: one shape each, for the command line and for the API."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from loco.direction import Direction
from registry.alike.similar import Similar
from registry.records import DatasetRecord, RunRecord


def direction(
    one: Direction,
    labels: Mapping[str, Sequence[str]],
    beside: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """A direction with all its figures, what others tell of it (`registry.index.names`), its labels and aliases."""
    told = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in beside.get(one.id, {}).items()
    }
    return {**vars(one), **told, "labels": list(labels.get(one.id, ()))}


def similar(one: Similar) -> dict[str, Any]:
    """A direction that is like another, and how much."""
    return asdict(one)


def dataset(one: DatasetRecord, images: int) -> dict[str, Any]:
    """A dataset with the number of its images in their place."""
    return {**asdict(one), "images": images}


def run(one: RunRecord, status: str, left: float | None, prefect: str | None) -> dict[str, Any]:
    """A run with how it stands, the seconds that it still takes, and how it stands in Prefect."""
    left = left if status == "running" else None
    return {**asdict(one), "status": status, "prefect": prefect, "left": left}
