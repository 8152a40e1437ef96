"""What people are told of a model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loco.models.card import ModelCard
    from registry.records import ModelRecord


def size(record: "ModelRecord") -> str:
    """Its image size: width x height and channels."""
    return _size(record.shape)


def facts(record: "ModelRecord") -> dict[str, object]:
    """Everything about a model that is registered."""
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


def more_facts(card: "ModelCard") -> dict[str, object]:
    """What its folder says besides."""
    adapted: dict[str, object] = {} if card.adapters is None else {"made of": card.adapters.says()}
    return adapted | {
        "works on": f"{_size(card.shape)} {'pixels' if card.shape == card.image_shape else 'latents'}",
        "is told": card.told,
        "weights": f"{card.parameters:,} in {', '.join(card.weights)}; stored as {', '.join(card.dtypes)}",
        # By construction, for every family: `loco model check` measures it.
        "products": "exact forward and reverse, differences",
        "attention": "plain (math)",
    }


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{width} x {height} x {channels}"
