"""Writing one output: the change added to its image, marked, encoded, written and told of."""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from flows.apply.edits import ApplyChunk, EditOutcome, failure_line, line_of, output_of
from flows.apply.reading import Loaded
from flows.inputs.places import place_of
from flows.outputs.outputs import Outputs
from loco.errors import LocoError
from loco.finish import changed, edge_of, feather
from loco.formats import FORMATS
from loco.ids import bytes_id
from loco.images import Picture, picture_of
from loco.marks.claim import Claim
from loco.marks.marking import before, marked_file, software
from loco.outside import told
from registry.records import EditItem

if TYPE_CHECKING:
    from flows.apply.batches import Result


class Writer:
    """Writes the outputs of one chunk, for any number of threads."""

    def __init__(self, chunk: ApplyChunk, outputs: Outputs) -> None:
        """Raises `StorageError` where the folder cannot be looked into."""
        self.chunk, self.outputs = chunk, outputs
        self.lengths: list[float] = []
        """Per edit, the length of its sum of directions at strength 1, once that is known."""
        names = (output_of(stem, edit, chunk.form) for stem in chunk.stems for edit in chunk.edits)
        self.foreign = outputs.foreign(names, chunk.present)

    def finish(self, result: "Result") -> tuple[int, int, EditOutcome, float]:
        """Make, write and log one output."""
        started = time.perf_counter()
        chunk, k = self.chunk, result.edit
        loaded: Loaded = result.image.carried
        item, edit = loaded.items[k], chunk.edits[k]
        source = chunk.sources[loaded.index]
        try:
            picture = loaded.picture or picture_of(loaded.data, place_of(source), source.name)
            delta = result.change
            if delta is None:
                delta = np.zeros(chunk.model.shape, np.float32)
            weight = None
            if loaded.mask is not None:
                weight = feather(loaded.mask, edge_of(loaded.mask, edit.recipe.feather))
            claim = self._claim(item, k, picture, result) if delta.any() else None
            done = changed(picture, delta, chunk.format, weight)
            made = marked_file(picture, done, chunk.format, chunk.marks, claim, loaded.data)
            self._put(item.output, made.data)
            item = replace(item, checksum=bytes_id(made.data), metrics={"change": 0.0} | result.metrics)
            seconds = result.seconds + time.perf_counter() - started
            notes = (*picture.notes, *filter(None, [loaded.note]), *made.notes)
            if k in loaded.lacks:
                notes = (*notes, f"passed through: it has no {' and no '.join(edit.regions)}")
            if picture.alpha is not None and not FORMATS[chunk.format].transparent:
                notes = (*notes, f"{chunk.format} has no transparency: white shows through")
            if edit.strength != edit.asked:
                notes = (*notes, f"clipped to the linear range: {edit.asked:g} became {edit.strength:g}")
            status = "no_effect" if result.no_effect else "done"
            place = place_of(source)
            line = line_of(item, edit, status, seconds, notes=notes, marks=made.marks, source=place)
            self.outputs.log(line)
        except (LocoError, MemoryError) as error:
            cause = told(str(error)) or "not enough memory"
            outcome = EditOutcome(loaded.name, item.output, edit.asked, "failed", cause=cause)
            self.log_failures(loaded.index, [outcome])
            return loaded.index, k, outcome, time.perf_counter() - started
        kept = replace(item, output=self.outputs.path(item.output))
        outcome = EditOutcome(
            loaded.name, item.output, edit.asked, "done", kept, no_effect=result.no_effect, note=loaded.note
        )
        return loaded.index, k, outcome, time.perf_counter() - started

    def _claim(self, item: EditItem, k: int, picture: Picture, result: "Result") -> Claim:
        """What an edited output says of itself; `result` has the length of what was added to x_t."""
        chunk, edit = self.chunk, self.chunk.edits[k]
        scale = float(result.metrics["lambda"]) / self.lengths[k] if self.lengths[k] else 0.0
        strengths = [
            weight * (edit.strength if edit.recipe.unit == "lambda" else scale) for weight in edit.weights
        ]
        also = chunk.marks.also
        return Claim(
            edit_id=item.id,
            model=chunk.model.id,
            source=item.image_id,
            directions=tuple(name for name, _ in edit.recipe.directions),
            strengths=tuple(strengths),
            software=software(),
            before=before(picture.xmp),
            run=chunk.run_id if "run" in also else "",
            name=item.image_name if "name" in also else "",
            prompt=edit.recipe.prompt if "prompt" in also else "",
        )

    def _put(self, output: str, data: bytes) -> None:
        """Write an output, unless its name is somebody else's."""
        file = self.outputs.file_of(output)
        if file not in self.foreign:
            self.outputs.write(output, data)
        elif not self.outputs.sound(output, bytes_id(data)):  # as where our manifest was deleted
            raise self.outputs.taken(file)

    def log_failures(self, index: int, outcomes: Iterable[EditOutcome]) -> None:
        """Lines for what failed or lacks its region; a manifest that does not take them is told of by the run."""
        chunk = self.chunk
        by_output = {output_of(chunk.stems[index], edit, chunk.form): edit for edit in chunk.edits}
        lines = [
            failure_line(chunk, chunk.sources[index], by_output[one.output], one)
            for one in outcomes
            if one.status in ("failed", "absent")
        ]
        if lines:
            with contextlib.suppress(LocoError):
                self.outputs.log(*lines)
