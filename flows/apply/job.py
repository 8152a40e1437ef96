"""Bulk application, as a job for the engine: any number of images, listed without reading them.

`apply_chunk` (`stream.py`) writes each image whole and then a line of OUT/manifest.jsonl; `record` writes the rows of
one chunk while the next is worked on. An output whose line, bytes and edit id still agree is not made again, so a
killed run goes on where it stopped.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from flows.apply import stepping
from flows.apply.edits import ABSENT, ApplyChunk, Edit, EditOutcome, Work, chunk_with, failure_line, output_of
from flows.apply.filling import Filling
from flows.apply.inputs import dataset_of, folders_of, sources_of
from flows.apply.planning import check_names, directions_of, model_of, planned
from flows.apply.rows import Rows, failed_after, tally_of
from flows.apply.sizing import bytes_of, evaluations_of
from flows.apply.stream import apply_chunk, batch_of
from flows.device.measured import patience
from flows.engine.estimate import Estimate, estimated
from flows.engine.job import Failure, Tally
from flows.engine.options import allowed_failures
from flows.engine.plan import PAGE, Sizer
from flows.engine.record import asked_to_stop, catalogue
from flows.engine.watch import Silence, Watch
from flows.inputs.places import Source, local_path
from flows.jobs import ApplyJob, plain
from flows.outputs.forms import form_of
from flows.outputs.packed import Packed, outputs_at
from flows.outputs.spool import Spool
from flows.outputs.videos import assemble
from loco.decoding import EXPECTED
from loco.direction import edit_id
from loco.errors import InputError, LocoError
from loco.marks.marking import check as check_marks
from registry.files.cache import LIMIT
from registry.home import Home
from registry.records import DatasetRecord, ModelRecord, RunRecord

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
        self.form = form_of(asked.format, asked.out)
        self.outputs = outputs_at(home, asked.out, asked.manifest, self.form)
        self._open = contextlib.ExitStack()
        self.settled, self.measuring = False, 0

    @cached_property
    def model(self) -> ModelRecord:
        """The one registered model that all the directions belong to; raises `InputError`."""
        return model_of(self.registry, directions_of(self.registry, self.asked))

    @cached_property
    def dataset(self) -> DatasetRecord | None:
        """The dataset of the images, or None where they come from elsewhere; raises `InputError`."""
        return dataset_of(self.registry, self.asked)

    def _sources(self, say: Callable[[str], None] = lambda _: None) -> Iterator[Source]:
        return sources_of(self.registry, self.asked, self.dataset, self.outputs.own, say)

    def check(self) -> None:
        """Refuse directions, images, formats and places that do not go together; raises `LocoError`."""
        _ = self.model
        allowed_failures(self.asked.max_failures, 0)
        plan = planned(self.registry, self.asked, self.asked.steps or stepping.MOST)
        self.edits, self.warnings, self.suited = plan.edits, plan.notes, plan.suited
        self.settled = self.asked.steps is not None or not stepping.measurable(self.edits)
        if not self.settled and (found := stepping.kept(self.home, self._steps_key)) is not None:
            self._settle(found)
        check_names(self.edits, self.form)
        self.outputs.check()
        check_marks(self.asked.marks)
        if next(self._sources(), None) is None:
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
        costs = dict[tuple[int, ...], int]()
        with Spool(None, self.form) as self.spool:
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
            bytes=bytes_of(sources, self.outputs.files(self.form.image), self.form.image, edits),
            steps=steps.pop() if self.settled else None,
        )

    def _list(self, say: Callable[[str], None]) -> int:
        """Take the images into the spool; how many of them are this part's."""
        self.frames = False

        def noted() -> Iterator[Source]:
            for source in self._sources(say):
                self.frames = self.frames or source.kind == "video"
                yield source

        count = self.spool.take(noted(), self.asked.limit, say)
        self.listed = count
        self.part = self.spool.part(count, self.asked.shard)
        return len(self.part)

    def _is_told(self, stem: str, edit: Edit) -> bool:
        line = self.spool.told(output_of(stem, edit, self.form))
        made_of = self.model.id, str(line.get("image_id")), edit.recipe
        known = {edit_id(*made_of), *([edit_id(*made_of, ABSENT)] if edit.regions else [])}
        return line.get("status") != "failed" and line.get("id") in known

    def _is_settled(self, stem: str, edit: Edit) -> bool:
        """Whether the manifest says what became of an output, whatever that is."""
        told = self.spool.told(output_of(stem, edit, self.form)).get("status") in ("failed", "absent")
        return told or self._is_told(stem, edit)

    def prepare(self, watch: Watch) -> int:
        """List the images into a file beside, with what the output folder's manifest says of their outputs."""
        self.spool = self._open.enter_context(Spool(self.home.spool, self.form))
        said: list[str] = []
        images = self._list(said.append)
        if images and not self.settled:
            self._measure()
        self.outputs.prepare()
        self.outputs.recall(self.spool)
        self.filling = None
        if isinstance(self.outputs, Packed):
            self.filling = Filling(self.outputs, self.spool, self.part, len(self.edits))
        self._say = watch.say
        for warning in [*self.warnings, *said]:
            watch.say(f"note: {warning}")
        beside = self._open.enter_context(ThreadPoolExecutor(1, "rows"))
        self.rows = Rows(self.registry, beside)
        return images * len(self.edits)

    def spec(self) -> dict[str, Any]:
        """The job, with the model, the level, the steps and the folder that it came to."""
        levels = {edit.recipe.t for edit in self.edits}
        spec = plain(replace(self.asked, suited=self.suited))
        if self.settled:
            spec["steps"] = self.edits[0].recipe.steps
        spec |= {"model_id": self.model.id, "t": levels.pop() if len(levels) == 1 else self.asked.t}
        return spec if self.dataset is None else spec | {"images": self.dataset.path}

    def before(self, lines: Iterator[Mapping[str, Any]]) -> dict[str, int]:
        """Outputs made."""
        return {"done": len({line["edit"]["output"] for line in lines if line["kind"] == "edit"})}

    def chunks(self, run: RunRecord, sizer: Sizer) -> Iterator[ApplyChunk]:
        """The images in the order of the list."""
        root, masks = folders_of(self.asked, self.dataset)
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
                form=self.form,
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
        """Its outputs failed, and the manifest says so."""
        outcomes, lines = list[EditOutcome](), list[dict[str, Any]]()
        for source, stem in zip(chunk.sources, chunk.stems, strict=True):
            for edit in chunk.edits:
                output = output_of(stem, edit, chunk.form)
                outcomes.append(EditOutcome(source.name, output, edit.asked, "failed", cause=cause))
                lines.append(failure_line(chunk, source, edit, outcomes[-1]))
        with contextlib.suppress(LocoError):
            self.outputs.log(*lines)
        return Work(outcomes)

    def record(self, run: RunRecord, chunk: ApplyChunk, result: Work) -> Tally:
        """Begin to write the rows, and pack the shards that are complete."""
        self.rows.write(run.id, result.outcomes)
        if self.filling is not None:
            self.filling.take(result.outcomes)
        measuring, self.measuring = self.measuring, 0
        return tally_of(chunk, result, measuring)

    def finish(self, run: RunRecord) -> Tally | None:
        """Wait for the rows; then one line an output in the manifest, its table, and what frames come to."""
        self.rows.wait()
        if self.filling is not None:
            self.filling.finish(self.edits, self._is_settled)
        self.outputs.settle(self.spool)
        if self.frames and asked_to_stop(self.home, run.id) is None:
            return self._assemble()
        return None

    def _assemble(self) -> Tally | None:
        """Put the frames of videos together; a video that could not be made is one more output that failed."""
        folder = local_path(str(self.asked.out))
        if self.form.shards or folder is None:
            self._say("note: frames are put together where they are single files in a folder of this machine")
            return None
        failed: list[Failure] = []
        clips = assemble(
            folder,
            self.asked.manifest,
            say=lambda text: self._say(f"note: {text}"),
            fail=lambda source, file, cause: failed.append(Failure(source, file, cause, " -> {}")),
        )
        for clip in clips:
            flicker = "it stands still" if clip.flicker is None else f"flicker {clip.flicker:.3g}"
            kept = f", {clip.kept} of them as they were" if clip.kept else ""
            self._say(f"{clip.file}: {clip.frames} frames{kept}, {flicker}")
        return failed_after(failed) if failed else None

    def close(self) -> None:
        """Delete the list."""
        self._open.close()
        self.outputs.close()

    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Images that the dataset could not read."""
        return () if self.dataset is None else self.dataset.unreadable

    def patience(self) -> float:
        """As long as the model's speed here makes sensible."""
        return patience(self.home, self.model)

    def labels(self) -> dict[str, list[str]]:
        """Model and dataset."""
        found = {"model": [self.model.name]}
        return found if self.asked.dataset is None else found | {"dataset": [self.asked.dataset]}

    def title(self) -> str:
        """What people recognise a run by."""
        return f"to {self.asked.out}"
