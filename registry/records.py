"""Rows as plain data: what callers hand to the registry and get back (besides `Direction` and `Basis`)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loco.errors import InputError
from loco.recipes import LATER


def now() -> str:
    """The present time as records have times: naive UTC, ISO 8601."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """A moment as records have it."""
    return naive(moment).isoformat(timespec="microseconds")


def naive(moment: datetime) -> datetime:
    """A moment in UTC, without its zone; one that has none is taken as UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def utc(text: str) -> datetime:
    """Naive UTC from ISO 8601 (an offset in it is converted); raises `InputError` for anything else."""
    try:
        return naive(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise InputError(f"time: expected ISO 8601, found {text!r:.80}") from error


@dataclass(frozen=True)
class ModelRecord:
    """A registered model.

    Attributes:
        id: Hash of the weights and of the configuration that changes the result.
        name: The name it is called by; unique in a home.
        source: Folder it is opened from, or `zoo:NAME`.
        family: For example `unet2d`.
        prediction_type: `epsilon`, `v_prediction` or `sample`.
        shape: (C, H, W).
        schedule: The noise schedule's name.
        train_steps: Number of training steps of the schedule.
        recommended_t: Noise level to edit at when the user names none, from the model card; or None.
        added_at: Naive UTC, ISO 8601.
    """

    id: str
    name: str
    source: str
    family: str
    prediction_type: str
    shape: tuple[int, int, int]
    schedule: str
    train_steps: int
    recommended_t: float | None
    added_at: str


@dataclass(frozen=True)
class ImageRecord:
    """One image of a dataset: sha256 of its bytes, its path relative to the dataset, its size in pixels."""

    id: str
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class DatasetRecord:
    """A registered dataset: fingerprint of its image hashes, name, folder, masks, what could not be read."""

    id: str
    name: str
    path: str
    masks: str | None
    added_at: str
    images: tuple[ImageRecord, ...]
    rois: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    """Pairs (file name, cause)."""


@dataclass(frozen=True)
class RunRecord:
    """One run of a flow, as its manifest states it.

    Attributes:
        id: Random, unique.
        kind: `discover`, `apply` or `score`.
        status: `running`, `done`, `partial` (done with failed items), `failed`, `stopped` (by its budget of
            failures), `cancelled` or `interrupted` (its process was ended).
        spec: What was asked for, as plain data: recipe, model, dataset, ROIs, options.
        counts: `planned`, `done`, `skipped`, `absent`, `failed`, and others that the flow counts.
        provenance: Host, versions, device: beside the identity, never in it.
        started_at: Naive UTC, ISO 8601.
        finished_at: The same, or None while it runs.
        manifest: Path of the run's manifest, relative to the home.
    """

    id: str
    kind: str
    status: str
    spec: dict[str, Any]
    counts: dict[str, int]
    provenance: dict[str, Any]
    started_at: str
    finished_at: str | None
    manifest: str


@dataclass(frozen=True)
class EditItem:
    """One output image of an apply run.

    Attributes:
        id: Hash of model, image, and edit recipe.
        run_id: The run that made it.
        image_id: sha256 of the source image's bytes.
        image_name: Name of the source image, for people.
        recipe: The edit recipe as plain data (t, steps, directions with strengths, dtype).
        output: Path of the written file.
        checksum: sha256 of the written file's bytes.
        metrics: Measured figures, for example `change` (mean squared change against the input).
    """

    id: str
    run_id: str
    image_id: str
    image_name: str
    recipe: dict[str, Any]
    output: str
    checksum: str
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """What was measured when a direction was transferred to another image.

    Attributes:
        run_id: The run that measured it.
        direction_id: The direction.
        image_id: sha256 of the other image's bytes.
        strength: The strength it was added with.
        figures: Measured figures by name.
    """

    run_id: str
    direction_id: str
    image_id: str
    strength: float
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Transfer:
    """How a direction does on images that it was not found on, as `loco.measure.scores.carried` tells it.

    Attributes:
        direction_id: The direction.
        at: When that was measured: naive UTC, ISO 8601.
        run_id: The run that measured it.
        on_dataset: Name of the dataset that the images are of.
        transfer_images: How many images were measured: those that have the region.
        transfer, transfer_low, transfer_high: Share of them that the direction carries over to, and its interval.
        transfer_gain, transfer_leakage, transfer_cosine, transfer_range: Medians over them.
        responding, no_op: Shares of them.
        strength, strength_least, strength_most: The recommended strength, the least that is seen, and where it ends.
        details: Distributions, intervals and example images, see `loco.measure.scores.carried`.

    A figure that was not measured, or means nothing for the region, is None.
    """

    direction_id: str
    at: str
    run_id: str
    on_dataset: str
    transfer_images: int
    transfer: float | None = None
    transfer_low: float | None = None
    transfer_high: float | None = None
    transfer_gain: float | None = None
    transfer_leakage: float | None = None
    transfer_cosine: float | None = None
    transfer_range: float | None = None
    responding: float | None = None
    no_op: float | None = None
    strength: float | None = None
    strength_least: float | None = None
    strength_most: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that someone said of a direction: one line of the history.

    Attributes:
        at: Naive UTC, ISO 8601.
        who: Free text.
        action: `label`, `unlabel`, `alias`, `unalias`, `reject` or `restore`.
        direction_id: The direction's id.
        text: The label, the alias' name, or the reason of a rejection.
        author_kind: `person`, or `scorer` for a label that was measured.
        method: How a scorer came to it, in words.
        score: How well it is founded, in the method's terms: the share of images that it holds for.
    """

    at: str
    who: str
    action: str
    direction_id: str
    text: str
    author_kind: str = field(default="person", metadata=LATER)
    method: str = field(default="", metadata=LATER)
    score: float | None = field(default=None, metadata=LATER)


@dataclass(frozen=True)
class Problem:
    """Something `verify` found wrong: the thing, what is wrong with it, and what to do."""

    subject: str
    trouble: str
    remedy: str
