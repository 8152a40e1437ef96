"""Discovery across a dataset, as a job for the engine: passes over its images, whose sums it takes in one by one.

The first pass finds which images have which region and begins the space; then come rounds, each a map over the images
and a sum, until the space holds what is asked for; the last pass asks every image what it says to the directions found,
which then are one basis file of scope `dataset`. Between the passes the state is kept (`rounds.py`), so that a run that
was killed goes on with its round.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flows.discover import passes
from flows.discover import rounds as state
from flows.discover.across import AcrossChunk, AcrossOutcome, AcrossResult, across_chunk
from flows.discover.across_basis import Whole
from flows.discover.aligning import Gathered
from flows.discover.image import regions_of
from flows.discover.job import OverRegions
from flows.discover.passes import Total
from flows.discover.rounds import Rounds, Seen
from flows.engine.estimate import Estimate, estimated
from flows.engine.job import Failure, Tally
from flows.engine.plan import PAGE, Sizer
from flows.engine.watch import Silence
from flows.jobs import AcrossJob
from loco.files import sweep
from loco.ids import content_id
from registry.home import Home
from registry.records import ImageRecord, RunRecord

if TYPE_CHECKING:
    from loco.across import Answers, Shaped


class Across(OverRegions[AcrossChunk]):
    """Directions of a model in the regions of a dataset, of all of its images together."""

    kind: ClassVar[str] = "across"
    asked: AcrossJob

    def __init__(self, home: Home, url: str | None, asked: AcrossJob) -> None:
        super().__init__(home, url, asked)
        self.rounds: Rounds | None = None
        self.losses: dict[str, str] = {}
        self.owed: Tally | None = None
        self.shaped: Shaped | None = None
        self.over = False
        self.under = ""
        self.run_id = ""

    @cached_property
    def whole(self) -> Whole:
        """What the directions are of."""
        return Whole(self.home, self.model, self.dataset.name, self.asked)

    # Before the run

    def known(self) -> bool:
        """Whether the basis file is there that these images, their regions and the recipe lead to, if all are sound."""
        if self.asked.recipe.aligned:
            return True  # it asks no network
        planned = 0 if self.asked.rescan else super(OverRegions, self).prepare(Silence())
        return bool(planned) and self.registry.summary()["bases"] > 0 and self._is_made()

    def _is_made(self) -> bool:
        looked, seen, names = set[str](), list[Seen](), self.whole.names
        for images in self._pages():
            for record in images:
                item = regions_of(self.asked_of((record,)), record)
                if item.failures:
                    return False
                looked.add(record.id)
                own = {roi.name: roi.id for roi in item.rois}
                if own:
                    ids = tuple(own.get(name, "") for name in names)
                    seen.append(Seen(record.id, (), ids, ()))
        if not seen:
            return False
        unique = {one.id: one for one in seen}
        these = sorted(looked), [unique[key] for key in sorted(unique)]
        made = self.whole.is_made(*these)
        self.under = self.whole.found_under(*these) if made else ""
        return made

    def _pages(self) -> Iterator[list[ImageRecord]]:
        for start in range(self.part.start, self.part.stop, PAGE):
            yield list(self.registry.images(self.dataset, start, min(PAGE, self.part.stop - start)))

    def estimate(self) -> Estimate:
        """All images, or none where the basis file is there; what one took in the last run with this model."""
        images = super(OverRegions, self).prepare(Silence())
        known = images if images and (self.asked.recipe.aligned or self._is_made()) else 0
        return estimated(
            self.registry.runs(self.kind),
            self.model.id,
            kind=self.kind,
            images=images,
            known=known,
            workers=self.asked.runner.workers,
            bytes=0
            if known
            else len(self.asked.rois) * 4 * self.asked.recipe.rank * int(np.prod(self.model.shape)),
        )

    def before(self, lines: Iterator[Mapping[str, Any]]) -> dict[str, int]:
        """Nothing: what earlier passes did is in the state, and counted with the first chunk."""
        return {}

    def title(self) -> str:
        """What people recognise a run by."""
        return f"across {super().title()}"

    # The passes

    def chunks(self, run: RunRecord, sizer: Sizer) -> Iterator[AcrossChunk]:
        """The images of the present pass, in order."""
        self.run_id = run.id
        rounds = self._begun(run)
        if rounds.phase == "aligned":
            return
        recipe = self.asked.recipe
        members, wanted = passes.members_of(rounds, recipe), passes.wanted(rounds, recipe)
        regions = () if self.shaped is None else self.shaped.regions
        taken = set[str]()
        for images in self.pages(sizer):
            mine = tuple(
                one
                for one in images
                if one.name not in rounds.left_out
                and (rounds.phase in ("start", "known") or (one.id in wanted and one.id not in taken))
            )
            if rounds.phase == "round" or rounds.phase == "answers":
                mine = tuple({one.id: one for one in reversed(mine)}.values())[::-1]
            taken.update(one.id for one in mine)
            if mine:
                yield AcrossChunk(
                    **vars(self.asked_of(mine)),
                    run_id=run.id,
                    phase=rounds.phase,
                    number=rounds.number,
                    members={one.id: members[one.id] for one in mine if one.id in members},
                    regions=regions,
                    scorer=self.asked.scorer,
                    prompts=self.asked.prompts,
                )

    def _begun(self, run: RunRecord) -> Rounds:
        """The state of the run, read or begun, with what the pass needs written for its chunks."""
        if self.rounds is None and self.asked.recipe.aligned:
            self.rounds = Rounds("aligned")
        if self.rounds is None:
            rounds = state.kept(self.home, run.id, self._key())
            if rounds.phase == "start" and self.registry.summary()["bases"] > 0 and self._is_made():
                rounds = Rounds("known")
                if self.under != self.dataset.name:
                    self.watch.say(
                        f"the directions of these images are known, as those of dataset {self.under!r}: "
                        f"`loco directions list --dataset {self.under} --scope dataset`"
                    )
            counts = Counter(rounds.told.values()) | Counter(evaluations=rounds.spent[1])
            self.owed = Tally(len(rounds.told), 0, counts) if rounds.phase != "start" else None
            self.rounds = rounds
            if rounds.number:
                self.watch.say(f"goes on with round {rounds.number}")
        rounds = self.rounds
        state.forget(self.home, run.id, whole=False)
        if rounds.phase == "round" and rounds.pool is not None:
            state.ask(self.home, run.id, rounds.pool.fresh.cpu().numpy())
        elif rounds.phase == "answers":
            self.shaped = passes.shaped_of(self.whole, rounds)
            state.ask(self.home, run.id, self.shaped.vectors.cpu().numpy())
        return rounds

    @staticmethod
    def work(chunk: AcrossChunk) -> AcrossResult:
        """`across_chunk`."""
        return across_chunk(chunk)

    def lost(self, run: RunRecord, chunk: AcrossChunk, cause: str) -> AcrossResult:
        """Its images failed."""
        failures = (("", cause),)
        return AcrossResult(
            tuple(AcrossOutcome(one.name, one.id, "failed", failures=failures) for one in chunk.images)
        )

    def record(self, run: RunRecord, chunk: AcrossChunk, result: AcrossResult) -> Tally:
        """Count the images: those that failed or have no region at once, the others in the last pass."""
        rounds = self.rounds or Rounds()
        last = chunk.phase in ("answers", "known")
        counted, lines = Counter[str](), list[Mapping[str, Any]]()
        told, failures, absent, notes = (
            dict[str, str](),
            list[Failure](),
            list[tuple[str, str]](),
            list[str](),
        )
        for one in result.outcomes:
            counted.update(evaluations=one.evaluations + one.inversion * one.inverted)
            if one.halved:
                counted.update(halved=one.halved)
                notes.append(f"{one.image}: out of memory, halved {one.halved} times; the run goes on")
            if chunk.phase != "start" and one.status == "failed":
                self.losses[one.image] = "; ".join(cause for _, cause in one.failures)
            if one.image in rounds.told:
                continue
            status = "failed" if one.failures else one.status
            if status == "done" and not last:
                continue
            told[one.image] = status
            if one.failures or one.absent:
                kind = "failure" if one.failures else "absent"
                told_of = {
                    "image": one.image,
                    "status": status,
                    "failures": one.failures,
                    "absent": one.absent,
                }
                lines.append({"kind": kind} | told_of)
            failures += [Failure(one.image, roi, cause) for roi, cause in one.failures]
            absent += [(one.image, reason) for _, reason in one.absent]
            notes += [f"{one.image}: {note}" for note in one.notes]
        self.rounds = replace(rounds, told={**rounds.told, **told})
        counted.update(told.values())
        computed = [one for one in result.outcomes if one.evaluations]
        tally = Tally(
            len(told),
            len(result.outcomes),
            counted,
            tuple(lines),
            tuple(failures),
            tuple(absent),
            tuple(notes),
            len(computed),
            sum(one.seconds for one in computed),
        )
        owed, self.owed = self.owed, None
        if owed is None:
            return tally
        return replace(tally, items=tally.items + owed.items, counts=counted + Counter(owed.counts))

    # What comes of a pass

    def add(self, total: Total | None, result: AcrossResult) -> Total:
        """The sums and what was told, with one more chunk's."""
        total = total or Total()
        if result.sums is not None:
            for name, array in state.take_sums(self.home, self.run_id, result.sums).items():
                total.arrays[name] = total.arrays[name] + array if name in total.arrays else array
        total.outcomes += result.outcomes
        return total

    def reduced(self, run: RunRecord, total: Total | None) -> Tally | None:
        """Take the pass in and keep the state; in the end the basis file."""
        total, rounds = total or Total(), self.rounds or Rounds()
        if rounds.phase == "aligned":
            return self._aligned()
        rounds = rounds.spending(
            sum(one.products for one in total.outcomes),
            sum(one.evaluations for one in total.outcomes),
            sum(one.seconds for one in total.outcomes),
        )
        rounds = replace(rounds, certain=rounds.certain and all(one.certain for one in total.outcomes))
        if rounds.phase == "known":
            self.over = True
            return None
        if self.losses and rounds.phase != "start":
            return self._again_without(run, rounds)
        if rounds.phase == "answers":
            return self._made(rounds, total)
        self._keep(
            run, self._started(rounds, total) if rounds.phase == "start" else self._extended(rounds, total)
        )
        return None

    def again(self) -> bool:
        """Until the basis file is there, or turned out to be."""
        return not self.over

    def _keep(self, run: RunRecord, rounds: Rounds) -> None:
        self.rounds = rounds
        if not self.over:
            state.keep(self.home, run.id, self._key(), rounds)

    def _again_without(self, run: RunRecord, rounds: Rounds) -> Tally | None:
        """The work is begun again without what was lost on the way: a space is of the same images all through."""
        lost = tuple(self.losses)
        self.watch.say(f"begins again without {', '.join(lost[:5])}{' and others' if len(lost) > 5 else ''}")
        self.losses = {}
        again = Rounds(told=rounds.told, left_out=(*rounds.left_out, *lost))
        self._keep(run, again)
        return None

    def _started(self, rounds: Rounds, total: Total) -> Rounds:
        """After the first pass."""
        rounds = passes.started(self.whole, rounds, total)
        self.over = not rounds.seen
        if rounds.pool is not None:
            self.watch.say(f"{len(rounds.seen)} images; round 1 asks about {len(rounds.pool.fresh)} vectors")
        return rounds

    def _extended(self, rounds: Rounds, total: Total) -> Rounds:
        """After a round."""
        rounds = passes.extended(self.whole, rounds, total)
        if rounds.pool is not None:
            error, aim = rounds.errors[-1], self.asked.recipe.tol
            self.watch.say(
                f"round {rounds.pool.rounds}: estimated error {error:.2g} of {len(rounds.pool.basis)} vectors, "
                f"aim {aim:g}"
            )
        return rounds

    def _made(self, rounds: Rounds, total: Total) -> Tally:
        """The basis file of a space that is known, and its rows."""
        shaped = self.shaped or passes.shaped_of(self.whole, rounds)
        answers, first = passes.answers_of(rounds, total.outcomes, len(shaped.vectors))
        return self._written(shaped, answers, rounds, first.shape, first.device)

    def _aligned(self) -> Tally:
        """All of it at once, from the catalogue."""
        gathered = Gathered(self.whole)
        for images in self._pages():
            items = [regions_of(self.asked_of((record,)), record) for record in images]
            gathered.take(items, self.registry)
        rounds, counts, unknown = gathered.rounds(), gathered.counts, gathered.unknown
        notes = (f"{unknown} images are not in the catalogue under this recipe: left out",) if unknown else ()
        tally = Tally(sum(counts.values()), len(rounds.seen), counts, notes=notes)
        if rounds.seen and self.whole.is_made(rounds.looked, rounds.seen):
            self.over = True
            known = counts + Counter(skipped=counts["done"])
            known.pop("done")
            return replace(tally, counts=known)
        shaped, answers, shape = gathered.put_together()
        made = self._written(shaped, answers, rounds, shape, None)
        return replace(
            tally,
            counts=counts + Counter(made.counts),
            lines=made.lines,
            notes=(*notes, *made.notes),
            newest=made.newest,
        )

    def _written(
        self,
        shaped: "Shaped",
        answers: "Answers",
        rounds: Rounds,
        shape: tuple[int, int, int],
        device: str | None,
    ) -> Tally:
        """The basis file and its rows, and what is told of them."""
        basis = self.whole.written(shaped, answers, rounds, shape, device)
        self.registry.index(basis.id)
        self.over, self.rounds = True, rounds
        if self.asked.recipe.toward and basis.directions:
            name = self.asked.recipe.toward.partition("#")[2]
            self.registry.name(
                {one.id: (f"toward {name}"[:200].strip(), one.coverage or 0.0) for one in basis.directions},
                who=f"toward, {self.asked.scorer}"[-200:].strip(),
                method=f"{self.asked.recipe.toward[:12]}, mean of J' M grad over {len(rounds.seen)} images",
            )
        found = {"directions": len(basis.directions), "refused": len(basis.refused)}
        line = {"kind": "basis", "image": self.dataset.name, "status": "done", "basis_id": basis.id, **found}
        coverage = [one.coverage for one in basis.directions if one.coverage is not None]
        note = f"{len(basis.directions)} directions of {len(rounds.seen)} images"
        if coverage:
            note += f", to which {median(coverage):.0%} of the images respond"
        notes = (note, *(f"{one.roi} {one.index} refused: {one.cause}" for one in basis.refused))
        return Tally(0, 0, found, (line,), notes=notes, newest=(basis.id,) if basis.directions else ())

    def finish(self, run: RunRecord) -> None:
        """Clear what the rounds kept, once there is nothing more to ask."""
        sweep(self.home.bases)
        if self.over:
            state.forget(self.home, run.id)
        self.say_if_absent(run)

    def _key(self) -> str:
        """What a state is of: it is used by no other job."""
        asked = self.asked
        return content_id("rounds", [asked.recipe, asked.rois, self.model.id, self.dataset.id, asked.limit])
