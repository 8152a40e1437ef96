"""What people and programs are told of a dataset."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry.records import DatasetRecord


def facts(record: "DatasetRecord", count: int | None = None) -> dict[str, object]:
    """Everything about a dataset but its images, of which there are `count` where the record has none."""
    return {
        "name": record.name,
        "id": record.id,
        "path": record.path,
        "masks": record.masks,
        "images": len(record.images) if count is None else count,
        "unreadable": len(record.unreadable),
        "regions": record.rois,
        "added": record.added_at,
    }


def plain(record: "DatasetRecord", count: int | None = None) -> dict[str, Any]:
    """The record without its images, of which there may be many; `image_count` says how many."""
    data = asdict(replace(record, images=()))
    del data["images"]
    return {**data, "image_count": len(record.images) if count is None else count}
