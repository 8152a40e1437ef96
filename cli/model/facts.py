"""What people are told of a model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.records import ModelRecord


def size(record: "ModelRecord") -> str:
    """Its image size: width x height and channels."""
    channels, height, width = record.shape
    return f"{width} x {height} x {channels}"


def facts(record: "ModelRecord") -> dict[str, object]:
    """Everything about a model."""
    return {
        "name": record.name,
        "id": record.id,
        "source": record.source,
        "family": record.family,
        "predicts": record.prediction_type,
        "size": size(record),
        "schedule": f"{record.schedule}, {record.train_steps} steps",
        "recommended t": record.recommended_t,
        "added": record.added_at,
    }
