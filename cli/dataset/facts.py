"""What people and programs are told of a dataset."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry.records import DatasetRecord


def facts(record: "DatasetRecord") -> dict[str, object]:
    """Everything about a dataset but its images."""
    return {
        "name": record.name,
        "id": record.id,
        "path": record.path,
        "masks": record.masks,
        "images": len(record.images),
        "unreadable": len(record.unreadable),
        "regions": record.rois,
        "added": record.added_at,
    }


def plain(record: "DatasetRecord") -> dict[str, Any]:
    """The record without its images, of which there may be many; `image_count` says how many."""
    data = asdict(record)
    del data["images"]
    return {**data, "image_count": len(record.images)}
