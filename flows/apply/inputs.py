"""The images of an application: those of a dataset, or what there is at a place."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from flows.engine.plan import PAGE
from flows.inputs.places import Source, local_path
from flows.inputs.sources import list_sources
from flows.jobs import ApplyJob
from loco.errors import InputError
from registry.records import DatasetRecord
from registry.registry import Registry


def dataset_of(registry: Registry, job: ApplyJob) -> DatasetRecord | None:
    """The dataset of the images, or None where they come from elsewhere; raises `InputError`."""
    if (job.images is None) == (job.dataset is None):
        raise InputError("name the images with either --images DIR or --dataset NAME")
    return None if job.dataset is None else registry.dataset(job.dataset, pictured=False)


def sources_of(
    registry: Registry,
    job: ApplyJob,
    dataset: DatasetRecord | None,
    skip: Iterable[Path],
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Source]:
    """The images, one by one, but for those in `skip`; `say` is told what is left out.

    Raises `InputError` where there are none.
    """
    if dataset is None:
        yield from list_sources(str(job.images), skip, say)
        return
    root, start = Path(dataset.path), 0
    while page := registry.images(dataset, start, min(PAGE, job.limit or PAGE)):
        for image in page:
            yield Source(image.name, str(root / image.name), id=image.id)
        start += len(page)
        if job.limit is not None and start >= job.limit:
            break


def folders_of(job: ApplyJob, dataset: DatasetRecord | None) -> tuple[Path | None, Path | None]:
    """Folder of the images and folder of masks, where there are such."""
    if dataset is not None:
        return Path(dataset.path), job.masks or (Path(dataset.masks) if dataset.masks else None)
    root = local_path(str(job.images))
    if root is None or not root.is_dir():
        return None, job.masks
    own = root / "masks"
    return root, job.masks or (own if own.is_dir() else None)
