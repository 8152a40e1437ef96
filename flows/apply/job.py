"""Bulk application, as a job for the engine: any number of images, listed without reading them.

`apply_chunk` (`stream.py`) writes each image whole and then a line of OUT/manifest.jsonl; `record` writes the rows of
one chunk while the next is worked on. An output whose line, bytes and edit id still agree is not made again, so a
killed run goes on where it stopped.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from flows.apply import stepping
from flows.apply.edits import ApplyChunk, Edit, EditOutcome, Work, chunk_with, output_of
from flows.apply.outputs import Outputs
from flows.apply.places import Source, local_path
from flows.apply.planning import check_names, directions_of, model_of, plan_edits
from flows.apply.sizing import bytes_of, evaluations_of
from flows.apply.sources import list_sources
from flows.apply.spool import Spool
from flows.apply.stream import apply_chunk, batch_of
from flows.engine.estimate import Estimate, estimated
from flows.engine.job import Failure, Tally
from flows.engine.options import allowed_failures
from flows.engine.plan import PAGE, Sizer
from flows.engine.record import catalogue
from flows.engine.watch import Silence, Watch
from flows.jobs import ApplyJob, plain
from loco.decoding import EXPECTED
from loco.direction import edit_id
from loco.errors import InputError
from loco.formats import format_of
from loco.marks.marking import check as check_marks
from registry.files.cache import LIMIT
from registry.home import Home
from registry.records import DatasetRecord, ModelRecord, RunRecord
from registry.registry import Registry

FIRST = 2
"""Batches in the first chunks, before anything was measured: enough that filling and draining costs little."""

MOST = 1000
"""Images in a chunk, as long as that is not too many chunks: their outcomes are in memory together."""


class Application:
    """Edits of any number of images."""

    kind: ClassVar[str] = "apply"
    items: ClassVar[str] = "outputs"

    def __init__(self, home: Home, url: str | None, asked: ApplyJob) -> None:
        self.home, self.url, self.asked = home, url, asked
        self.registry = catalogue(home, url)
        self.outputs = Outputs(home, asked.out, asked.manifest)
        self._open = contextlib.ExitStack()
        self.settled, self.measuring = False, 0

    @cached_property
    def model(self) -> ModelRecord:
        """The one registered model that all the directions belong to; raises `InputError`."""
        return model_of(self.registry, directions_of(self.registry, self.asked))

    @cached_property
    def dataset(self) -> DatasetRecord | None:
        """The dataset of the images, or None where they come from elsewhere; raises `InputError`."""
        return _dataset(self.registry, self.asked)

    def check(self) -> None:
        """Refuse directions, images, formats and places that do not go together; raises `LocoError`."""
        _ = self.model
        allowed_failures(self.asked.max_failures, 0)
        self.edits, self.warnings = plan_edits(self.registry, self.asked, self.asked.steps or stepping.MOST)
        self.settled = self.asked.steps is not None or not stepping.measurable(self.edits)
        if not self.settled and (found := stepping.kept(self.home, self._steps_key)) is not None:
            self._settle(found)
        check_names(self.edits, format_of(self.asked.format))
        self.outputs.check()
        check_marks(self.asked.marks)
        if next(_sources(self.registry, self.asked, self.dataset), None) is None:
            where = self.asked.images if self.dataset is None else f"dataset {self.dataset.name!r}"
            raise InputError(f"{where}: no images to edit; expected {EXPECTED} files")

    @property
    def _steps_key(self) -> str:
        images = self.asked.images if self.dataset is None else self.dataset.path
        return stepping.key_of(self.model, self.edits, str(images))

    def _settle(self, chosen: stepping.Measurement, now: bool = False) -> None:
        """From here on every edit is of so many steps."""
        self.settled = True
        self.edits = tuple(
            replace(edit, recipe=replace(edit.recipe, steps=chosen.steps)) for edit in self.edits
        )
        self.warnings.append(chosen.told(now))
        self.measuring = chosen.evaluations if now else 0

    def _measure(self) -> None:
        """Settle the number of steps by the first images of the list, whichever part of it is this program's."""
        sources = next(self.spool.chunks(range(self.listed), lambda _: PAGE), [])
        chosen, now = stepping.settled(
            self.home,
            self.url,
            self.model,
            self.edits,
            [source for source, _ in sources],
            self._steps_key,
            root=None if self.dataset is None else Path(self.dataset.path),
            stay=self.asked.runner.kind == "local",
        )
        self._settle(chosen, now)

    def known(self) -> bool:
        """Whether the manifest vouches for all outputs, by names and recipes; a changed file may prove it wrong."""
        if not self.settled or self.asked.confine is not None or not self.outputs.begun():
            return False
        with contextlib.closing(self):
            self.prepare(Silence())
            parts = self.spool.chunks(self.part, lambda _: PAGE)
            return all(self._is_told(stem, edit) for part in parts for _, stem in part for edit in self.edits)

    def estimate(self) -> Estimate:
        """Edits that the manifest does not vouch for, and what their recipes cost."""
        images = known = edits = evaluations = 0
        format, costs = format_of(self.asked.format), dict[tuple[int, ...], int]()
        with Spool(None) as self.spool:
            images = self._list(lambda _: None)
            if self.outputs.begun():
                self.outputs.look(self.spool)
            sources: list[Source] = []
            for part in self.spool.chunks(self.part, lambda _: PAGE):
                for _, stem in part:
                    todo = tuple(k for k, edit in enumerate(self.edits) if not self._is_told(stem, edit))
                    known, edits = known + (not todo), edits + len(todo)
                    if todo not in costs:
                        costs[todo] = evaluations_of([self.edits[k] for k in todo])
                    evaluations += costs[todo]
                sources = sources or [source for source, _ in part]
        steps = {edit.recipe.steps for edit in self.edits}
        return estimated(
            self.registry.runs(self.kind),
            self.model.id,
            kind=self.kind,
            images=images,
            known=known,
            workers=self.asked.runner.workers,
            evaluations=evaluations,
            edits=edits,
            bytes=bytes_of(sources, self.outputs.files(format), format, edits),
            steps=steps.pop() if self.settled else None,
        )

    def _list(self, say: Callable[[str], None]) -> int:
        """Take the images into the spool; how many of them are this part's."""
        count = self.spool.take(_sources(self.registry, self.asked, self.dataset, say), self.asked.limit, say)
        self.listed = count
        self.part = range(count) if self.asked.shard is None else self.asked.shard.block(count)
        return len(self.part)

    def _is_told(self, stem: str, edit: Edit) -> bool:
        line = self.spool.told(output_of(stem, edit, format_of(self.asked.format)))
        known = edit_id(self.model.id, str(line.get("image_id")), edit.recipe)
        return line.get("status") != "failed" and line.get("id") == known

    def prepare(self, watch: Watch) -> int:
        """List the images into a file beside, with what the output folder's manifest says of their outputs."""
        self.spool = self._open.enter_context(Spool(self.home.spool))
        said: list[str] = []
        images = self._list(said.append)
        if images and not self.settled:
            self._measure()
        self.outputs.prepare()
        self.outputs.recall(self.spool)
        for warning in [*self.warnings, *said]:
            watch.say(f"note: {warning}")
        beside = self._open.enter_context(ThreadPoolExecutor(1, "rows"))
        self.rows = _Rows(self.registry, beside)
        return images * len(self.edits)

    def spec(self) -> dict[str, Any]:
        """The job, with the model, the level, the steps and the folder that it came to."""
        levels = {edit.recipe.t for edit in self.edits}
        spec = plain(self.asked)
        if self.settled:
            spec["steps"] = self.edits[0].recipe.steps
        spec |= {"model_id": self.model.id, "t": levels.pop() if len(levels) == 1 else self.asked.t}
        return spec if self.dataset is None else spec | {"images": self.dataset.path}

    def before(self, lines: Iterator[Mapping[str, Any]]) -> dict[str, int]:
        """Outputs made."""
        return {"done": len({line["edit"]["output"] for line in lines if line["kind"] == "edit"})}

    def chunks(self, run: RunRecord, sizer: Sizer) -> Iterator[ApplyChunk]:
        """The images in the order of the list."""
        root, masks = _folders(self.asked, self.dataset)
        sizer.begin(FIRST * batch_of(self.model), MOST)
        for part in self.spool.chunks(self.part, sizer.next):
            chunk = ApplyChunk(
                home=self.home.root,
                registry_url=self.url,
                model=self.model,
                run_id=run.id,
                sources=tuple(source for source, _ in part),
                stems=tuple(stem for _, stem in part),
                edits=self.edits,
                out=self.asked.out,
                format=format_of(self.asked.format),
                manifest=self.asked.manifest,
                marks=self.asked.marks,
                root=root,
                masks=masks,
                cache=LIMIT if self.asked.cache is None else self.asked.cache,
            )
            yield chunk_with(chunk, self.spool.present)

    def halved(self, chunk: ApplyChunk) -> tuple[ApplyChunk, ApplyChunk] | None:
        """Its first and second half; a single image has none."""
        half = len(chunk.sources) // 2
        if not half:
            return None
        self.outputs.recall(self.spool)  # what was made before it was lost
        first = replace(chunk, sources=chunk.sources[:half], stems=chunk.stems[:half])
        second = replace(chunk, sources=chunk.sources[half:], stems=chunk.stems[half:])
        return chunk_with(first, self.spool.present), chunk_with(second, self.spool.present)

    @staticmethod
    def work(chunk: ApplyChunk) -> Work:
        """`apply_chunk`."""
        return apply_chunk(chunk)

    def lost(self, run: RunRecord, chunk: ApplyChunk, cause: str) -> Work:
        """Its outputs failed."""
        return Work(
            [
                EditOutcome(
                    source.name, output_of(stem, edit, chunk.format), edit.asked, "failed", cause=cause
                )
                for source, stem in zip(chunk.sources, chunk.stems, strict=True)
                for edit in chunk.edits
            ]
        )

    def record(self, run: RunRecord, chunk: ApplyChunk, result: Work) -> Tally:
        """Begin to write the rows."""
        self.rows.write(run.id, result.outcomes)
        counts = Counter(one.status for one in result.outcomes)
        counts["evaluations"] = result.evaluations
        counts["no_effect"] = sum(one.no_effect for one in result.outcomes)
        if self.measuring:
            counts["measuring"], self.measuring = self.measuring, 0
        if result.halved:
            counts["halved"] = result.halved
        failed = [one for one in result.outcomes if one.status == "failed"]
        absent = {one.image: one.cause for one in result.outcomes if one.status == "absent"}
        wide = {one.image: one.note for one in result.outcomes if one.note}
        notes = [f"{image}: {note}" for image, note in wide.items()]
        if result.halved:
            notes.append(f"{chunk.title}: out of memory, halved {result.halved} times; the run goes on")
        return Tally(
            len(result.outcomes),
            len({one.image for one in result.outcomes}),
            counts,
            tuple(
                {"kind": "failure", "image": one.image, "output": one.output, "cause": one.cause}
                for one in failed
            )
            + tuple(
                {"kind": "absent", "image": image, "absent": [["", reason]]}
                for image, reason in absent.items()
            ),
            tuple(Failure(one.image, one.output, one.cause, " -> {}") for one in failed),
            tuple(absent.items()),
            tuple(notes),
            len({one.image for one in result.outcomes if one.status == "done"}),
            result.seconds.get("all", 0.0),
        )

    def finish(self, run: RunRecord) -> None:
        """Wait for the rows; then one line an output in the manifest, and its table."""
        self.rows.wait()
        self.outputs.settle(self.spool)

    def close(self) -> None:
        """Delete the list."""
        self._open.close()

    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Images that the dataset could not read."""
        return () if self.dataset is None else self.dataset.unreadable

    def labels(self) -> dict[str, list[str]]:
        """Model and dataset."""
        found = {"model": [self.model.name]}
        return found if self.asked.dataset is None else found | {"dataset": [self.asked.dataset]}

    def title(self) -> str:
        """What people recognise a run by."""
        return f"to {self.asked.out}"


class _Rows:
    """Rows of one chunk at a time, written beside the work on the next one."""

    def __init__(self, registry: Registry, beside: ThreadPoolExecutor) -> None:
        self._registry, self._beside = registry, beside
        self._last: Future[None] | None = None

    def write(self, run_id: str, outcomes: list[EditOutcome]) -> None:
        """Begin to write, once what was begun before is written; raises what that raised."""
        self.wait()
        self._last = self._beside.submit(_catalogue, self._registry, run_id, outcomes)

    def wait(self) -> None:
        """Until all is written."""
        if self._last is not None:
            self._last.result()


def _dataset(registry: Registry, job: ApplyJob) -> DatasetRecord | None:
    """The dataset of the images, or None where they come from elsewhere; raises `InputError`."""
    if (job.images is None) == (job.dataset is None):
        raise InputError("name the images with either --images DIR or --dataset NAME")
    return None if job.dataset is None else registry.dataset(job.dataset, pictured=False)


def _sources(
    registry: Registry,
    job: ApplyJob,
    dataset: DatasetRecord | None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Source]:
    """The images, one by one; `say` is told what is left out. Raises `InputError` where there are none."""
    if dataset is not None:
        root, start = Path(dataset.path), 0
        while page := registry.images(dataset, start, min(PAGE, job.limit or PAGE)):
            for image in page:
                yield Source(image.name, str(root / image.name), id=image.id)
            start += len(page)
            if job.limit is not None and start >= job.limit:
                break
        return
    out = local_path(str(job.out))
    yield from list_sources(str(job.images), () if out is None else (out,), say)


def _folders(job: ApplyJob, dataset: DatasetRecord | None) -> tuple[Path | None, Path | None]:
    """Folder of the images and folder of masks, where there are such."""
    if dataset is not None:
        return Path(dataset.path), job.masks or (Path(dataset.masks) if dataset.masks else None)
    root = local_path(str(job.images))
    if root is None or not root.is_dir():
        return None, job.masks
    own = root / "masks"
    return root, job.masks or (own if own.is_dir() else None)


def _catalogue(registry: Registry, run_id: str, outcomes: list[EditOutcome]) -> None:
    """Rows for what was made now, and for what a killed run made without living to write its row.

    The latter stay the killed run's, where this catalogue knows it; else they are this run's.
    """
    made = [one.edit for one in outcomes if one.edit and one.status == "done"]
    found = [one.edit for one in outcomes if one.edit and one.status == "skipped"]
    known = registry.known_edits([one.id for one in found])
    lost = [one for one in found if one.id not in known]
    if lost:
        runs = {run.id for run in registry.runs("apply")}
        lost = [one if one.run_id in runs else replace(one, run_id=run_id) for one in lost]
    registry.add_edits(made + lost)
